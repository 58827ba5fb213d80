"""What must hold: the short way through a document finds what the long way finds, or leaves it to that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.metrics.accounts import Usage
from hostler.metrics.documents import usage_of
from hostler.metrics.usage import general_usage

NUMBERS: st.SearchStrategy[Any] = st.one_of(
    st.integers(-2, 40),
    st.sampled_from([10**14, 10**15, 2**63, 2**64, 10**30, 3.0, 2.5, -1.0, 1e15, 1e300]),
    st.sampled_from([None, True, False, "3", [], {}, [1]]),
)
WORDS: st.SearchStrategy[Any] = st.sampled_from(
    ["stop", "length", "none", "", "tool_calls", "é", "x" * 70, None, 3, [], {}]
)
DETAILS = st.one_of(st.fixed_dictionaries({}, optional={"cached_tokens": NUMBERS, "audio": NUMBERS}), NUMBERS)
USAGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": NUMBERS,
        "completion_tokens": NUMBERS,
        "total_tokens": NUMBERS,
        "input_tokens": NUMBERS,
        "output_tokens": NUMBERS,
        "cache_read_input_tokens": NUMBERS,
        "prompt_tokens_details": DETAILS,
        "input_tokens_details": DETAILS,
    },
)
TIMINGS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("prompt_n", "predicted_n", "prompt_ms", "predicted_ms", "predicted_per_second", "cache_n", "draft_n",
         "draft_n_accepted"),
        NUMBERS,
    ),
)  # fmt: skip
METRICS = st.fixed_dictionaries(
    {},
    optional={
        "time_to_first_token_ms": NUMBERS,
        "mean_itl_ms": NUMBERS,
        "speculative_decoding": st.one_of(
            NUMBERS,
            st.fixed_dictionaries({"num_draft_tokens": NUMBERS, "num_accepted_draft_tokens": NUMBERS}),
        ),
    },
)
CHOICES = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"index": NUMBERS, "message": st.just({"content": "Hi", "refusal": None})},
            optional={"finish_reason": WORDS},
        ),
        NUMBERS,
    ),
    max_size=3,
)
ERRORS = st.one_of(NUMBERS, st.fixed_dictionaries({"message": WORDS}), WORDS)
DOCUMENTS = st.fixed_dictionaries(
    {"id": st.just("chatcmpl-1")},
    optional={
        "usage": st.one_of(USAGES, NUMBERS),
        "choices": st.one_of(CHOICES, NUMBERS),
        "timings": st.one_of(TIMINGS, NUMBERS),
        "metrics": st.one_of(METRICS, NUMBERS),
        "error": ERRORS,
        "type": st.sampled_from(["message", "error", None, 3]),
        "message": WORDS,
        "detail": WORDS,
        "delta": st.one_of(st.fixed_dictionaries({"stop_reason": WORDS}), WORDS),
        "finish_reason": WORDS,
        "stop_reason": WORDS,
        "stop_type": WORDS,
        "response": st.one_of(WORDS, st.fixed_dictionaries({"object": st.just("response"), "status": WORDS})),
        "object": st.sampled_from(["list", "response", None]),
        "status": st.sampled_from(["completed", "incomplete", "in_progress", None]),
        "incomplete_details": st.one_of(WORDS, st.fixed_dictionaries({"reason": WORDS})),
        "data": st.lists(st.floats(allow_nan=True), max_size=3),
    },
)


def agrees(text: bytes) -> Usage | None:
    """What the short way finds, which is what the long one does, if it finds anything."""
    short, long = usage_of(text), general_usage(text, infill=False)
    assert short is None or short == long
    return short


@given(DOCUMENTS)
@settings(max_examples=400)
def test_both_ways_agree(document: dict[str, Any]) -> None:
    agrees(json.dumps(document).encode())


@given(DOCUMENTS, DOCUMENTS)
def test_members_that_come_twice(one: dict[str, Any], other: dict[str, Any]) -> None:
    agrees(json.dumps(one).encode()[:-1] + b"," + json.dumps(other).encode()[1:])


@given(DOCUMENTS, st.data())
def test_what_is_cut_or_broken(document: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(document).encode()
    at = data.draw(st.integers(0, len(text)))
    agrees(
        text[:at] + data.draw(st.sampled_from([b"", b"x", b'"', b"\\", b"}", b"0", b"\n"])) + text[at + 1 :]
    )


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 2},
            }
        },
        {"usage": {"input_tokens": 3, "output_tokens": 4}, "stop_reason": "end_turn", "type": "message"},
        {"object": "list", "data": [{"embedding": [0.5] * 100}], "usage": {"prompt_tokens": 3}},
        {"content": "Hi", "stop_type": "eos", "timings": {"prompt_n": 3, "predicted_n": 4}},
        {"object": "response", "status": "completed", "error": None, "usage": {"input_tokens": 3}},
        {"choices": [], "usage": None},
    ],
)
def test_usual_documents_go_the_short_way(document: dict[str, Any]) -> None:
    assert agrees(json.dumps(document).encode()) is not None


@pytest.mark.parametrize(
    "text", [b'{"error": {"message": "no"}}', b'{"type": "error"}', b"[1]", b"", b"[" * 9000]
)
def test_others_are_left_to_the_long_one(text: bytes) -> None:
    assert agrees(text) is None


def test_a_text_that_is_not_utf_8_costs_nobody_the_tokens() -> None:
    found = usage_of(b'{"content": "\xff", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}')

    assert found is not None
    assert (found.tokens.input, found.tokens.output) == (3, 4)

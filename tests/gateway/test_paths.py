"""What must hold: the longest run of segments that names a model wins, and the rest keeps its escaping."""

import pytest

from hostler.core import ModelId
from hostler.gateway.paths import UpstreamPath, engine_path, split_upstream

MODELS = {name: ModelId(name) for name in ("author", "author/model", "plain", "mit leerzeichen", "v1")}


def resolve(name: str) -> ModelId | None:
    return MODELS.get(name)


@pytest.mark.parametrize(
    ("path", "model", "rest"),
    [
        (b"/upstream/plain/v1/x", "plain", b"/v1/x"),
        (b"/upstream/plain", "plain", b""),
        (b"/upstream/plain/", "plain", b"/"),
        (b"/upstream/author/model/v1/x", "author/model", b"/v1/x"),
        (b"/upstream/author%2Fmodel/a%2Fb%252F", "author/model", b"/a%2Fb%252F"),
        (b"/upstream/author/other", "author", b"/other"),
        (b"/upstream/mit%20leerzeichen//x", "mit leerzeichen", b"//x"),
    ],
)
def test_split(path: bytes, model: str, rest: bytes) -> None:
    assert split_upstream(path, resolve) == UpstreamPath(ModelId(model), rest)


@pytest.mark.parametrize("path", [b"/upstream/", b"/upstream//plain", b"/upstream/none/v1", b"/upstream/%ff"])
def test_nothing_found(path: bytes) -> None:
    assert split_upstream(path, resolve) is None


def test_a_path_of_ten_thousand_segments_is_no_work() -> None:
    asked: list[str] = []

    def count(name: str) -> None:
        asked.append(name)

    assert split_upstream(b"/upstream" + b"/a" * 10_000, count) is None
    assert len(asked) <= 32


def test_engine_path() -> None:
    assert engine_path(b"/v/chat/completions") == b"/chat/completions"
    assert engine_path(b"/audioapi/v1/tasks/run") == b"/v1/tasks/run"
    assert engine_path(b"/v1/chat/completions") == b"/v1/chat/completions"

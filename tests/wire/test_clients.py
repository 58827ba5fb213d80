"""What must hold: clients that people use work against Hostler with nothing but another address."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from hostler.config.schema import ApiKey

from .mirror import mirror
from .server import Front, config, in_process, running, stub

KEY = "s3cret"
MESSAGES: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}},
    }
]

# What is close to sockets is tested on both loops elsewhere.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


@pytest.fixture(autouse=True)
def no_proxy_and_no_complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients read the environment, and warn of their own dependencies."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its prices are not to be fetched
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest_asyncio.fixture
async def front() -> AsyncIterator[Front]:
    async with mirror() as port:
        models = config(
            stub("chat", aliases=("gpt-4o",)), in_process("mirror", port), api_keys=(ApiKey(KEY),)
        )
        async with running(models) as made:
            yield made


@pytest_asyncio.fixture
async def openai(front: Front) -> AsyncIterator[Any]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{front.port}/v1", api_key=KEY, max_retries=0) as made:
        yield made


async def test_openai_chat_with_tools(openai: Any) -> None:
    answer = await openai.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=TOOLS)

    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


async def test_openai_streaming(openai: Any) -> None:
    stream = await openai.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.total_tokens > 0


async def test_openai_responses_completions_and_embeddings(openai: Any) -> None:
    response = await openai.responses.create(model="chat", input="Hello")
    completion = await openai.completions.create(model="chat", prompt="Hello")
    embeddings = await openai.embeddings.create(model="chat", input=["a", "b"])

    assert response.output_text
    assert completion.choices[0].text
    assert len(embeddings.data) == 2


async def test_openai_model_list(openai: Any) -> None:
    assert [model.id async for model in openai.models.list()] == ["chat", "mirror"]


async def test_openai_transcription_upload(openai: Any) -> None:
    answer = await openai.audio.transcriptions.create(model="chat", file=("a.wav", b"\x00" * 70_000))

    assert answer.text == "70000 bytes of sound"


async def test_openai_image_edit_upload(openai: Any) -> None:
    image = b"\x89PNG" + bytes(5000)
    raw = await openai.images.with_raw_response.edit(model="mirror", image=("a.png", image), prompt="more")
    got = json.loads(raw.text)

    assert got["target"] == "/v1/images/edits"
    assert image in got["body"].encode("latin-1")
    assert b'name="prompt"\r\n\r\nmore\r\n' in got["body"].encode("latin-1")


async def test_openai_errors_are_those_the_client_knows(openai: Any, front: Front) -> None:
    import openai as package

    with pytest.raises(package.NotFoundError, match="no model called"):
        await openai.chat.completions.create(model="nobody", messages=MESSAGES)
    stranger = package.AsyncOpenAI(base_url=openai.base_url, api_key="wrong", max_retries=0)
    async with stranger:
        with pytest.raises(package.AuthenticationError):
            await stranger.models.list()


async def test_openai_sees_a_stream_that_breaks_off(openai: Any, front: Front) -> None:
    import openai as package

    stream = await openai.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, extra_body={"stub": {"die_in_stream": 3}}
    )
    with pytest.raises(package.APIError):
        async for _ in stream:
            pass


async def test_anthropic_messages(front: Front) -> None:
    from anthropic import AsyncAnthropic

    async with AsyncAnthropic(
        base_url=f"http://127.0.0.1:{front.port}", api_key=KEY, max_retries=0
    ) as client:
        whole = await client.messages.create(model="chat", max_tokens=20, messages=MESSAGES)
        assert whole.content[0].type == "text"
        async with client.messages.stream(model="chat", max_tokens=20, messages=MESSAGES) as stream:
            assert await stream.get_final_text()
        counted = await client.messages.count_tokens(model="chat", messages=MESSAGES)
        assert counted.input_tokens > 0
        models = await client.models.list()
        assert {model.id for model in models.data} == {"chat", "mirror"}


async def test_anthropic_errors_are_those_the_client_knows(front: Front) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{front.port}", api_key=KEY, max_retries=0
    ) as client:
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(model="nobody", max_tokens=20, messages=MESSAGES)
        assert caught.value.body is not None
        assert caught.value.body["type"] == "error"  # type: ignore[index]  # the client hands it on as it came


async def test_litellm(front: Front) -> None:
    import litellm

    options: Any = {
        "model": "openai/chat",
        "api_base": f"http://127.0.0.1:{front.port}/v1",
        "api_key": KEY,
        "messages": MESSAGES,
        "num_retries": 0,
    }
    whole: Any = await litellm.acompletion(**options)
    assert whole.choices[0].message.content
    stream: Any = await litellm.acompletion(**options, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

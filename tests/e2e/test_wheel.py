"""What must hold: the built wheel, in an environment of its own, serves real models to a real client.

Nothing of the checkout is on the path of the server: a module or file that the wheel lacks, or a dependency
that is not declared, fails here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from hostler.testing.ports import free_port, wait_until, wait_until_listening
from hostler.testing.tiny_gguf import write_tiny_gguf

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]


def quiet(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run a command that has to succeed; returns what it prints."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=clean(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean() -> dict[str, str]:
    """The environment without what points back to the checkout's own."""
    drop = ("VIRTUAL_ENV", "PYTHONPATH", "HOSTLER_URL", "HOSTLER_API_KEY", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in drop}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `hostler` of a fresh environment with nothing but the wheel and its llama.cpp extra."""
    folder = tmp_path_factory.mktemp("wheel")
    quiet(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("hostler-*.whl")
    venv.create(folder / "venv", with_pip=True)
    quiet(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[llamacpp]")
    return folder / "venv/bin/hostler"


@pytest.fixture(scope="module")
def server(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Hostler with two tiny models; gives its base URL."""
    models = tmp_path_factory.mktemp("models")
    write_tiny_gguf(models / "alpha.gguf", seed=1, name="alpha")
    write_tiny_gguf(models / "beta.gguf", seed=2, name="beta")
    port = free_port()
    output = models / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [program, "serve", "--models", models, "--listen", f"127.0.0.1:{port}"],
            cwd=models,
            env=clean(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_listening(port, alive=lambda: process.poll() is None, timeout=30)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in output.read_text()


def test_two_models_swap_under_the_openai_client(server: str, program: Path) -> None:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        assert sorted(model.id for model in client.models.list()) == ["alpha", "beta"]
        for name in ("alpha", "beta", "alpha"):
            answer = client.chat.completions.create(
                model=name,
                messages=[{"role": "user", "content": "Hello"}],
                max_tokens=8,
                extra_body={"ignore_eos": True},  # random weights may stop at once
            )
            assert answer.usage is not None
            assert answer.usage.completion_tokens > 0
            assert answer.choices[0].message.content

            chunks = list(
                client.chat.completions.create(
                    model=name,
                    messages=[{"role": "user", "content": "Hello"}],
                    max_tokens=8,
                    stream=True,
                    extra_body={"ignore_eos": True},
                )
            )
            assert len(chunks) > 1
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")

            table = quiet(program, "--url", server, "ps")
            running = [line for line in table.splitlines() if " ready " in f"{line} "]
            assert len(running) == 1
            assert running[0].startswith(name)


def test_each_engine_has_its_own_log(server: str, program: Path) -> None:
    quiet(program, "--url", server, "load", "alpha")
    quiet(program, "--url", server, "load", "beta")

    for name, other in (("alpha", "beta"), ("beta", "alpha")):
        text = quiet(program, "--url", server, "logs", name)
        assert f"{name}.gguf" in text
        assert f"{other}.gguf" not in text


def test_following_goes_on_over_a_swap(server: str, program: Path) -> None:
    quiet(program, "--url", server, "load", "beta")
    follower = subprocess.Popen(
        [program, "--url", server, "logs", "-f", "--no-history", "alpha"],
        stdout=subprocess.PIPE,
        env=clean(),
    )
    assert follower.stdout is not None
    os.set_blocking(follower.stdout.fileno(), False)
    seen = b""

    def has(text: bytes) -> bool:
        nonlocal seen
        assert follower.stdout is not None
        seen += follower.stdout.read() or b""
        return text in seen

    try:

        def loaded() -> bool:
            # The follower may not have connected when the first load happens; a later one is seen.
            quiet(program, "--url", server, "load", "alpha")
            if has(b"alpha.gguf"):
                return True
            quiet(program, "--url", server, "load", "beta")
            return has(b"alpha.gguf")

        wait_until(loaded, "the follower to see a start", 60)
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
        follower.stdout.close()


def test_a_model_file_that_is_none_is_explained(program: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"this is not a model")
    port = free_port()
    process = subprocess.Popen(
        [program, "run", broken, "--listen", f"127.0.0.1:{port}"],
        env=clean(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_listening(port, alive=lambda: process.poll() is None, timeout=30)
        with (
            openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            client.embeddings.create(model="broken", input="x")
    finally:
        process.terminate()
        process.wait(30)

    assert caught.value.status_code == 502
    assert "did not start" in caught.value.message
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["details"]["cause"]["kind"]
    assert body["details"]["log"]

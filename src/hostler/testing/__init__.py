"""Public test tools, for tests of programs that talk to Hostler and for Hostler's own.

- **StubEngine** – the stub engine as a process: real HTTP, and every kind of misbehaviour on request.
- **write_tiny_gguf** – a model llama.cpp loads in a fraction of a second; it speaks in real words.
- **free_port**, **wait_until**, **wait_until_listening** – what starting servers in tests needs.

The pytest fixtures `hostler_stub`, `hostler_tiny_gguf` and `hostler_free_port` come by themselves where
Hostler is installed.
"""

from hostler.testing.ports import free_port, wait_until, wait_until_listening
from hostler.testing.stub import StubEngine, stub_argv
from hostler.testing.tiny_gguf import write_tiny_gguf

__all__ = ["StubEngine", "free_port", "stub_argv", "wait_until", "wait_until_listening", "write_tiny_gguf"]

"""Public test tools: the stub engine, a tiny GGUF model, pytest fixtures."""

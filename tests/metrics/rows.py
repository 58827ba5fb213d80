"""Rows of activity for tests."""

from __future__ import annotations

from typing import Any

from hostler.metrics.record import ActivityRow

# 2026-01-01T00:00:00Z
BEGAN = 1_767_225_600


def row(number: int, **fields: Any) -> ActivityRow:
    """A plausible finished request, one second after the one before it."""
    plain: dict[str, Any] = {
        "timestamp_ms": (BEGAN + number) * 1000 + 123,
        "model": "a",
        "path": "/v1/chat/completions",
        "content_type": "application/json",
        "status": 200,
        "input_tokens": 20,
        "output_tokens": 50,
        "cache_tokens": 8,
        "prompt_per_second": 100.0,
        "tokens_per_second": 40.0,
        "duration_ms": 1450,
        "request_id": f"r{number}",
    }
    return ActivityRow(id=number, **{**plain, **fields})

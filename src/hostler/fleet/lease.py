"""The lease: one request's right to use a ready run."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.core import ModelId


@dataclass(frozen=True, slots=True)
class Lease:
    """What a request holds while it may use a model.

    `base_url` is where the engine listens. `waited` is how many seconds the request stood in line; `loading`
    how many of them the engine took to become ready. `cold` says that the model was not ready when it came.
    """

    model: ModelId
    run: int
    base_url: str
    waited: float
    cold: bool
    loading: float = 0.0

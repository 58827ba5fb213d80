"""What is changed in a request body on its way to an engine or a peer. Pure.

Filters are compiled when a configuration is loaded; a body that needs no change is passed on as the same
object. Only JSON bodies and multipart forms are filtered, in this order: `useModelName`, `stripParams`,
`setParams`, and `setParamsByID` of the name the request asked for. `model` is never stripped or set by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from hostler.config.schema import Filters
from hostler.gateway.jsonedit import Path, delete, put, split_path
from hostler.gateway.multipart import Form

MODEL: Path = ("model",)
_encode = msgspec.json.Encoder().encode


def is_json(content_type: bytes) -> bool:
    """Whether a body of this type is read as JSON."""
    return b"application/json" in content_type.lower()


def is_form(content_type: bytes) -> bool:
    """Whether a body of this type is a multipart form."""
    return b"multipart/form-data" in content_type.lower()


@dataclass(frozen=True, slots=True)
class Setting:
    """One member to set: its path, and its value as JSON and as the text of a form's field."""

    path: Path
    value: bytes
    text: bytes


class BodyFilter:
    """The compiled filters of one model or peer."""

    __slots__ = ("_by_id", "_model", "_sets", "_strips", "idle")

    def __init__(self, filters: Filters, use_model_name: str = "") -> None:
        self._model = use_model_name
        self._strips = [split_path(name) for name in filters.strip_params if name != "model"]
        self._sets = _settings(filters.set_params)
        self._by_id = {name: _settings(params) for name, params in filters.set_params_by_id.items()}
        self.idle = not (self._model or self._strips or self._sets or self._by_id)
        """Whether it never changes anything."""

    def changes(self, requested: str) -> bool:
        """Whether a request for `requested` may be changed at all."""
        return bool(self._model or self._strips or self._sets or requested in self._by_id)

    def apply(self, body: bytes, content_type: bytes, requested: str) -> bytes:
        """The body to send; `requested` is the name after profiles and selectors.

        The same object when nothing changes. Raises ClientError for a body that is not what its type says.
        """
        if not self.changes(requested):
            return body
        if is_json(content_type):
            return self._apply_json(body, requested)
        if is_form(content_type):
            return self._apply_form(body, content_type, requested)
        return body

    def _apply_json(self, body: bytes, requested: str) -> bytes:
        if self._model:
            body = put(body, MODEL, _encode(self._model))
        for path in self._strips:
            body = delete(body, path)
        for setting in (*self._sets, *self._by_id.get(requested, ())):
            body = put(body, setting.path, setting.value)
        return body

    def _apply_form(self, body: bytes, content_type: bytes, requested: str) -> bytes:
        # Fields of a form are flat: a path is a name like any other.
        if self._model:
            body = Form(body, content_type).with_field(b"model", self._model.encode())
        for path in self._strips:
            body = Form(body, content_type).without_field(_field(path))
        for setting in (*self._sets, *self._by_id.get(requested, ())):
            body = Form(body, content_type).with_field(_field(setting.path), setting.text)
        return body


def _settings(params: Mapping[str, Any]) -> tuple[Setting, ...]:
    return tuple(
        Setting(split_path(name), _encode(value), _text(value))
        for name, value in sorted(params.items())
        if name != "model"
    )


def _text(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else _encode(value)


def _field(path: Path) -> bytes:
    return ".".join(path).encode()


def set_model(body: bytes, content_type: bytes, model: str) -> bytes:
    """The body with another `model`, for profiles, selectors and peers. Raises ClientError.

    Of a type that is neither JSON nor a form of any kind, it is taken for an urlencoded one, as it was when
    the model was looked for.
    """
    if is_json(content_type):
        return put(body, MODEL, _encode(model))
    if is_form(content_type):
        return Form(body, content_type).with_field(b"model", model.encode())
    return set_model_in_query(body, model)


def set_model_in_query(query: bytes, model: str) -> bytes:
    """A query, or an urlencoded body, with another `model`."""
    text = query.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    kept = [(name, value) for name, value in pairs if name != "model"]
    place = next((place for place, (name, _) in enumerate(pairs) if name == "model"), len(kept))
    kept.insert(min(place, len(kept)), ("model", model))
    return urlencode(kept, errors="surrogateescape").encode()

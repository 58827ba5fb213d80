"""A JSON schema of the configuration, made from the description of keys that the parser reads with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hostler.config.keys import MATRIX, ROOT
from hostler.config.kinds import (
    Anything,
    Duration,
    Flag,
    Key,
    Kind,
    ListOf,
    Macros,
    MapOf,
    Nullable,
    OneOf,
    Section,
    Text,
    Whole,
)
from hostler.config.macros import MAX_NAME, RESERVED

Schema = dict[str, Any]

_MACRO = {"type": "string", "pattern": r"\$\{[^}]+\}"}
"""Wherever a number or a boolean is wanted, a macro may stand for it."""

_WORDS = ["y", "yes", "on", "n", "no", "off"]
_BOOLEAN_WORDS = [w for word in _WORDS for w in dict.fromkeys((word, word.upper(), word.capitalize()))]
_FLAG: Schema = {
    "anyOf": [{"type": ["boolean", "null"]}, {"enum": _BOOLEAN_WORDS}, {"$ref": "#/definitions/macro"}]
}
_DURATION = r"^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$|\$\{"


def schema(strict: bool = False) -> Schema:
    """The schema. It accepts what the parser accepts; `strict` (for editors) also refuses unknown keys."""
    maker = _Maker(strict)
    root = maker.section(ROOT)
    root["allOf"] = [
        _legacy_excludes("groups", "matrix"),
        _legacy_excludes("matrix", "groups"),
        _old_or_new(),
    ]
    if strict:
        root["patternProperties"] = {"^[._]|^x-": {}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Hostler configuration",
        **root,
        "definitions": {"macro": _MACRO},
    }


class _Maker:
    """Translates kinds. `strict` closes mappings with fixed keys."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict

    def section(self, section: Section, checked: bool = True) -> Schema:
        result: Schema = {
            "type": ["object", "null"],
            "properties": {key.name: self.key(key, checked) for key in section.keys},
        }
        required = [key.name for key in section.keys if key.required]
        if required and checked:
            result["required"] = required
            result["type"] = "object"
        if self.strict:
            result["additionalProperties"] = False
        if section.rules:
            result["allOf"] = [dict(rule) for rule in section.rules]
        return result

    def key(self, key: Key, checked: bool = True) -> Schema:
        result = self.kind(key.kind, checked and not key.unchecked)
        if key.required and checked:
            _require_something(result)
        described = {"description": f"{key.doc} (ours)" if key.ours else key.doc, **result}
        if isinstance(key.default, str | int | float | bool) and key.default != "":
            described["default"] = key.default
        return described

    def kind(self, kind: Kind, checked: bool = True) -> Schema:
        match kind:
            case Text():
                return self.text(kind, checked)
            case Whole():
                return _whole(kind, checked)
            case Flag():
                return _FLAG
            case Duration():
                types: list[Schema] = [{"type": "string", "pattern": _DURATION}, {"type": "null"}]
                return {"anyOf": [*types, {"type": "number", "minimum": 0}] if kind.number else types}
            case ListOf():
                items: Schema = {"type": ["array", "null"], "items": self.kind(kind.item, checked)}
                return {**items, "minItems": kind.minimum if checked else 0}
            case MapOf():
                return self.mapping(kind, checked)
            case Section():
                return self.section(kind, checked)
            case Nullable():
                return {"anyOf": [{"type": "null"}, self.kind(kind.kind, checked)]}
            case OneOf():
                return {"anyOf": [self.kind(one, checked) for one in kind.kinds]}
            case Anything():
                return {}
            case Macros():
                return _macros()

    def text(self, kind: Text, checked: bool) -> Schema:
        if kind.choices and kind.strict:
            words = [*kind.choices] if kind.filled else [*kind.choices, None]
            return {"anyOf": [{"enum": words}, {"$ref": "#/definitions/macro"}]}
        types = ["string", "number", "boolean", "null"]
        result: Schema = {"type": types}
        if kind.pattern and checked:
            result["pattern"] = rf"{kind.pattern}|\$\{{"
            # A pattern is for strings only, but a number is its spelling here.
            unlike = {"number": "5", "boolean": "true"}
            result["type"] = [t for t in types if t not in unlike or re.search(kind.pattern, unlike[t])]
        if kind.filled and checked:
            result |= {"type": [t for t in result["type"] if t != "null"], "minLength": 1}
        return result

    def mapping(self, kind: MapOf, checked: bool) -> Schema:
        result: Schema = {"type": ["object", "null"], "additionalProperties": self.kind(kind.value, checked)}
        if kind.key_pattern and checked:
            result["propertyNames"] = {"pattern": kind.key_pattern}
        if kind.minimum and checked:
            result["minProperties"] = kind.minimum
        return result


def _whole(kind: Whole, checked: bool) -> Schema:
    number: Schema = {"type": ["number", "null"], "maximum": kind.maximum or 2**63 - 1}
    if kind.minimum is not None and checked:
        number["minimum"] = kind.minimum
    return {"anyOf": [number, {"$ref": "#/definitions/macro"}]}


def _require_something(result: Schema) -> None:
    """A required key is not satisfied by nothing."""
    if isinstance(result.get("type"), list):
        result["type"] = [name for name in result["type"] if name != "null"]
    if result.get("type") and "string" in result["type"]:
        result.setdefault("minLength", 1)
    if "anyOf" in result and isinstance(result["anyOf"][0].get("enum"), list):
        choices = [choice for choice in result["anyOf"][0]["enum"] if choice is not None]
        result["anyOf"][0] = {"enum": choices}


def _macros() -> Schema:
    return {
        "type": ["object", "null"],
        "propertyNames": {
            "pattern": "^[a-zA-Z0-9_-]+$",
            "maxLength": MAX_NAME,
            "not": {"enum": list(RESERVED)},
        },
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def _present(name: str) -> Schema:
    """The key is there and says something."""
    something: Mapping[str, Any] = {"type": "object", "minProperties": 1}
    return {"required": [name], "properties": {name: something}}


def _legacy_excludes(one: str, other: str) -> Schema:
    return {"if": _present(one), "then": {"not": _present(other)}}


def _old_or_new() -> Schema:
    settings = {"anyOf": [_present("groups"), _present("matrix")]}
    router = {
        "anyOf": [
            {"required": ["use"], "properties": {"use": {"type": "string", "minLength": 1}}},
            {"required": ["settings"], "properties": {"settings": {"type": "object", **settings}}},
        ]
    }
    uses_new: Schema = {
        "required": ["routing"],
        "properties": {
            "routing": {
                "type": "object",
                "required": ["router"],
                "properties": {"router": {"type": "object", **router}},
            }
        },
    }
    chosen = {
        "if": uses_new,
        "then": {"not": {"anyOf": [_present("groups"), _present("matrix")]}},
    }
    return {"allOf": [chosen, _selected_matrix()]}


def _selected_matrix() -> Schema:
    """With `use: matrix` there is a matrix, and it is right; otherwise nobody looks at it."""

    def inside(inner: Schema) -> Schema:
        router = {"type": "object", "required": ["router"], "properties": {"router": inner}}
        return {"required": ["routing"], "properties": {"routing": router}}

    use = inside({"type": "object", "required": ["use"], "properties": {"use": {"const": "matrix"}}})
    matrix = _Maker(False).section(MATRIX)
    settings = {"type": "object", "required": ["matrix"], "properties": {"matrix": matrix}}
    needs = inside({"required": ["settings"], "properties": {"settings": settings}})
    return {"if": use, "then": needs}

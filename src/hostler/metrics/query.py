"""A question about the activity: from query parameters to SQL. Pure.

Every parameter has one place here; whoever asks with one we do not know is not refused, as llama-swap does.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hostler.errors import ClientError

DEFAULT_LIMIT, MAX_LIMIT = 25, 999
# Of a parameter that may be given several times; a page asks for a handful.
MAX_VALUES = 100
# Row ids and page numbers are SQLite's 64-bit integers.
MAX_NUMBER = 2**62

SORT = {
    "id": "a.id",
    "time": "a.ts_created",
    "model": "a.model_id",
    "req_path": "a.req_path",
    "resp_status_code": "a.resp_status_code",
    "resp_content_type": "a.resp_content_type",
    "cached": "a.cache_tokens",
    "prompt": "a.input_tokens",
    "generated": "a.output_tokens",
    "drafted": "a.draft_tokens",
    "prompt_speed": "a.prompt_per_second",
    "gen_speed": "a.tokens_per_second",
    "duration": "a.duration_ms",
}
_SEARCHED = ("a.model_id", "a.req_path", "a.error_msg", "a.metadata_json", "h.request_id", "h.key_name")
_STATUS = re.compile(r"[1-5](?:\d\d|xx)|0", re.IGNORECASE)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)

_SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """Which rows and in which order. `start` and `end` are whole seconds since 1970, inclusive; an empty
    tuple or text and None ask for nothing in particular. `statuses` are codes or classes (`4xx`), `paths`
    are whole, or prefixes when they end in `*`.
    """

    models: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    statuses: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    request_id: str = ""
    text: str = ""
    limit: int = DEFAULT_LIMIT
    page: int = 1
    sort: str = "id"
    descending: bool = True

    @property
    def only_models(self) -> bool:
        """Whether nothing but models is asked for."""
        return self.only_groups and not (self.statuses or self.keys or self.paths)

    @property
    def only_groups(self) -> bool:
        """Whether it is about models, states, keys and paths alone; then the kept totals know the answer."""
        numbers = (self.start, self.end, self.min_id, self.max_id)
        return not (self.text or self.request_id or any(number is not None for number in numbers))

    def takes(self, model: str, status: int, path: str, key: str) -> bool:
        """Whether rows of a group are asked for, as `where` says it in SQL; only for `only_groups`."""
        return (
            (not self.models or model in self.models)
            and (not self.keys or key in self.keys)
            and (not self.statuses or any(_is_status(status, wanted) for wanted in self.statuses))
            and (not self.paths or any(_is_path(path, wanted) for wanted in self.paths))
        )

    def with_max_id(self, max_id: int) -> ActivityQuery:
        """The same rows, up to `max_id`."""
        return replace(self, max_id=max_id if self.max_id is None else min(max_id, self.max_id))

    def where(self, *, broad: bool = False) -> tuple[str, list[Any]]:
        """A FROM and WHERE clause over `activity a` and `hostler_activity h`, and its values.

        With `broad` SQLite is kept from collecting, and then sorting, what indexes of states and keys find:
        where that is much, going along the order and looking at each row is sooner done.
        """
        parts: list[str] = []
        values: list[Any] = []
        sign = "+" if broad else ""
        for column, wanted in (("a.model_id", self.models), (f"{sign}h.key_name", self.keys)):
            if wanted:
                parts.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        for clause, number in (
            ("a.ts_created >= ?", self.start),
            ("a.ts_created <= ?", self.end),
            ("a.id >= ?", self.min_id),
            ("a.id <= ?", self.max_id),
        ):
            if number is not None:
                parts.append(clause)
                values.append(number)
        if self.request_id:
            parts.append("h.request_id = ?")
            values.append(self.request_id)
        for clauses, more in (
            _statuses(self.statuses, sign),
            _paths(self.paths),
            _text(self.text),
        ):
            if clauses:
                parts.append(f"({' OR '.join(clauses)})")
                values += more
        return _from(self) + (f" WHERE {' AND '.join(parts)}" if parts else ""), values

    def order(self) -> str:
        """An ORDER BY clause; rows that are equal otherwise go by id."""
        way = "DESC" if self.descending else "ASC"
        column = SORT[self.sort]
        return f"ORDER BY {column} {way}" + ("" if column == "a.id" else f", a.id {way}")


def _from(query: ActivityQuery) -> str:
    if query.keys or query.request_id:
        return "FROM hostler_activity h JOIN activity a ON a.id = h.id"
    if query.text:
        return "FROM activity a LEFT JOIN hostler_activity h ON h.id = a.id"
    return "FROM activity a"


def _statuses(wanted: Iterable[str], sign: str = "") -> tuple[list[str], list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    for status in wanted:
        if status.endswith("xx"):
            clauses.append(f"{sign}a.resp_status_code BETWEEN ? AND ?")
            values += [int(status[0]) * 100, int(status[0]) * 100 + 99]
        else:
            clauses.append(f"{sign}a.resp_status_code = ?")
            values.append(int(status))
    return clauses, values


def _paths(wanted: Iterable[str]) -> tuple[list[str], list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    for path in wanted:
        if path.endswith("*"):
            clauses.append("a.req_path LIKE ? ESCAPE '\\'")
            values.append(_escaped(path[:-1]) + "%")
        else:
            clauses.append("a.req_path = ?")
            values.append(path)
    return clauses, values


def _is_status(status: int, wanted: str) -> bool:
    return status // 100 == int(wanted[0]) if wanted.endswith("xx") else status == int(wanted)


def _is_path(path: str, wanted: str) -> bool:
    # LIKE does not tell small letters of ASCII from large ones.
    return _folded(path).startswith(_folded(wanted[:-1])) if wanted.endswith("*") else path == wanted


def _folded(text: str) -> str:
    return text.translate(_SMALL)


def _text(text: str) -> tuple[list[str], list[Any]]:
    if not text:
        return [], []
    return [f"{column} LIKE ? ESCAPE '\\'" for column in _SEARCHED], [f"%{_escaped(text)}%"] * len(_SEARCHED)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


Params = Mapping[str, list[str]]


def parse(params: Params) -> ActivityQuery:
    """From query parameters, each with all its values; raises ClientError that names the wrong one."""
    start, end = _moment(params, "start"), _moment(params, "end")
    if start is not None and end is not None and start > end:
        raise ClientError("start must not be after end", param="start")
    min_id, max_id = _number(params, "min_id"), _number(params, "max_id")
    if min_id is not None and max_id is not None and min_id > max_id:
        raise ClientError("min_id must not be greater than max_id", param="min_id")
    limit = _number(params, "limit", MAX_LIMIT)
    page = _number(params, "page")
    sort = _last(params, "sort") or "id"
    if sort not in SORT:
        raise ClientError("invalid sort column", param="sort")
    order = _last(params, "order") or "desc"
    if order not in ("asc", "desc"):
        raise ClientError("invalid order: asc or desc", param="order")
    statuses = _several(params, "status")
    for status in statuses:
        if not _STATUS.fullmatch(status):
            raise ClientError("invalid status: a code like 404 or a class like 4xx", param="status")
    return ActivityQuery(
        models=_several(params, "model"),
        start=start,
        end=end,
        min_id=min_id,
        max_id=max_id,
        statuses=tuple(status.lower() for status in statuses),
        keys=_several(params, "key"),
        paths=_several(params, "path"),
        request_id=_last(params, "request_id"),
        text=_last(params, "q").strip(),
        limit=limit or DEFAULT_LIMIT,
        page=page or 1,
        sort=sort,
        descending=order == "desc",
    )


def _last(params: Params, name: str) -> str:
    values = params.get(name)
    return values[-1] if values else ""


def _several(params: Params, name: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(value for value in params.get(name, ()) if value))
    if len(values) > MAX_VALUES:
        raise ClientError(f"{name} was given more than {MAX_VALUES} times", param=name)
    return values


def _number(params: Params, name: str, highest: int = MAX_NUMBER) -> int | None:
    text = _last(params, name)
    if not text:
        return None
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= highest:
        upper = f" and {highest}" if highest < MAX_NUMBER else ""
        raise ClientError(
            f"invalid {name}: a number {'between 1' if upper else 'from 1 on'}{upper}", param=name
        )
    return int(text)


def _moment(params: Params, name: str) -> int | None:
    text = _last(params, name)
    return None if not text else int(moment(text, name))


def moment(text: str, name: str) -> float:
    """A moment in RFC 3339 as seconds since 1970; raises ClientError."""
    # In a query an unescaped plus is a space.
    if text[-6:-5] == " ":
        text = f"{text[:-6]}+{text[-5:]}"
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise ClientError(f"invalid {name}: a time like 2026-01-31T12:00:00Z", param=name) from None

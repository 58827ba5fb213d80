"""Records of logs as they are printed: for people, or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hostler.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

COLOURS = (36, 33, 32, 35, 34, 31)  # those that can be read on light and dark ground
DIM = "\x1b[2m"
PLAIN = "\x1b[0m"
BEGIN = "\r\x1b[K"

Record = dict[str, Any]


class Json:
    """Records as they are."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, record: Mapping[str, Any]) -> None:
        self._out.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._out.flush()

    def close(self) -> None:
        """All is written."""


class Text:
    """Lines for people: with the name of their log in front where there are several.

    A line may come in parts, and be drawn over itself (progress). On a terminal it is shown as it grows;
    elsewhere when it is whole.
    """

    def __init__(
        self, out: TextIO, sources: Sequence[str], *, runs: bool = True, times: bool = False
    ) -> None:
        self._out = out
        self._times = times  # whether lines have the time in front when they came
        self._runs = runs and out.isatty()  # whether beginnings and ends of runs are told
        self._tagged = len(sources) != 1 or sources[0] == "upstream"
        self._fancy = out.isatty()
        self._coloured = terminal.coloured(out)
        self._colours: dict[str, int] = {}
        self._width = 0
        self._begun: dict[tuple[str, str], str] = {}  # of lines that are not finished, what is known
        self._at: tuple[str, str] | None = None  # the line that the cursor of the terminal is in

    def __call__(self, record: Mapping[str, Any]) -> None:
        name = str(record.get("model", ""))
        if record["kind"] == "line":
            self._line(name, record)
        elif (told := self._told(record)) is not None:
            self._finish_all(name)
            self._write(f"{self._front(name, record)}{told}\n")
        elif record["kind"] == "exit":
            self._finish_all(name)
        self._out.flush()

    def close(self) -> None:
        """Write what has begun and will not be finished."""
        self._finish_all(None)
        self._out.flush()

    def _line(self, name: str, record: Mapping[str, Any]) -> None:
        key = name, str(record.get("stream", ""))
        text, redrawn = str(record.get("text", "")), bool(record.get("redrawn"))
        before = self._begun.pop(key, "")
        whole = text if redrawn else before + text
        partial = bool(record.get("partial"))
        if partial:
            self._begun[key] = whole
        if self._fancy:
            again = self._at == key
            shown = self._safe(text if again and not redrawn else whole)
            front = ("" if not redrawn else BEGIN) if again else ""
            tag = "" if again and not redrawn else self._front(name, record)
            self._write(f"{front}{tag}{shown}", key)
            if not partial:
                self._write("\n", key, ended=True)
        elif not partial:
            self._write(f"{self._front(name, record)}{whole}\n")

    def _front(self, name: str, record: Mapping[str, Any]) -> str:
        return f"{record.get('time', '')} {self._tag(name)}" if self._times else self._tag(name)

    def _write(self, text: str, key: tuple[str, str] | None = None, *, ended: bool = False) -> None:
        if self._at is not None and self._at != key:
            self._out.write("\n")
        self._out.write(text)
        self._at = None if ended else key

    def _finish_all(self, name: str | None) -> None:
        for key in [key for key in self._begun if name in (None, key[0])]:
            text = self._begun.pop(key)
            if not self._fancy:
                self._write(f"{self._tag(key[0])}{text}\n")
            elif self._at == key:
                self._write("\n", key, ended=True)

    def _safe(self, text: str) -> str:
        # What an engine prints may colour a terminal; it may not move about on it.
        return terminal.only_colours(text) if self._coloured else terminal.plain(text)

    def _told(self, record: Mapping[str, Any]) -> str | None:
        if record["kind"] == "gap":
            missed = record.get("missed")
            told = "an unknown number of" if missed is None else str(missed)
            return self._dim(f"[hostler] gap: {told} bytes missed")
        if not self._runs:
            return None
        what = f"run {record.get('run')} {'started' if record['kind'] == 'start' else 'ended'}"
        why = str(record.get("exit") or record.get("reason") or "")
        cause = record.get("cause")
        if isinstance(cause, dict):
            why += f": {cause.get('message')}"
        return self._dim(terminal.plain(f"[hostler] {what}: {why}" if why else f"[hostler] {what}"))

    def _dim(self, text: str) -> str:
        return f"{DIM}{text}{PLAIN}" if self._coloured else text

    def _tag(self, name: str) -> str:
        if not self._tagged:
            return ""
        if not self._fancy:
            return f"[{name}] "
        self._width = max(self._width, len(name))
        shown = f"{terminal.plain(name):<{self._width}}"
        if not self._coloured:
            return f"{shown} | "
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{shown}{PLAIN} | "

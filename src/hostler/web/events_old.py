"""The frames of llama-swap's event stream: JSON within JSON, whole lists of models, no ids."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from hostler.config.schema import Model
from hostler.core import State
from hostler.metrics.bus import Event
from hostler.web.event_sources import BATCH, LogText
from hostler.web.names import capability_keys
from hostler.web.state import WebState

# The events that go out one by one, and what they are called here.
FRAMES = {"profile": "profileChanged", "activity": "activity", "inflight": "inflight"}


def frame(kind: str, data: bytes) -> bytes:
    """One event; `data` is JSON and becomes a JSON text within the JSON."""
    text = msgspec.json.encode({"type": kind, "data": data.decode()})
    return b"event:message\ndata:" + text + b"\n\n"


class OldStream:
    """One client of `/api/events`; it begins with the events that come from now on."""

    def __init__(self, state: WebState) -> None:
        self._logs = {"proxy": LogText(state.hub.proxy), "upstream": LogText(state.hub.upstream)}
        self._bus = state.observatory.bus
        self._at = self._bus.end
        self._state = state
        self._begun = False

    def take(self) -> bytes:
        """The frames since the last call; the first ones are the state of everything."""
        if not self._begun:
            self._begun = True
            return self._first()
        return self._changes() + self._output()

    def waiters(self) -> list[tuple[Any, asyncio.Future[None]]]:
        """For the next event and the next byte of either log."""
        logs = (log for log in self._logs.values() if not log.monitor.closed)
        return [(self._bus, self._bus.register_waiter()), *((log.monitor, log.waiter()) for log in logs)]

    async def close(self) -> None:
        """It is over."""
        for log in self._logs.values():
            log.close()

    def _changes(self) -> bytes:
        events, missed = self._bus.read(self._at, BATCH)
        if not events:
            return b""
        self._at = events[-1].number
        kinds = {event.type for event in events}
        out: list[bytes] = []
        # However many models changed, or were missed: one list says how they all are.
        if missed or kinds & {"model", "config", "profile"}:
            out.append(self._models())
        if missed or "config" in kinds:
            out.append(self._ui_config())
        if missed:
            # A whole table stands for the changes that were missed.
            out.append(self._snapshot())
        out += [
            frame(FRAMES[event.type], _old_data(event))
            for event in events
            if event.type in FRAMES and not (missed and event.type == "inflight")
        ]
        return b"".join(out)

    def _output(self) -> bytes:
        texts = ((source, log.take()) for source, log in self._logs.items())
        return b"".join(_log_frame(source, text) for source, text in texts if text)

    def _first(self) -> bytes:
        active = {"active": self._state.gateway.profiles.active}
        frames = [_log_frame(source, log.history()) for source, log in self._logs.items()]
        frames += [
            self._models(),
            self._ui_config(),
            frame("profileChanged", msgspec.json.encode(active)),
            self._snapshot(),
        ]
        return b"".join(frames)

    def _models(self) -> bytes:
        return frame("modelStatus", msgspec.json.encode(model_status(self._state)))

    def _ui_config(self) -> bytes:
        headers = list(self._state.config.session_headers)
        return frame("uiConfig", msgspec.json.encode({"activity": {"session_id": headers}}))

    def _snapshot(self) -> bytes:
        requests = self._state.gateway.in_flight.snapshot(self._state.clock.monotonic())
        return frame("inflight", msgspec.json.encode({"operation": "snapshot", "requests": requests}))


def _old_data(event: Event) -> bytes:
    """Of a finished request these clients know the number alone."""
    if event.type != "activity":
        return event.data
    return msgspec.json.encode({"id": msgspec.json.decode(event.data)["id"]})


def _log_frame(source: str, text: str) -> bytes:
    return frame("logData", msgspec.json.encode({"source": source, "data": text}))


def model_status(state: WebState) -> list[dict[str, Any]]:
    """Every model in llama-swap's shape: ours by id, then those of peers."""
    config = state.config
    rows = [
        _model(model, state.fleet.state(model.id))
        for model in sorted(config.models.values(), key=lambda model: model.id)
    ]
    for peer in config.peers.values():
        for name in dict.fromkeys(peer.models):
            record = {
                "id": f"{peer.id}/{name}",
                "name": "",
                "description": "",
                "state": "",
                "unlisted": False,
            }
            rows.append({**record, "peerID": peer.id})
    return rows


def _model(model: Model, state: State) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "state": state.value,
        "unlisted": model.unlisted,
        "peerID": "",
    }
    if model.aliases:
        record["aliases"] = list(model.aliases)
    described = capability_keys(model.capabilities)
    for key in ("capabilities", "context_length"):
        if key in described:
            record[key] = described[key]
    return record

"""The log of one process, of the proxy, or of several together, and those who follow it.

All of it belongs to one event loop: writes and reads come from that loop's thread. (Followers in another
thread need a hand-off; `logs/stdout.py` is one.)
"""

from __future__ import annotations

import asyncio
from functools import partialmethod
from typing import TYPE_CHECKING

from hostler.clock import SYSTEM, Clock
from hostler.logs.cursor import Chunk, Cursor
from hostler.logs.follower import Follower
from hostler.logs.levels import Level, format_line, format_time
from hostler.logs.ring import Data, RingBuffer
from hostler.logs.runs import RunLog, RunLogs
from hostler.logs.text import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Chunk", "Cursor", "Follower", "LogMonitor"]

CAPACITY = 102_400  # bytes; what llama-swap keeps per log, some 1,000 lines

# While a log grows in every step of the event loop, followers are woken once for up to this many steps, not
# for each: waking is most of what five of them cost. Six steps are too short for anybody to see.
_STEPS = 6

# Followers that stand at the same place share one chunk, so that five of them cost little more than one.
# Only small ones: with those making the object is what costs, and a monitor keeps no more than this beside
# its ring.
_SHARED_CHUNK = 8192


class _Subscription:
    __slots__ = ("active", "callback")

    def __init__(self, callback: Callable[[bytes], None]) -> None:
        self.callback = callback
        self.active = True


class LogMonitor(RingBuffer):
    """The newest `capacity` bytes of one log, with absolute positions; the writer never waits.

    Only `write` (and the proxy's own lines, which go through it) adds bytes; whoever calls it is the one
    writer. A write is stored, wakes the followers that wait, goes to the subscribers, and is handed on to
    the parents. Until the first write and after `clear()` no buffer memory is held.

    It is a ring rather than having one: the append is written out in `write`, where a second method call
    would be a third of the cost.

    `epoch` names the incarnation of the store in cursors; `first_position` is where positions begin, for a
    log that goes on under the same epoch. `level`, `prefix` and `time_format` shape the lines of `log()` and
    touch nothing else. `keep_runs` is how many ended runs stay readable.
    """

    __slots__ = (
        "_call_soon", "_clock", "_future", "_level", "_loop", "_mask", "_outlets", "_parents", "_prefix",
        "_runs", "_seen", "_shared", "_shared_end", "_shared_start", "_steps", "_subscribers", "_time_format",
        "_waiters", "_wake_call", "_waking", "_woken", "closed", "dropped_subscribers", "epoch",
        "gap_bytes", "gaps", "name",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        epoch: str,
        capacity: int = CAPACITY,
        parents: Sequence[LogMonitor] = (),
        level: Level | str = Level.INFO,
        prefix: str = "",
        time_format: str = "",
        clock: Clock = SYSTEM,
        keep_runs: int = 3,
        first_position: int = 0,
    ) -> None:
        super().__init__(capacity, first_position)
        self.name = name
        self.epoch = epoch
        self.dropped_subscribers = 0
        self.gaps = self.gap_bytes = 0  # of all readers together
        self._parents = tuple(parents)
        self._prefix = prefix
        self._clock = clock
        self._mask: Callable[[str], str] | None = None
        self.configure(level=level, time_format=time_format)
        self._runs = RunLogs(self, keep_runs)
        self._set_subscribers(())
        self.closed = False
        # A dict for its order: who waits longest is woken first.
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._waking = False
        self._steps = 0  # how often this wake-up was put off
        self._seen = self._woken = first_position  # the end at the last look, at the last wake-up
        self._loop: asyncio.AbstractEventLoop | None = None  # set by the first that waits
        self._call_soon: Callable[..., object]
        self._future: Callable[[], asyncio.Future[None]]
        self._wake_call = self._wake_soon  # made once: each write would make it anew
        self._shared: Chunk | None = None
        self._shared_start = -1
        self._shared_end = 0

    # Writing

    def write(self, data: Data) -> None:
        """Store a copy of `data` and pass it on; never waits and never raises for what a reader does.

        A closed monitor stores nothing more, but its parents still get what is written.
        """
        if not data:
            return
        if not self.closed:
            held = self._held  # as in RingBuffer.write
            if len(held) + len(data) > self._bound:
                held += self._make_room(data)
            else:
                held += data
            # One callback wakes them all: a write costs the same for one follower and for a thousand.
            if self._waiters and not self._waking:
                self._waking = True
                try:
                    self._call_soon(self._wake_call)
                except RuntimeError:  # the loop is closed, and who waited on it is gone
                    self._waiters = {}
        if self._outlets:
            for outlet in self._outlets:
                outlet(data)

    def log(self, level: Level, message: str) -> None:
        """Write one of the proxy's own lines, unless `level` is below the monitor's."""
        self.log_all(level, (message,))

    def log_all(self, level: Level, messages: Iterable[str]) -> None:
        """`log` for several lines in one write; they share their time."""
        if level < self._level:
            return
        if self._mask is not None:
            messages = [self._mask(message) for message in messages]
        time = format_time(self._time_format, self._clock.wall().astimezone()) if self._time_format else ""
        text = "".join([format_line(level, message, time, self._prefix) for message in messages])
        # Names from the file system may hold lone surrogates; a log line must never fail for one.
        self.write(text.encode("utf-8", "backslashreplace"))

    debug = partialmethod(log, Level.DEBUG)
    info = partialmethod(log, Level.INFO)
    warn = partialmethod(log, Level.WARN)
    error = partialmethod(log, Level.ERROR)

    def configure(
        self,
        *,
        level: Level | str | None = None,
        time_format: str | None = None,
        mask: Callable[[str], str] | None = None,
    ) -> None:
        """Change how the proxy's own lines look from now on; None leaves a setting as it is."""
        if mask is not None:
            self._mask = mask
        if level is not None:
            self._level = level if isinstance(level, Level) else Level.parse(level)
        if time_format is not None:
            self._time_format = time_format

    # Reading

    @property
    def level(self) -> Level:
        """Below which `log` writes nothing."""
        return self._level

    @property
    def time_format(self) -> str:
        """The name of the time format of `log`; "" is none."""
        return self._time_format

    @property
    def cursor(self) -> Cursor:
        """The cursor of the end."""
        return Cursor(self.epoch, self.end)

    @property
    def waiting(self) -> int:
        """How many followers wait for the next write."""
        return len(self._waiters)

    def tail(self, lines: int, since: int = 0) -> list[str]:
        """The last `lines` lines held at or after position `since`; see `text.last_lines` for their form.

        Never more than `capacity` bytes of them; the first may be the rest of a line.
        """
        position = max(since, self.start)
        if position >= self.end:
            return []
        return last_lines(self.read(position, self.capacity)[0], lines)

    def follow(self, cursor: Cursor | None = None, *, history: bool = True, limit: int = 65_536) -> Follower:
        """Read from `cursor` on, history and live alike, in chunks of at most `limit` bytes.

        Without a cursor: from the oldest byte held, or with `history=False` from the end. A cursor of
        another epoch or past the end names a place this log never had: reading starts with the oldest byte
        held, and all that was ever evicted counts as missed.
        """
        if cursor is None:
            position = self.start if history else self.end
        elif cursor.epoch != self.epoch or not 0 <= cursor.position <= self.end:
            position = 0
        else:
            position = cursor.position
        return Follower(self, position, limit)

    def subscribe(self, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `callback` with an immutable copy of each later write; returns what cancels it (any number of
        times).

        A callback that raises is dropped and counted in `dropped_subscribers`; nothing else notices.
        """
        subscription = _Subscription(callback)
        self._set_subscribers((*self._subscribers, subscription))

        def cancel() -> None:
            self._unsubscribe(subscription)

        return cancel

    def clear(self, *, runs: bool = False) -> None:
        """Drop the bytes held and give their memory back; positions go on.

        Followers that had not read them are told how many they missed. The sealed logs of ended runs stay,
        unless `runs` asks to drop them too.
        """
        super().clear()
        self._shared = None
        self._shared_start = -1
        if runs:
            self._runs.forget()

    def close(self) -> None:
        """No more is stored; followers read what is left and end."""
        self.closed = True
        self._set_subscribers(())
        self._wake()

    # Runs

    def begin_run(self, number: int) -> None:
        """What is written from now on belongs to run `number`; a run that still runs is sealed."""
        self._runs.begin(number)

    def end_run(self, number: int) -> None:
        """Seal the log of run `number`: the newest bytes of it, at most `capacity`, stay readable until
        `keep_runs` newer runs have ended. Does nothing unless that run is the one that runs.
        """
        self._runs.end(number)

    def runs(self) -> list[RunLog]:
        """The runs whose logs are kept, oldest first, the running one last."""
        return self._runs.logs()

    def run_history(self, number: int) -> bytes:
        """The bytes kept of run `number`, running or ended; NotFound if there are none."""
        return self._runs.history(number)

    def __repr__(self) -> str:
        run = f", run {self._runs.current}" if self._runs.current is not None else ""
        dropped = f", {self.dropped_subscribers} dropped" if self.dropped_subscribers else ""
        closed = ", closed" if self.closed else ""
        readers = f"{self.waiting} waiting, {len(self._subscribers)} subscribed{dropped}"
        return (
            f"<LogMonitor {self.name} {self.start}..{self.end} of {self.capacity} B | {readers}{run}{closed}>"
        )

    # For followers

    def register_waiter(self) -> asyncio.Future[None]:
        """A future that the next write fulfils; in the same step the caller saw that there is nothing."""
        if not self._waiters:
            # The first of this loop, perhaps: tests run many, and the last wake-up of one may never have run.
            # The others need not ask; before Python 3.12 that is a system call.
            loop = asyncio.get_running_loop()
            if loop is not self._loop:
                self._loop, self._call_soon, self._future = loop, loop.call_soon, loop.create_future
            self._waking = False
        waiter = self._future()
        self._waiters[waiter] = None
        return waiter

    def forget_waiter(self, waiter: asyncio.Future[None]) -> None:
        """It waits no more, whatever the reason."""
        self._waiters.pop(waiter, None)

    def chunk_at(self, position: int, limit: int) -> Chunk | None:
        """What there is from `position` on; None when that is nothing."""
        end = self._base + len(self._held)
        if self._shared_start == position and self._shared_end == end and end - position <= limit:
            shared = self._shared
            if shared is not None and shared.missed:
                self.count_gap(shared.missed)
            return shared
        if position == end:
            return None
        data, after, missed = self.read(position, limit)
        if missed:
            self.count_gap(missed)
        chunk = Chunk(data, missed, Cursor(self.epoch, after))
        if len(data) <= _SHARED_CHUNK:
            self._shared = chunk
            self._shared_start = position
            self._shared_end = after
        return chunk

    def feeds(self, monitor: LogMonitor) -> bool:
        """Whether what is written here goes on to `monitor`."""
        return any(parent is monitor or parent.feeds(monitor) for parent in self._parents)

    def wake(self) -> None:
        """Let everybody who waits look again, here and at the parents: there is something without bytes."""
        self._wake()
        for parent in self._parents:
            parent.wake()

    def count_gap(self, missed: int | None) -> None:
        """A reader was told that it missed so many bytes (None: nobody knows how many)."""
        self.gaps += 1
        self.gap_bytes += missed or 0

    def _chain(self) -> tuple[LogMonitor, ...]:
        """This monitor and all that get what is written to it."""
        found: dict[LogMonitor, None] = {self: None}
        for parent in self._parents:
            found |= dict.fromkeys(parent._chain())
        return tuple(found)

    # Waking and pushing

    def _call_wake(self) -> None:
        """As in `write`, for whoever writes past it."""
        self._waking = True
        try:
            self._call_soon(self._wake_call)
        except RuntimeError:  # the loop is closed, and who waited on it is gone
            self._waiters = {}

    def _wake_soon(self) -> None:
        """Wake the followers, or look again in the next step if more was written since the last look.

        An eighth of the capacity is worth waking for at once: waiting must not cost anybody a byte.
        """
        end = self._base + len(self._held)
        if end != self._seen and self._steps < _STEPS and end - self._woken < self._capacity >> 3:
            self._seen = end
            self._steps += 1
            self._call_soon(self._wake_call)
        else:
            self._wake()

    def _wake(self) -> None:
        self._waking = False
        self._steps = 0
        self._seen = self._woken = self._base + len(self._held)
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _set_subscribers(self, subscriptions: tuple[_Subscription, ...]) -> None:
        self._subscribers = subscriptions
        # One tuple of all that a write goes on to: who has neither subscribers nor parents asks one question.
        parents = tuple(parent.write for parent in self._parents)
        self._outlets: tuple[Callable[[Data], None], ...] = (
            (self._publish, *parents) if subscriptions else parents
        )

    def _publish(self, data: Data) -> None:
        copy = bytes(data)
        for subscription in self._subscribers:
            if not subscription.active:
                continue
            try:
                subscription.callback(copy)
            except Exception:  # noqa: BLE001 - a reader's fault is never the writer's
                self.dropped_subscribers += 1
                self._unsubscribe(subscription)

    def _unsubscribe(self, subscription: _Subscription) -> None:
        subscription.active = False
        self._set_subscribers(tuple(other for other in self._subscribers if other is not subscription))

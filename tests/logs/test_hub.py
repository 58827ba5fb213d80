"""The tree of monitors."""

from __future__ import annotations

from hostler.clock import ManualClock
from hostler.logs.hub import LogHub
from hostler.logs.monitor import Chunk, Cursor


def test_everything_reaches_combined() -> None:
    hub = LogHub()
    hub.model("a").write(b"from a\n")
    hub.model("b").write(b"from b\n")
    hub.proxy.info("ours")
    assert hub.model("a").history() == b"from a\n"
    assert hub.upstream.history() == b"from a\nfrom b\n"
    assert hub.proxy.history() == b"[INFO] ours\n"
    assert hub.combined.history() == b"from a\nfrom b\n[INFO] ours\n"


def test_find() -> None:
    hub = LogHub()
    model = hub.model("org/a")
    assert hub.find("") is hub.combined
    assert hub.find("proxy") is hub.proxy
    assert hub.find("upstream") is hub.upstream
    assert hub.find("org/a") is model is hub.model("org/a")
    assert hub.find("b") is None
    assert hub.find("combined") is None
    assert hub.models() == ["org/a"]


def test_settings_reach_the_right_monitors() -> None:
    hub = LogHub(buffer_bytes=10, keep_runs=1, level="warn", time_format="kitchen", clock=ManualClock())
    assert {hub.combined.capacity, hub.proxy.capacity, hub.upstream.capacity, hub.model("a").capacity} == {10}
    assert hub.model("b", buffer_bytes=20).capacity == 20
    assert hub.model("b", buffer_bytes=30).capacity == 20
    hub.proxy.info("dropped")
    hub.model("a").info("kept")
    assert (hub.proxy.end, hub.model("a").history()) == (0, b"INFO] kept\n"[-10:])
    hub.configure(level="info", time_format="", buffer_bytes=50, keep_runs=2)
    hub.proxy.info("kept")
    assert hub.proxy.history() == b"NFO] kept\n"
    assert (hub.model("a").capacity, hub.model("c").capacity) == (10, 50)


def test_each_hub_has_its_own_epoch() -> None:
    hub = LogHub()
    assert hub.epoch == hub.combined.epoch == hub.model("a").epoch
    assert hub.epoch != LogHub().epoch
    assert len(hub.epoch) == 8


async def test_a_dropped_model_goes_on_with_its_positions() -> None:
    hub = LogHub()
    old = hub.model("a")
    old.write(b"12345")
    follower = old.follow()
    hub.drop("a")
    hub.drop("a")
    assert [chunk.data async for chunk in follower] == [b"12345"]
    assert hub.find("a") is None
    old.write(b"late")
    assert hub.upstream.history() == b"12345late"

    new = hub.model("a")
    new.write(b"678")
    resumed = new.follow(Cursor(hub.epoch, 2))
    assert resumed.read_nowait() == Chunk(b"678", 3, Cursor(hub.epoch, 8))


async def test_close_ends_all_followers() -> None:
    hub = LogHub()
    monitors = [hub.combined, hub.proxy, hub.upstream, hub.model("a")]
    hub.model("a").write(b"x")
    hub.proxy.write(b"y")
    followers = [monitor.follow() for monitor in monitors]
    hub.close()
    assert [[chunk.data async for chunk in follower] for follower in followers] == [
        [b"xy"],
        [b"y"],
        [b"x"],
        [b"x"],
    ]


def test_repr_is_a_status_line() -> None:
    hub = LogHub()
    hub.model("a").write(b"abc")
    assert repr(hub) == f"<LogHub {hub.epoch} | 1 models, 3 B in all>"

"""The tree of monitors."""

from __future__ import annotations

from hostler.clock import ManualClock
from hostler.logs.hub import LogHub


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
    assert hub.model("b").capacity == 20
    hub.proxy.info("dropped")
    hub.model("a").info("kept")
    assert (hub.proxy.end, hub.model("a").history()) == (0, b"INFO] kept\n"[-10:])
    hub.configure(level="info", time_format="", buffer_bytes=50, keep_runs=2)
    hub.proxy.info("kept")
    assert hub.proxy.history().endswith(b"[INFO] kept\n")
    assert (hub.model("a").capacity, hub.model("c").capacity, hub.combined.capacity) == (50, 50, 50)
    assert hub.model("a", 7).capacity == 7
    hub.configure(buffer_bytes=60)
    assert (hub.model("a").capacity, hub.model("c").capacity) == (7, 60)


def test_each_hub_has_its_own_epoch() -> None:
    hub = LogHub()
    assert hub.epoch == hub.combined.epoch == hub.model("a").epoch
    assert hub.epoch != LogHub().epoch
    assert len(hub.epoch) == 8


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

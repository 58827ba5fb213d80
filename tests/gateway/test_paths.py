"""What must hold: the longest run of segments that names a model wins, and the rest keeps its escaping."""

import pytest

from hostler.gateway.paths import UpstreamPath, engine_path, own_path, raw_path, split_upstream

NAMES = {"author", "author/model", "plain", "mit leerzeichen", "v1"}


@pytest.mark.parametrize(
    ("path", "model", "rest"),
    [
        (b"/upstream/plain/v1/x", "plain", b"/v1/x"),
        (b"/upstream/plain", "plain", b""),
        (b"/upstream/plain/", "plain", b"/"),
        (b"/upstream/author/model/v1/x", "author/model", b"/v1/x"),
        (b"/upstream/author%2Fmodel/a%2Fb%252F", "author/model", b"/a%2Fb%252F"),
        (b"/upstream/author/other", "author", b"/other"),
        (b"/upstream/mit%20leerzeichen//x", "mit leerzeichen", b"//x"),
    ],
)
def test_split(path: bytes, model: str, rest: bytes) -> None:
    assert split_upstream(path, NAMES) == UpstreamPath(model, rest)


@pytest.mark.parametrize("path", [b"/upstream/", b"/upstream//plain", b"/upstream/none/v1", b"/upstream/%ff"])
def test_nothing_found(path: bytes) -> None:
    assert split_upstream(path, NAMES) is None


def test_a_path_of_ten_thousand_segments_is_no_work() -> None:
    class Counted(set[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            self.asked += 1
            return False

    names = Counted()
    assert split_upstream(b"/upstream" + b"/a" * 10_000, names) is None
    assert names.asked <= 32


def test_engine_path() -> None:
    assert engine_path(b"/v/chat/completions") == b"/chat/completions"
    assert engine_path(b"/audioapi/v1/tasks/run") == b"/v1/tasks/run"
    assert engine_path(b"/v1/chat/completions") == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("scope", "own", "raw"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, "/a b", b"/a%20b"),
        ({"path": "/a", "raw_path": b"/a?q=1"}, "/a", b"/a"),
        ({"path": "/a b\r\n%é"}, "/a b\r\n%é", b"/a%20b%0D%0A%25%C3%A9"),
        ({"path": "/a", "raw_path": None}, "/a", b"/a"),
        ({"path": "/m/a", "raw_path": b"/m/a", "root_path": "/m"}, "/a", b"/a"),
        ({"path": "/m/a", "root_path": "/m"}, "/a", b"/a"),
        ({"path": "/a", "raw_path": b"/a", "root_path": ""}, "/a", b"/a"),
    ],
)
def test_the_path_is_ours_wherever_we_are_mounted(scope: dict[str, object], own: str, raw: bytes) -> None:
    assert own_path(scope) == own
    assert raw_path(scope) == raw

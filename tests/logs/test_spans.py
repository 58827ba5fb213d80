"""What must hold: the newest requests are remembered, and no more than so many."""

from hostler.logs.spans import RequestSpans


def test_the_oldest_is_forgotten() -> None:
    spans = RequestSpans(limit=2)
    for name in (b"a", b"b", b"a", b"c"):
        spans.begin(name, "m", 1, "e:0.0.0")

    assert spans.find(b"b") is None
    assert len(spans) == 2


def test_an_id_that_comes_again() -> None:
    spans = RequestSpans()
    spans.begin(b"a", "m", 1, "e:0.0.0")
    span = spans.begin(b"a", "n", 2, "e:5.0.9")
    span.until = 9

    found = spans.find(b"a")
    assert found is not None
    assert (found.model, found.run, found.until) == ("n", 2, 9)


def test_an_id_that_always_comes_again_takes_no_room() -> None:
    spans = RequestSpans(limit=3)
    spans.begin(b"b", "m", 1, "e:0.0.0")
    for number in range(50):
        spans.begin(b"a", "m", number, "e:0.0.0")

    assert (len(spans), len(spans._order)) == (1, 3)
    found = spans.find(b"a")
    assert found is not None
    assert found.run == 49

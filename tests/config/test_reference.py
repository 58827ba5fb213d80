"""What must hold: the documentation lists every key as the parser knows it."""

from pathlib import Path

from hostler.config.reference import paths, reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_document_holds_the_reference_as_it_is() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").endswith(reference())


def test_keys_are_there_once() -> None:
    found = paths()

    assert len(found) == len(set(found))
    assert {"models", "models.<id>.cmd", "routing.scheduler.settings.fifo.maxWait", "apiKeys"} <= set(found)

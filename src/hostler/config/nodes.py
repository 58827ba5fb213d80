"""The tree a source is read into: scalars, sequences and mappings that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator

from hostler.config.problems import Mark
from hostler.config.scalars import Value, go_text, kind_of, resolve

_UNRESOLVED = object()


class Scalar:
    """One value. `text` is its spelling; `value` what the spelling means.

    `plain` says that it was written without quotes or tag, `substituted` that an environment value is in it.
    """

    __slots__ = ("_value", "mark", "plain", "substituted", "text")

    def __init__(self, mark: Mark, text: str, *, plain: bool = False, substituted: bool = False) -> None:
        self.mark = mark
        self.text = text
        self.plain = plain
        self.substituted = substituted
        self._value: object = _UNRESOLVED if plain else text

    @classmethod
    def of(cls, mark: Mark, text: str, value: Value) -> Scalar:
        """A scalar whose value is known already."""
        node = cls(mark, text)
        node._value = value
        return node

    def at(self, mark: Mark) -> Scalar:
        """The same value in another place."""
        return Scalar.of(mark, self.text, self.value)

    @property
    def inline(self) -> str:
        """The text of the value inside a longer text; a variable's is never spelled anew."""
        return self.text if self.substituted else go_text(self.value)

    @property
    def value(self) -> Value:
        """What the scalar means when nobody asks for a particular type."""
        if self._value is _UNRESOLVED:
            self._value = _resolve_substituted(self.text) if self.substituted else resolve(self.text)
        return self._value  # type: ignore[return-value]  # the sentinel is gone


def _resolve_substituted(text: str) -> Value:
    """The value of a text that came from a variable: a number or true/false where it is one, else that text.

    Spaces around a number came with the variable. A word for null is a word, a date is a text.
    """
    value = resolve(text.strip())
    return value if isinstance(value, bool | int | float) else text if text else None


class Seq:
    """A list."""

    __slots__ = ("height", "items", "mark", "size")

    def __init__(self, mark: Mark, items: list[Node]) -> None:
        self.mark = mark
        self.items = items
        self.size = 1
        self.height = 1


class Map:
    """A mapping, by the text of its keys, in order.

    `keys` has the place of each key. `merged` names the keys that came in by `<<` and yield to explicit ones;
    `shared`, at the top level, those that hold an anchor which is used somewhere.
    """

    __slots__ = ("height", "items", "keys", "mark", "merged", "shared", "size")

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.items: dict[str, Node] = {}
        self.keys: dict[str, Mark] = {}
        self.merged: set[str] = set()
        self.shared: set[str] = set()
        self.size = 1
        self.height = 1

    def put(self, key: str, mark: Mark, node: Node) -> None:
        """Set a key."""
        self.items[key] = node
        self.keys[key] = mark

    def copy(self) -> Map:
        """A shallow copy."""
        other = Map(self.mark)
        other.items = dict(self.items)
        other.keys = dict(self.keys)
        other.merged = set(self.merged)
        other.shared = self.shared
        other.size = self.size
        other.height = self.height
        return other


Node = Scalar | Seq | Map


def size_of(node: Node) -> int:
    """How many nodes there are with aliases written out."""
    return 1 if isinstance(node, Scalar) else node.size


def height_of(node: Node) -> int:
    """How many levels there are with aliases written out."""
    return 1 if isinstance(node, Scalar) else node.height


def is_null(node: Node | None) -> bool:
    """Whether there is nothing: no node, an empty one, `~` or `null`."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def child(node: Node | None, *keys: str) -> Node | None:
    """What stands at a path of keys; None when it, or something on the way, is missing or no mapping."""
    for key in keys:
        if not isinstance(node, Map):
            return None
        node = node.items.get(key)
    return node


def scalars(node: Node, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Every scalar value below `node` with its path."""
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, Seq):
        for index, item in enumerate(node.items):
            yield from scalars(item, f"{path}[{index}]")
    else:
        for key, item in node.items.items():
            yield from scalars(item, join(path, key))


def join(path: str, key: str) -> str:
    """The path of a key."""
    return f"{path}.{key}" if path else key


def describe(node: Node) -> str:
    """What kind of thing a node is, for messages."""
    if isinstance(node, Scalar):
        return kind_of(node.value)
    return "a list" if isinstance(node, Seq) else "a mapping"

"""What must hold: commands are split as llama-swap splits them (POSIX rules, and Windows' as a function)."""

import pytest

from hostler.config.commands import split_command


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \n\t ", []),
        ("a b  c", ["a", "b", "c"]),
        ("a\n  b\n c", ["a", "b", "c"]),
        ("a \\\n  b", ["a", "b"]),
        ("# no\na # b", ["a", "#", "b"]),
        ("a\n  # no 'quote\nb", ["a", "b"]),
        ("--a='b c'", ["--a=b c"]),
        ("'a''b' \"c\"", ["ab", "c"]),
        ("a '' \"\"", ["a", "", ""]),
        (r"a\ b \'c", ["a b", "'c"]),
        (r'"a\"b" "c\d" "\\"', ['a"b', r"c\d", "\\"]),
        (r"'a\b'", [r"a\b"]),
        ("a 'b c", ["a", "b c"]),
        ("echo $HOME *.gguf | x > y", ["echo", "$HOME", "*.gguf", "|", "x", ">", "y"]),
    ],
)
def test_posix(text: str, words: list[str]) -> None:
    assert split_command(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r'"C:\Program Files\x.exe" -m C:\m\x.gguf', [r"C:\Program Files\x.exe", "-m", r"C:\m\x.gguf"]),
        ("a 'b c'", ["a", "'b", "c'"]),
        (r"a\"b", ['a"b']),
        (r'"a\\" b', ["a\\", "b"]),
        ('"a""b"', ['a"b']),
        ("a\r\nb", ["a", "b"]),
    ],
)
def test_windows(text: str, words: list[str]) -> None:
    assert split_command(text, windows=True) == words

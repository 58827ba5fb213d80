"""What must hold: commands are split as llama-swap splits them (POSIX rules, and Windows' as a function)."""

import pytest

from hostler.config.commands import split_command, strip_comments


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
        ("ab\\\ncd", ["ab", "cd"]),  # the backslash becomes a space
        ("a \\  \n b", ["a", "b"]),
        ('"a\\\nb"', ["a \nb"]),  # between quotes, too
        ("a \\", ["a"]),
        ("\\", []),
        ("a\\\\\nb", ["a ", "b"]),  # of two, one is left and takes the space with it
        ("a\rb\tc", ["a\rb", "c"]),  # a carriage return separates nothing
        ("a\u00a0b", ["a\u00a0b"]),
        ('"$x `y` \\$ \\`"', ["$x `y` $ `"]),
        ("x'a'\"b\"c", ["xabc"]),
        ("'#a'\n'\n#b\n'", ["#a", "\n"]),  # a line that begins with # is a comment even between quotes
        ("a\n#\nb", ["a", "b"]),
        ("#only", []),
        ('a "b c', ["a", "b c"]),
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
        ("", []),
        ('""', [""]),
        (r"a\\b", [r"a\\b"]),
        (r'a\\"b c"', ["a\\b c"]),
        (r"a\\\"b", ['a\\"b']),
        ('"a b', ["a b"]),
        ('x"a b"y', ["xa by"]),
        ("# no\nrun \\\n /x", ["run", "/x"]),
    ],
)
def test_windows(text: str, words: list[str]) -> None:
    assert split_command(text, windows=True) == words


def test_comment_lines_are_dropped_and_others_kept_as_they_are() -> None:
    assert strip_comments("a # b\n  # c\n\t#d\n\n e\n") == "a # b\n\n e\n"
    assert strip_comments("a\nb") == "a\nb"

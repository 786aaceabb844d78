"""Words of a line that is being typed, in the grammars of bash and fish."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monolith_cli.commands.shell_words import BASH, FISH, quote_rest, split, unquote


@pytest.mark.parametrize(
    ("text", "words", "current", "quote"),
    [
        ("", [], "", ""),
        ("a", [], "a", ""),
        ("a  b ", ["a", "b"], "", ""),
        ("a\tb\nc", ["a", "b"], "c", ""),
        (r"a\ b c", ["a b"], "c", ""),
        ("'a b' \"c d", ["a b"], "c d", '"'),
        ("a 'b", ["a"], "b", "'"),
        (r'"\"\$\`\\\x" ', ['"$`\\\\x'], "", ""),
        (r"'\' a", ["\\"], "a", ""),
        ("a\"\"''b", [], "ab", ""),
        (r"$'a\n\'\x41\101é' ", ["a\n'AAé"], "", ""),
        (r"$'a\xc3\xa9\xff", [], "aé\udcff", "$'"),
        ("a\\\nb", [], "ab", ""),
        ("a\\", [], "a", ""),
        ("'a\\", [], "a\\", "'"),
        ("$N/x ${N}y '$N' \"$N\" $", ["n/x", "ny", "$N", "n"], "$", ""),
        ("$UNSET/x", [], "/x", ""),
        ("~/x '~/x' a~", ["/home/ann/x", "~/x"], "a~", ""),
    ],
)
def test_bash(
    text: str, words: list[str], current: str, quote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("N", "n"), ("HOME", "/home/ann")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)
    found, last = split(text, BASH)
    assert [word.value for word in found] == words
    assert (last.value, last.quote) == (current, quote)
    assert text.endswith(last.raw)


@pytest.mark.parametrize(
    ("text", "value", "quote"),
    [
        (r"a\ b\nc\x41\u00e9\$", "a b\ncAé$", ""),
        (r"\Xc3\Xa9\Xff", "é\udcff", ""),
        (r"'it\'s \\ \n", "it's \\ \\n", "'"),
        (r'"a\"\$\n', 'a"$\\n', '"'),
        ("$'a'", "$a", ""),
    ],
)
def test_fish(text: str, value: str, quote: str) -> None:
    assert unquote(text, FISH) == (value, text, quote)


TEXTS = st.text(
    st.one_of(
        st.characters(min_codepoint=1, max_codepoint=0x24F, blacklist_categories=("Cs",)),
        st.sampled_from("'\"\\$`! \n\t\udc80\udcff*?[~#"),
    ),
    max_size=12,
)


@given(TEXTS, st.sampled_from(["", "'", '"', "$'"]))
def test_what_is_quoted_is_read_back(text: str, quote: str) -> None:
    quoted = quote + quote_rest(text, quote)
    read = unquote(quoted, BASH)
    # As readline does: it closes the quote, unless such a character is there already.
    assert read.value == text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    assert "\n" not in quoted
    assert read.quote == ("" if quote and quoted != quote and quoted.endswith(quote[-1]) else quote)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")
@settings(max_examples=20)
@given(st.lists(st.tuples(TEXTS, st.sampled_from(["", "'", '"', "$'"])), min_size=30, max_size=30))
def test_bash_reads_it_back(cases: list[tuple[str, str]]) -> None:
    lines = []
    for text, quote in cases:
        word = quote + quote_rest(text, quote)
        ended = word if quote and word != quote and word.endswith(quote[-1]) else word + quote[-1:]
        lines.append(f"printf '%s\\0' {ended or chr(39) * 2}\n")
    done = subprocess.run(
        ["bash", "--norc"], input="".join(lines).encode(), capture_output=True, check=True
    )
    wanted = [text.encode("utf-8", "surrogateescape") for text, _ in cases]
    assert done.stdout.split(b"\0")[:-1] == wanted
    assert done.stderr == b""

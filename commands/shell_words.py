"""Words of a line that somebody is typing in a shell: where they end, and what they stand for.

Enough of the shells' grammars for command lines with file names: quotes, backslashes, `~`, and
variables of the environment. Nothing is run, and no pattern is looked for.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

__all__ = ["BASH", "FISH", "Word", "quote_rest", "split", "unquote"]

BASH, FISH = "bash", "fish"
"""The grammars. That of zsh is bash's, as far as this goes."""

ANSI = "$'"
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_ESCAPE = re.compile(r"(?s)\\(?:[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|([0-7]{1,3})|(.))")
_LETTERS = dict(zip("abefnrtv", "\a\b\x1b\f\n\r\t\v", strict=True))
_NAMES = {char: f"\\{letter}" for letter, char in _LETTERS.items() if letter != "e"}
_SPECIAL = re.compile(r"[^A-Za-z0-9_./,:=+@%-]")
"""What may have to be quoted."""


class Word(NamedTuple):
    """A word.

    Attributes
    ----------
    value
        What a program would be given.
    raw
        As it is typed.
    quote
        The quote that is still open at its end: `'`, `"`, `$'`, or nothing.
    """

    value: str
    raw: str
    quote: str = ""


def split(text: str, grammar: str) -> tuple[list[Word], Word]:
    """The words of a line that are ended by a blank, and the one at its end, which may be empty."""
    words: list[Word] = []
    start = 0
    while True:
        while start < len(text) and text[start] in " \t\n":
            start += 1
        word = _read(text, start, grammar)
        start += len(word.raw)
        if start == len(text):
            return words, word
        words.append(word)


def unquote(text: str, grammar: str) -> Word:
    """A text that is one word, blanks and all."""
    return _read(text, 0, grammar, ends="")


def _read(text: str, start: int, grammar: str, ends: str = " \t\n") -> Word:
    value: list[str] = []
    quote, at = "", start
    while at < len(text) and (quote or text[at] not in ends):
        at, quote, meant = _step(text, at, quote, grammar)
        value.append(meant)
    raw = text[start:at]
    joined = "".join(value)
    if raw.startswith("~"):
        joined = os.path.expanduser(joined)
    # Bytes that were named one by one may be a character together.
    data = joined.encode("utf-8", "surrogateescape")
    return Word(data.decode("utf-8", "surrogateescape"), raw, quote)


def _step(text: str, at: int, quote: str, grammar: str) -> tuple[int, str, str]:
    """The next place, the quote there, and what the text between stands for."""
    char = text[at]
    if quote:
        if char == quote[-1]:
            return at + 1, "", ""
    elif char in "'\"":
        return at + 1, char, ""
    elif grammar == BASH and text.startswith(ANSI, at):
        return at + 2, ANSI, ""
    if char == "\\":
        return _backslash(text, at, quote, grammar)
    if char == "$" and quote in ("", '"') and (match := _VARIABLE.match(text, at)):
        return match.end(), quote, os.environ.get(match[1] or match[2], "")
    return at + 1, quote, char


def _backslash(text: str, at: int, quote: str, grammar: str) -> tuple[int, str, str]:
    if quote == "'" and grammar == BASH:
        return at + 1, quote, "\\"
    if at + 1 == len(text):
        return at + 1, quote, ""  # of an escape that is not finished
    if quote == ANSI or (grammar == FISH and not quote):
        match = _ESCAPE.match(text, at)
        assert match is not None
        return match.end(), quote, _escaped(match)
    next_char = text[at + 1]
    special = {"'": "\\'", '"': '\\"$`\n'}.get(quote)
    if special is not None and next_char not in special:
        return at + 1, quote, "\\"
    return at + 2, quote, "" if next_char == "\n" and quote != "'" else next_char


def _escaped(match: re.Match[str]) -> str:
    byte, point, octal, char = match.groups()
    if point:
        return chr(int(point, 16))
    if char:
        return _LETTERS.get(char, char)
    number = int(byte, 16) if byte else int(octal, 8) & 255
    return bytes([number]).decode("utf-8", "surrogateescape")


def quote_rest(text: str, quote: str) -> str:
    """The text as bash takes it, where a quote is open (or none is), which readline closes.

    Character by character, so that what several texts begin with they still begin with.
    """
    quoted = _SPECIAL.sub(lambda match: _quoted(match[0], quote), text)
    # It closes none behind a character that is one, whatever that stands for.
    return quoted + quote[-1] if quote and quoted.endswith(quote[-1]) else quoted


def _quoted(char: str, quote: str) -> str:
    is_odd = ord(char) < 32 or ord(char) == 127 or "\udc80" <= char <= "\udcff"
    if quote == ANSI:
        return _named(char) if is_odd else f"\\{char}" if char in "\\'" else char
    if is_odd:
        return f"{quote}$'{_named(char)}'{quote}"
    if quote == "'":
        return "'\\''" if char == "'" else char
    if quote == '"':
        if char == "!":  # history, which no backslash keeps away here
            return "\"'!'\""
        return f"\\{char}" if char in '"\\$`' else char
    return char if ord(char) > 127 else f"\\{char}"


def _named(char: str) -> str:
    if char in _NAMES:
        return _NAMES[char]
    return f"\\x{os.fsencode(char)[0]:02x}" if ord(char) > 127 else f"\\x{ord(char):02x}"

"""Protobuf's text format: a small generic parser, and the quoting of strings.

The state files of a model directory are read and written without protobuf, whose import alone
takes longer than all else that a small command does. The parser knows no schema: a field is a
name and a value, and whoever asked for the file knows which names and types to expect.

The language is that of https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import NamedTuple, NoReturn, TypeAlias, TypeVar

from monolith_cli.errors import StateFileError
from monolith_cli.storage.store import store_of

__all__ = ["Field", "Value", "expect", "parse", "quote", "read"]

Value: TypeAlias = "int | float | bytes | str | list[Field]"
"""A number, a string (as bytes), an enum value or bool (as its identifier), or a message."""

_T = TypeVar("_T")

_TYPE_NAMES: dict[type, str] = {
    int: "an integer",
    float: "a number",
    bytes: "a string",
    str: "an identifier",
    list: "a message",
}
_MAX_DEPTH = 100

_SPACE = rb"(?:[ \t\n\r\v\f]+|#[^\n]*)*"


def _token(pattern: bytes) -> re.Pattern[bytes]:
    """A token together with the white space and the comments behind it."""
    return re.compile(b"(?:" + pattern + b")" + _SPACE)


_BLANK = _token(b"")
_SYMBOL = _token(rb"([{}<>\[\]:,;-])")
_NAME = _token(rb"([A-Za-z_]\w*|[0-9]+|\[[\w./\s-]+\])")
_SCALAR = _token(
    rb"""(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')"""
    rb"|(?P<identifier>[A-Za-z_]\w*)"
    rb"|(?P<integer>0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(?![\w.])"
    rb"|(?P<float>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fF]?(?![\w.])"
)
_ESCAPE = (
    rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*)"
    rb"|U([0-9a-fA-F]{8})|(.))"
)
_DRIVE = rb"[A-Za-z]:\\(?!\\)"
_SINGLE_ESCAPES = dict(zip(b"abfnrtv?\\'\"", b"\a\b\f\n\r\t\v?\\'\"", strict=True))

_QUOTED = [chr(c) if 0x20 <= c < 0x7F else f"\\{c:03o}" for c in range(256)]
for _plain, _escaped in zip("\n\r\t\"'\\", "nrt\"'\\", strict=True):
    _QUOTED[ord(_plain)] = "\\" + _escaped


class Field(NamedTuple):
    """One field as it was written; a list `name: [a, b]` is as many fields.

    `offset` is where the name starts, in bytes.
    """

    name: str
    value: Value
    offset: int


def quote(data: bytes) -> str:
    r"""`data` as a string literal, escaped as protobuf's own printers do it.

    In double quotes, with ``\n \r \t \" \' \\`` by letter, and other control characters and all
    bytes from 0x7F up as three octal digits. The result is ASCII.
    """
    return '"' + "".join(map(_QUOTED.__getitem__, data)) + '"'


def read(path: str, *, of_paths: bool = False) -> list[Field]:
    """The fields of the file at `path`.

    Parameters
    ----------
    of_paths
        As in `parse`.

    Raises
    ------
    PathNotFoundError, NotReadableError
        As `Store.read`.
    StateFileError
        It does not parse, or is too large.
    """
    return parse(store_of(path).read(path), path, of_paths=of_paths)


def parse(text: str | bytes, path: str | None = None, *, of_paths: bool = False) -> list[Field]:
    """The fields of a message, in the order of the text; a byte order mark before it is passed.

    Parameters
    ----------
    text
        The message; a `str` is taken as its UTF-8 bytes.
    path
        The file it came from, for errors only.
    of_paths
        Its strings are paths, which people write too: single backslashes may be meant.

    Raises
    ------
    StateFileError
        The text is malformed; `offset` says where, in bytes.
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return _Parser(data, path, of_paths).message("", 0)


def expect(field: Field, kind: type[_T], path: str | None = None) -> _T:
    """The value of a field that must be of that type; an integer will do for a float.

    Raises
    ------
    StateFileError
        It is of another type.
    """
    value = field.value
    if kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, kind):
        what = f"{field.name} is not {_TYPE_NAMES[kind]}"
        raise StateFileError(what, path=path, offset=field.offset)
    return value


class _Parser:
    __slots__ = ("data", "of_paths", "path", "position")

    def __init__(self, data: bytes, path: str | None, of_paths: bool) -> None:
        self.data = data
        self.path = path
        self.of_paths = of_paths
        self.position = len(BOM_UTF8) if data.startswith(BOM_UTF8) else 0
        self.take(_BLANK)

    def fail(self, what: str, offset: int | None = None) -> NoReturn:
        offset = self.position if offset is None else offset
        from monolith_cli.formats.magic import malformed

        raise malformed(what, self.data, self.path, offset)

    def take(self, token: re.Pattern[bytes]) -> re.Match[bytes] | None:
        match = token.match(self.data, self.position)
        if match:
            self.position = match.end()
        return match

    def symbol(self, wanted: str) -> str:
        """The next symbol if it is one of the wanted, else nothing."""
        match = _SYMBOL.match(self.data, self.position)
        symbol = match[1].decode() if match else ""
        if not match or symbol not in wanted:
            return ""
        self.position = match.end()
        return symbol

    def message(self, end: str, depth: int) -> list[Field]:
        """Fields up to the closing bracket `end`, or to the end of the text where it is empty."""
        if depth > _MAX_DEPTH:
            self.fail(f"messages nested more than {_MAX_DEPTH} deep")
        fields: list[Field] = []
        while not self.symbol(end):
            offset = self.position
            if not end and offset == len(self.data):
                break
            match = self.take(_NAME)
            if not match:
                self.fail(f"neither a field nor '{end}'" if end else "not a field name")
            name = match[1].decode("latin-1")
            colon = self.symbol(":")
            if self.symbol("["):
                fields += [Field(name, value, offset) for value in self.list(colon, depth)]
            else:
                fields.append(Field(name, self.value(colon, depth), offset))
            self.symbol(",;")
        return fields

    def list(self, colon: str, depth: int) -> list[Value]:
        values: list[Value] = []
        if self.symbol("]"):
            return values
        values.append(self.value(colon, depth))
        while not self.symbol("]"):
            if not self.symbol(","):
                self.fail("neither ',' nor ']'")
            values.append(self.value(colon, depth))
        return values

    def value(self, colon: str, depth: int) -> Value:
        bracket = self.symbol("{<")
        if bracket:
            return self.message("}" if bracket == "{" else ">", depth + 1)
        if not colon:
            self.fail("no ':' before a value")
        return self.scalar()

    def scalar(self) -> Value:
        offset = self.position
        minus = self.symbol("-")
        match = self.take(_SCALAR)
        if not match:
            self.fail("not a value", offset)
        token = match[match.lastgroup or 0]
        number: float
        if match.lastgroup == "string":
            if not minus:
                return self.strings(token, offset)
            self.fail("'-' before a string", offset)
        elif match.lastgroup == "identifier":
            word = token.decode("latin-1")
            if word.lower() in ("inf", "infinity", "inff", "infinityf"):
                number = float("inf")
            elif word.lower() in ("nan", "nanf"):
                number = float("nan")
            elif not minus:
                return word
            else:
                self.fail("'-' before an identifier", offset)
        elif match.lastgroup == "float":
            number = float(token)
        elif len(token) > 24:  # beyond 64 bits however it is written
            self.fail("number out of range", offset)
        elif token[1:2] in (b"x", b"X"):
            number = int(token, 16)
        else:
            number = int(token, 8 if token.startswith(b"0") else 10)
        return -number if minus else number

    def strings(self, literal: bytes, offset: int) -> bytes:
        """A literal, and those that follow it: adjacent ones are one string."""
        joined = self.unescape(literal, offset)
        while self.data[self.position : self.position + 1] in (b'"', b"'"):
            offset = self.position
            match = self.take(_SCALAR)
            if not match:
                self.fail("a string without its end", offset)
            joined += self.unescape(match["string"], offset)
        return joined

    def unescape(self, literal: bytes, offset: int) -> bytes:
        body = literal[1:-1]
        if b"\\" not in body:
            return body
        try:
            text = re.sub(_ESCAPE, _unescape_one, body)
        except (KeyError, ValueError):
            if self.of_paths:
                return _unescape_path(body)
            self.fail("a malformed escape in a string", offset)
        if self.of_paths and re.match(_DRIVE, body) and min(text) < 0x20:
            return _unescape_path(body)
        return text


def _unescape_path(body: bytes) -> bytes:
    """A path that somebody wrote by hand, as it was meant: the backslashes of Windows, single."""
    return body.replace(rb"\\", b"\\")


def _unescape_one(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, utf16, code_point, letter = match.groups()
    if octal:
        return bytes([int(octal, 8)])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if utf16:
        units = bytes.fromhex(utf16.decode().replace("\\", "").replace("u", ""))
        return units.decode("utf-16-be").encode()
    if code_point:
        return chr(int(code_point, 16)).encode()
    return bytes([_SINGLE_ESCAPES[letter[0]]])

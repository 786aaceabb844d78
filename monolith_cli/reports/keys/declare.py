"""What a declaration of keys is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = [
    "BOOLEAN",
    "LINES",
    "LIST",
    "LISTS",
    "MAP",
    "NUMBER",
    "NUMBERS",
    "OBJECT",
    "OBJECTS",
    "ONE",
    "SCALAR",
    "STRING",
    "STRINGS",
    "Key",
    "Output",
]

STRING = "string"
NUMBER = "number"
BOOLEAN = "boolean"
SCALAR = "number or string"
OBJECT = "object"
STRINGS = "list of strings"
NUMBERS = "list of numbers"
LISTS = "list of lists"
OBJECTS = "list of objects"
MAP = "object of numbers"
"""Its keys are data, such as slots."""


class Key(NamedTuple):
    """A key of an object.

    Attributes
    ----------
    type
        What its values are, one of the constants above.
    meaning
        A phrase or some sentences, with a full stop.
    null
        When it is null: what follows "null "; empty where it never is.
    only
        When the key is there: what follows "only "; empty where it always is.
    keys
        Those of its object, or of each in its list; none where they are no matter of ours.
    """

    type: str
    meaning: str
    null: str = ""
    only: str = ""
    keys: Mapping[str, Key] = {}

    @property
    def type_text(self) -> str:
        """What its values are, null among them."""
        return f"{self.type} or null" if self.null else self.type

    @property
    def text(self) -> str:
        """Meaning, when it is there and when it is null, as sentences."""
        only = f"Only {self.only}. " if self.only else ""
        null = f" Null {self.null}." if self.null else ""
        return f"{only}{self.meaning}{null}"


ONE, LIST, LINES = "one", "list", "lines"


class Output(NamedTuple):
    """JSON that a command prints.

    Attributes
    ----------
    intro
        A sentence that says when, and what it is: it ends with a colon if keys follow.
    form
        `ONE` object; a `LIST` of objects; or objects in `LINES`.
    keys
        Those of an object.
    on_stderr
        Whether it is printed there, as errors are.
    """

    intro: str
    form: str
    keys: Mapping[str, Key]
    on_stderr: bool = False

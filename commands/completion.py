"""Completion in bash, zsh and fish: the shell's script asks, and this answers.

`_MONOLITH_COMPLETE` says what is wanted: `bash_source` the script, `bash_complete` an answer. What
the line is comes as arguments, as the shell has it (see `completion_scripts`). Whatever goes wrong,
the answer is nothing, with exit code 0: somebody is in the middle of typing.

Shells pass on what they are given in different ways. For bash a candidate is quoted here, to the
byte that readline puts in; zsh and fish quote by themselves.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.commands.base import Settings
from monolith_cli.commands.completion_scripts import SCRIPTS
from monolith_cli.commands.shell_words import BASH, FISH, quote_rest, split, unquote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import click

__all__ = ["Asking", "Line", "answer", "complete"]

VARIABLE = "_MONOLITH_COMPLETE"
END_OF_OPTIONS = "--"
KINDS = {"dir": "dirs", "file": "files"}


class Line(NamedTuple):
    """A command line without its first word, unquoted.

    Attributes
    ----------
    before
        The words before the one that is completed.
    current
        That one, up to the cursor.
    after
        Those behind the cursor.
    """

    before: list[str]
    current: str
    after: list[str]


class Asking(Settings):
    """The settings of a run that only completes: with the line, for those who look at all of it."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line


class Answer(NamedTuple):
    """Candidates, each a whole word with its help in a line or None; or what the shell looks for.

    `kind` is `values`, or `dirs` or `files`, of which the shell knows more. `prefix` is what of the
    word is the option, such as `--table=`, whose value is completed.
    """

    kind: str
    prefix: str
    items: list[tuple[str, str | None]]


def complete(cli: click.Command, instruction: str, args: Sequence[str]) -> bool:
    """Do what `_MONOLITH_COMPLETE` says; False for what is no instruction of these shells."""
    shell, _, what = instruction.partition("_")
    if shell not in SCRIPTS or what not in ("source", "complete"):
        return False
    if what == "source":
        print(SCRIPTS[shell])
        return True
    gc.disable()  # thousands of names are no garbage, and the process ends with them
    try:
        text = _FACES[shell](cli, args)
    except Exception:  # there is nobody to tell
        return True
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    return True


def answer(cli: click.Command, line: Line) -> Answer:
    """What the line can go on with."""
    from click.shell_completion import ShellComplete

    shell = ShellComplete(cli, {"obj": Asking(line)}, "monolith", VARIABLE)
    prefix = _option_of(line)
    value = line.current.removeprefix(prefix)
    # Click takes whatever begins with a dash for an option: it is asked for all, then.
    is_odd = value.startswith("-") and bool(prefix or END_OF_OPTIONS in line.before)
    items = shell.get_completions(_without_options(line.before), prefix + ("" if is_odd else value))
    for item in items:
        if item.type in KINDS:
            return Answer(KINDS[item.type], prefix, [])
    return Answer(
        "values",
        prefix,
        [
            (prefix + item.value, item.help)
            for item in items
            if not is_odd or item.value.startswith(value)
        ],
    )


def _option_of(line: Line) -> str:
    """`--table=` of `--table=user`, whose value alone the candidates are; else nothing."""
    name, equals, _ = line.current.partition("=")
    is_option = name.startswith("-") and END_OF_OPTIONS not in line.before
    return name + equals if equals and is_option else ""


def _without_options(before: list[str]) -> list[str]:
    """The words, none of which is an option behind `--`: for Click the last might be one."""
    if END_OF_OPTIONS not in before:
        return before
    end = before.index(END_OF_OPTIONS) + 1
    return before[:end] + [f"./{word}" if word.startswith("-") else word for word in before[end:]]


def _bash(cli: click.Command, args: Sequence[str]) -> str:
    """Lines: the kind, then what replaces readline's word.

    The arguments are the line up to the cursor, the rest of it, and readline's word, which begins
    behind the last character at which words break for readline, a colon say.
    """
    text, rest, replaced = args
    words, current = split(text, BASH)
    kept = current.raw.removesuffix(replaced)
    if kept + replaced != current.raw:
        return ""
    after = [] if current.quote else split(rest + " ", BASH)[0]
    if rest[:1].strip():  # the cursor is inside of a word
        after = after[1:]
    found = answer(
        cli, Line([word.value for word in words[1:]], current.value, [w.value for w in after])
    )
    stays = unquote(kept, BASH)
    lines = [
        quote_rest(value.removeprefix(stays.value), stays.quote)
        for value, _ in found.items
        if value.startswith(stays.value)
    ]
    return "\n".join([found.kind, *lines]) + "\n"


def _zsh(cli: click.Command, args: Sequence[str]) -> str:
    """Fields, each with a NUL behind it: kind, prefix, then by candidate its value and its help.

    Where none has a help the kind is `plain`, and there are only values: zsh takes long for loops.

    The arguments are the number of words up to the cursor, and all words as they are typed.
    """
    count, words = int(args[0]), [unquote(word, BASH).value for word in args[1:]]
    found = answer(cli, Line(words[1 : count - 1], words[count - 1], words[count:]))
    is_plain = bool(found.items) and not any(text for _, text in found.items)
    fields = ["plain" if is_plain else found.kind, found.prefix]
    for value, text in found.items:
        fields.append(value.removeprefix(found.prefix))
        if not is_plain:
            fields.append(text or "")
    return "".join(f"{field}\0" for field in fields)


def _fish(cli: click.Command, args: Sequence[str]) -> str:
    """Fields, each with a NUL behind it: kind, prefix, candidates with a tab before their help.

    The argument is the command up to the cursor; fish does not say what is behind it.
    """
    words, current = split(args[0], FISH)
    found = answer(cli, Line([word.value for word in words[1:]], current.value, []))
    fields = [found.kind, found.prefix]
    for value, help in found.items:
        if "\t" not in value:  # which fish would cut there
            fields.append(f"{value}\t{help}" if help else value)
    return "".join(f"{field}\0" for field in fields)


_FACES: dict[str, Any] = {"bash": _bash, "zsh": _zsh, "fish": _fish}

"""Write the pages that are made from the sources.

    python docs/generate.py            write them
    python docs/generate.py --check    exit with 1 if one is stale

`docs/training-api.md` is the reference of `monolith_cli.training`, from its docstrings;
`docs/json.md` that of what commands print as JSON, from `monolith_cli/reports/keys`. It reads the
sources beside this folder, so it needs no TensorFlow, and nothing installed. The pages are checked
in; nobody edits them.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from monolith_cli.reports.keys import Key

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "monolith_cli" / "training"
DOCS = ROOT / "docs"

PUBLIC = [
    "barrier_ops",
    "basic_restore_hook",
    "ckpt_hooks",
    "ckpt_info",
    "clip_ops",
    "hash_table",
    "hash_table_utils",
    "save_utils",
    "controller",
    "runs",
    "run_state",
    "restarts",
    "fingerprint",
    "iterator_restore",
]

INTRODUCTION = """\
# Reference of `monolith_cli.training`

Made by `docs/generate.py` from the docstrings; do not edit. [training.md](training.md) says what
the modules are for, and how they go together.
"""

WIDTH = 100
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Section(NamedTuple):
    """A part of a docstring under a title, such as Parameters; the first one has none."""

    title: str
    lines: list[str]


def main() -> int:
    stale = False
    for name, wanted in (("training-api.md", training_page()), ("json.md", json_page())):
        page = DOCS / name
        if page.exists() and page.read_text(encoding="utf-8") == wanted:
            continue
        if "--check" in sys.argv[1:]:
            print(f"docs/{name} is stale: run make docs", file=sys.stderr)
            stale = True
        else:
            page.write_text(wanted, encoding="utf-8")
    return int(stale)


def training_page() -> str:
    """The whole reference of the library for trainers."""
    contents = [f"- [`{name}`](#{name}): {summary(parse(name))}" for name in PUBLIC]
    parts = [INTRODUCTION.rstrip(), "\n".join(contents)]
    for name in PUBLIC:
        parts += module(name)
    return "\n\n".join(parts) + "\n"


# --- what commands print as JSON ----------------------------------------------------------------

JSON_INTRODUCTION = """\
# What commands print as JSON

Made by `docs/generate.py` from `monolith_cli/reports/keys`; do not edit. Man pages have the same,
under JSON. [ci.md](ci.md) says how to use it, and what errors look like.

A key is named by its path, as jq has it: `tables[].name` is the `name` of each object in the list
`tables`. Keys are never renamed, and later versions may add some.
"""


def json_page() -> str:
    """A section a command, a table of keys for each thing that it prints."""
    from monolith_cli.reports.keys import OUTPUTS

    parts = [JSON_INTRODUCTION.rstrip()]
    parts.append("\n".join(f"- [`{name}`](#{name.replace(' ', '-')})" for name in OUTPUTS))
    for name, outputs in OUTPUTS.items():
        parts.append(f"## {name}")
        for output in outputs:
            parts += [text(output.intro), "\n".join(key_table(output.keys))]
    return "\n\n".join(parts) + "\n"


def key_table(keys: Mapping[str, Key]) -> Iterator[str]:
    from monolith_cli.reports.keys import paths

    yield "| key | type | meaning |"
    yield "|---|---|---|"
    for path, key in paths(keys):
        yield f"| `{path}` | {key.type_text} | {text(key.text)} |"


# --- the library for trainers -------------------------------------------------------------------


def parse(name: str) -> ast.Module:
    return ast.parse((SOURCES / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))


def summary(tree: ast.Module) -> str:
    return text((ast.get_docstring(tree) or "").partition("\n\n")[0])


# --- what there is ----------------------------------------------------------------------------


def module(name: str) -> Iterator[str]:
    """A module's docstring, then what its `__all__` names, in the order of the sources."""
    tree = parse(name)
    yield f"## {name}"
    yield from docstring(tree)
    names = exported(tree)
    known = set()
    for source in (tree, *imported(tree, names)):
        for node, note in definitions(source):
            if node_name(node) in names:
                known.add(node_name(node))
                yield from item(node, note)
    missing = sorted(names - known)
    if missing:
        raise SystemExit(f"{name}: nothing defines {', '.join(missing)}")


def exported(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and node_name(node) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def imported(tree: ast.Module, names: set[str]) -> Iterator[ast.Module]:
    """The modules of this package that some of the names come from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("monolith_cli."):
            assert node.module is not None
            if names & {alias.name for alias in node.names}:
                yield ast.parse(
                    (ROOT / f"{node.module.replace('.', '/')}.py").read_text(encoding="utf-8")
                )


def definitions(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """The statements of a module, each with the string behind it, which documents a constant."""
    for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        note = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            note = inspect.cleandoc(str(after.value.value))
        yield node, note


def node_name(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | Function):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def item(node: ast.stmt, note: str) -> Iterator[str]:
    """One function, class or constant."""
    if isinstance(node, ast.ClassDef):
        yield from class_(node)
    elif isinstance(node, Function):
        yield from function(node)
    else:
        yield f"### {node_name(node)}"
        yield code(ast.unparse(node).replace("'", '"'))
        if note:
            yield from body(note.splitlines())


def class_(node: ast.ClassDef) -> Iterator[str]:
    yield f"### {node.name}"
    methods = {each.name: each for each in node.body if isinstance(each, Function)}
    bases = [ast.unparse(base) for base in node.bases]
    if "NamedTuple" in bases:
        fields = [ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign)]
        yield code(signature(f"class {node.name}", fields))
    elif "__init__" in methods:
        yield code(signature(f"class {node.name}", arguments(methods["__init__"])[1:]))
    else:
        yield code(f"class {node.name}({', '.join(bases)})")
    yield from docstring(node)
    for name, method in methods.items():
        if not name.startswith("_"):
            yield from function(method, node.name)


def function(node: Function, owner: str = "") -> Iterator[str]:
    """A function, or the method or property of a class."""
    parameters = arguments(node)[1:] if owner else arguments(node)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if any(ast.unparse(decorator) == "property" for decorator in node.decorator_list):
        shown = f"{node.name}{returns.replace(' ->', ':')}"
    else:
        shown = signature(node.name, parameters, returns)
    yield f"#### {owner}.{node.name}" if owner else f"### {node.name}"
    yield code(shown)
    yield from docstring(node)


def arguments(node: Function) -> list[str]:
    """The parameters of a function, as they are written."""
    found = node.args
    positional = [*found.posonlyargs, *found.args]
    defaults = [None] * (len(positional) - len(found.defaults)) + list(found.defaults)
    result = [argument(arg, value) for arg, value in zip(positional, defaults, strict=True)]
    if found.vararg:
        result.append("*" + ast.unparse(found.vararg))
    elif found.kwonlyargs:
        result.append("*")
    for arg, value in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        result.append(argument(arg, value))
    return result


def argument(arg: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(arg)
    return f"{ast.unparse(arg)} = {ast.unparse(default)}"


def signature(start: str, parameters: list[str], end: str = "") -> str:
    parameters = [parameter.replace("'", '"') for parameter in parameters]
    whole = f"{start}({', '.join(parameters)}){end}"
    if len(whole) <= WIDTH:
        return whole
    # Blanks within a parameter are no places to break a line.
    joined = ", ".join(parameter.replace(" ", "\0") for parameter in parameters) + ","
    indent = "    "
    lines = textwrap.wrap(joined, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join([f"{start}(", *lines, f"){end}"]).replace("\0", " ")


# --- docstrings -------------------------------------------------------------------------------


def docstring(node: ast.Module | ast.ClassDef | Function) -> Iterator[str]:
    """A docstring in Markdown."""
    for title, lines in sections(ast.get_docstring(node) or ""):
        if title:
            yield f"**{title}**"
            yield "\n".join(entries(lines))
        else:
            yield from body(lines)


def sections(docstring: str) -> Iterator[Section]:
    """The parts of a docstring; titles are underlined with hyphens."""
    title, lines = "", list[str]()
    rest = docstring.splitlines()
    while rest:
        line = rest.pop(0)
        if rest and line and re.fullmatch("-{3,}", rest[0]):
            yield Section(title, lines)
            title, lines = line, []
            rest.pop(0)
        else:
            lines.append(line)
    yield Section(title, lines)


def entries(lines: list[str]) -> Iterator[str]:
    """The terms of a section with their explanations, as a list."""
    term, explanation = "", list[str]()
    for line in [*lines, "end"]:
        if line.startswith(" "):
            explanation.append(line.strip())
        elif line:
            if term:
                yield ": ".join(filter(None, [f"- {quoted(term)}", text(" ".join(explanation))]))
            term, explanation = line, []


def quoted(term: str) -> str:
    """A term as code, unless it is a sentence."""
    return f"`{term}`" if re.fullmatch(r"[\w., ]+", term) else text(term)


def body(lines: list[str]) -> Iterator[str]:
    """Paragraphs, lists, tables and literal blocks."""
    block = list[str]()
    literal = False
    for line in [*lines, ""]:
        if line and not (literal and not line.startswith(" ")):
            block.append(line)
            continue
        if literal and (not line or line.startswith(" ")) and block:
            yield code(textwrap.dedent("\n".join(block)), "")
            block, literal = [], False
        elif block:
            literal = block[-1].endswith("::")
            yield from paragraph(block)
            block = []
        if line:
            block.append(line)


def paragraph(block: list[str]) -> Iterator[str]:
    if block[0].startswith("="):
        yield "\n".join(table(block))
    elif block[0].startswith("- "):
        yield "\n".join(text(line, strip=False) for line in block)
    else:
        yield "\n".join(textwrap.wrap(text(" ".join(block)).replace("::", ":"), WIDTH))


def table(block: list[str]) -> Iterator[str]:
    """A table whose columns are those of its line of `=`."""
    spans = [match.span() for match in re.finditer("=+", block[0])]
    starts = [start for start, _ in spans]
    ends: list[int | None] = [*starts[1:], None]
    rows: list[list[str]] = []
    for line in block[1:-1]:
        cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        if line.startswith("="):
            rows.append(["---"] * len(cells))
        elif cells[0]:
            rows.append(cells)
        else:  # goes on from the line before
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    for row in rows:
        yield f"| {' | '.join(text(cell) for cell in row)} |"


def text(words: str, *, strip: bool = True) -> str:
    """Words as Markdown shows them: only what is in backticks may have `<`."""
    words = " ".join(words.split()) if strip else words
    parts = re.split("(`[^`]*`)", words)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def code(source: str, language: str = "python") -> str:
    return f"```{language}\n{source}\n```"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the sources beside it, not what is installed
    sys.exit(main())

"""Help, man pages, README and docs say everything, and what they show is what one gets."""

from __future__ import annotations

import ast
import doctest
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import which
from typing import Any, TypeGuard

import click
import pytest
from cli_support import MONOLITH, call, environment
from iterator_support import write_job

from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.cli import COMMANDS, cli
from monolith_cli.commands.base import Command, Settings
from monolith_cli.control.service import TOKEN_FILE, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from monolith_cli.failures import EXIT_CODES
from monolith_cli.reports.keys import OUTPUTS
from monolith_cli.samples.sample import write_sample

ROOT = Path(__file__).parents[1]


MOST_LINES = {
    "monolith ckpt-info": 70,
    "monolith table dump": 75,
    "monolith table export": 70,
    "monolith table diff": 80,
    "monolith table rewrite": 108,
    "monolith table stats": 80,
    "monolith ckpt prune": 85,
}
"""Of the help, for commands with many options."""

GUARDS = {
    *("FORCE", "RE_RECORD", "YES", "QUIET_FOR", "QUICK_CHECK", "EXPORTS_MAY_GO"),
    *("KEEP_LAST", "KEEP_WITHIN", "KEEP_DAILY", "KEEP_EVERY", "KEEP_STEP", "KEEP_SIZE"),
    *("UNLISTED", "LEFTOVERS", "ROLLED_BACK", "OLDER", "UNDO", "AS_LATEST"),
    *("KEEP_TABLE", "DROP_TABLE", "KEEP_SLOT", "DROP_SLOT", "WHERE", "SET", "EXPIRE"),
    "RESET_FILTERS",
}
"""Options that delete, overwrite or leave out something, or overrule a guard.

No variable sets them.
"""


def contexts() -> Iterator[click.Context]:
    def walk(context: click.Context) -> Iterator[click.Context]:
        yield context
        if isinstance(context.command, click.Group):
            for name in context.command.list_commands(context):
                command = context.command.get_command(context, name)
                assert command is not None
                yield from walk(click.Context(command, info_name=name, parent=context))

    yield from walk(click.Context(cli, info_name="monolith", auto_envvar_prefix="MONOLITH"))


ALL = list(contexts())
IDS = [context.command_path for context in ALL]


def takes_partitions(node: ast.AST) -> bool:
    """Whether a function has a parameter `nshards`, or a class a method that has."""
    if isinstance(node, ast.ClassDef):
        return any(map(takes_partitions, node.body))
    return isinstance(node, ast.FunctionDef) and any(
        each.arg == "nshards" for each in (*node.args.args, *node.args.kwonlyargs)
    )


def test_a_part_of_a_table_is_a_partition() -> None:
    """A shard is a file: where it is not, `shard` is the name of a parameter and no word."""
    told = [
        (path.name, getattr(node, "name", ""), ast.get_docstring(node) or "")
        for path in sorted((ROOT / "monolith_cli" / "tables").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and takes_partitions(node)
    ]
    assert len(told) > 5
    name = re.compile(r"shard, nshards$|0 <= shard < nshards", re.MULTILINE)
    wrong = [(file, who) for file, who, text in told if re.search(r"\bshard\b", name.sub("", text))]
    assert wrong == []


PER = re.compile(
    r"\b(one|(a|an|one) (object|row|file|line)|files|values|entries|objects|rows|bytes)"
    r" an? (line|table|shard|embedding|record|file|step|slot|worker|million|entry|object)\b",
    re.IGNORECASE,
)
"""Such as "files a table", where English has "per" or "for each"."""


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_what_is_per_something_says_per(context: click.Context) -> None:
    text = man_page(context).read_text(encoding="utf-8")
    text += " ".join(context.command.get_help(context).split())
    assert [found[0] for found in PER.finditer(" ".join(text.split()))] == []


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_every_option_has_help_and_a_variable(context: click.Context) -> None:
    """The help says the rule, in a line; the man page each variable."""
    assert context.command.help
    page = man_page(context).read_text(encoding="utf-8")
    help = context.command.get_help(context)
    assert "env var" not in help
    options = [each for each in context.command.get_params(context) if is_option(each)]
    assert f"{context.auto_envvar_prefix}_<OPTION>" in help or not options
    for parameter in options:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
        name = max(parameter.opts, key=len).lstrip("-").replace("-", "_").upper()
        variable = re.escape(f"[env var: {context.auto_envvar_prefix}_{name}") + "[],;]"
        assert bool(re.search(variable, page)) == (name not in GUARDS)


def is_option(parameter: click.Parameter) -> TypeGuard[click.Option]:
    """Is it an option with a variable?"""
    return isinstance(parameter, click.Option) and not {"--help", "--version"} & {*parameter.opts}


def man_page(context: click.Context) -> Path:
    return ROOT / "man" / f"{context.command_path.replace(' ', '-')}.1"


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_help_is_no_longer_than_needed(context: click.Context) -> None:
    with click.Context(context.command, info_name=context.info_name, parent=context.parent) as here:
        here.terminal_width = 80
        lines = context.command.get_help(here).splitlines()
    assert len(lines) <= MOST_LINES.get(context.command_path, 60)


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_help_fits_80_columns(context: click.Context) -> None:
    with click.Context(context.command, info_name=context.info_name, parent=context.parent) as here:
        here.terminal_width = 80
        lines = context.command.get_help(here).splitlines()
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_json_is_documented(context: click.Context) -> None:
    command = context.command
    if any(parameter.name == "json" for parameter in command.params):
        assert context.command_path.partition(" ")[2] in OUTPUTS
    if isinstance(command, Command):
        assert set(command.exit_codes) <= set(EXIT_CODES)
        for line in command.examples:
            assert line.startswith("monolith ")


def test_man_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "man" / "generate.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_a_man_page() -> None:
    pages = {path.name for path in (ROOT / "man").glob("*.1")}
    expected = {f"monolith-{name.replace(' ', '-')}.1" for name in COMMANDS} | {"monolith.1"}
    assert pages == expected


CHANGING = ("barrier place", "barrier remove", "barrier hold", "job save", "job stop")


@pytest.mark.parametrize("name", CHANGING)
def test_man_pages_say_where_the_token_comes_from(name: str) -> None:
    page = (ROOT / "man" / f"monolith-{name.replace(' ', '-')}.1").read_text(encoding="utf-8")
    for term in (TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, "MONOLITH_OWNER", f"MODEL_DIR/{TOKEN_FILE}"):
        assert f"\n.TP\n\\fB{term}\\fR\n" in page


@pytest.mark.skipif(which("groff") is None, reason="there is no groff here")
@pytest.mark.parametrize("page", sorted((ROOT / "man").glob("*.1")), ids=lambda page: page.name)
def test_man_pages_render_without_warnings(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=78n", page],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "GROFF_NO_SGR": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    plain = re.sub(r".\x08", "", done.stdout)
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT"):
        assert re.search(rf"^{title}$", plain, re.MULTILINE)


def examples(*groups: str) -> list[tuple[click.Context, str]]:
    """The examples of the help and the man pages, of the commands in these groups."""
    return [
        (context, line)
        for context in ALL
        if isinstance(context.command, Command) and context.command_path.split()[1] in groups
        for line in context.command.examples
    ]


def run_in(directory: Path, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment(PATH=f"{MONOLITH.parent}:{os.environ['PATH']}"),
    )


def test_examples_of_the_help_run(tmp_path: Path) -> None:
    """One after another, on the directory that `monolith sample` writes."""
    (tmp_path / "ids.txt").write_text("1\n173961102589772\n")
    lines = [line for _, line in examples("ckpt-info", "ckpt", "table", "sample")]
    assert len(lines) > 16
    for line in ["monolith sample model --steps 3 --drift", *lines]:
        if "jq" in line and which("jq") is None:
            continue
        done = run_in(tmp_path, line.replace("--entries 20000000", "--entries 2000"))
        # The sample has NaN: a condition may hold.
        codes = {141} if "| head" in line else {0, 1} if "--fail-if" in line else {0}
        assert done.returncode in codes, (line, done.stderr)
        assert bool(done.stdout) != ("> " in line), line
        assert "is read" not in done.stderr, line


def test_examples_with_iterators_run(tmp_path: Path) -> None:
    write_job(tmp_path / "model", {0: [120, 1200], 1: [120, 1200], 3: [1200]}, 120, 1200)
    lines = [line for _, line in examples("iterator") if "peek" not in line]
    assert len(lines) > 8
    for line in lines:
        if "jq" not in line or which("jq"):
            done = run_in(tmp_path, line)
            assert done.returncode == 0, (line, done.stderr)


def test_examples_are_understood() -> None:
    """Also those that need a running job."""
    found = examples(*{name.split()[0] for name in COMMANDS})
    assert len(found) > 40
    for context, line in found:
        words = shlex.split(line.partition(" | ")[0].partition(" > ")[0])
        path = context.command_path.split()
        assert words[: len(path)] == path, line
        context.command.make_context(path[-1], words[len(path) :], obj=Settings())


def test_readme_names_every_command_and_exit_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, entry in COMMANDS.items():
        if entry.target is not None:
            assert f"`monolith {name}`" in readme, name
    for code in EXIT_CODES:
        assert re.search(rf"^\| {code} \|", readme, re.MULTILINE), code


def test_make_demo_says_where_things_are() -> None:
    done = subprocess.run(
        ["make", "-n", "demo"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    last = "\n".join(line for line in done.stdout.splitlines() if line.startswith("echo"))
    assert ".venv/bin/monolith --help" in last
    assert "man -M .venv/share/man monolith-ckpt-info" in last
    assert (MONOLITH.parent.parent / "share" / "man" / "man1" / "monolith-ckpt-info.1").exists()


# --- README and docs/ -----------------------------------------------------------------------

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_readme_links_all_pages() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for line in re.findall(r"\bmonolith ((?:[a-z][a-z-]* ?){1,2})", "\n".join(code(page))):
        words = line.split()
        assert words[0] in COMMANDS, line
        if COMMANDS[words[0]].target is None and len(words) > 1:
            assert " ".join(words) in COMMANDS, line


def code(page: Path) -> list[str]:
    """Commands of a page: in blocks for the shell, and in backticks with more than a name."""
    shell = blocks(page, "console") + blocks(page, "bash")
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return shell + re.findall(r"`(monolith [^`]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page: Path) -> None:
    known = {
        name
        for context in ALL
        for param in context.command.get_params(context)
        for name in param.opts
    }
    for line in "\n".join(code(page)).replace("\\\n", " ").splitlines():
        for command in re.findall(r"\bmonolith [^|;)]*", line):
            for option in re.findall(r"(?<= )--[a-z-]+", command):
                assert option in known, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_are_where_a_page_says(page: Path) -> None:
    """A name is public in the module that is named with it."""
    text = " ".join(page.read_text(encoding="utf-8").split())
    for names, module in re.findall(r"((?:`\w+`(?:, | and )?)+) of `(monolith_cli[\w.]*)`", text):
        public = __import__(module, fromlist=["__all__"]).__all__
        assert set(re.findall(r"\w+", names)) - {"and"} <= set(public), module


def test_what_is_said_of_a_file_that_was_cut_short_is_explained(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=100)
    made = make_manifest(str(tmp_path), "model.ckpt", 1000, "run", workers=[], entries={})
    write_step_manifest(str(tmp_path), made)
    data = next(tmp_path.glob("*.assets/*"))
    os.truncate(data, 5)
    done = call("ckpt", "show", tmp_path)
    assert done.code == 4
    rows = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "terminal.md").read_text(), re.M)
    patterns = {row: re.sub(r"\d+", r"\\d+", re.escape(row).replace("…", ".*")) for row in rows}
    explained = [row for row, pattern in patterns.items() if re.search(pattern, done.err)]
    assert explained == ["has 9 bytes, but 12 in the manifest …"], done.err


def test_library_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "library.md"
    source = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), 0)
    assert len(test.examples) > 20
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


# That of running jobs is tried on one, in test_job_scripts.py.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "on-call.md"], ids=lambda page: page.name
)
def test_console_examples(page: Path, tmp_path: Path) -> None:
    """Each command, one after another in one directory, prints what the page says."""
    if "examples/" in "".join(blocks(page, "console")):
        skip_without_tensorflow()
        (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in blocks(page, "console"):
        if "jq" in block and which("jq") is None:
            continue
        commands = [text.split("\n", 1) for text in re.split(r"^\$ ", block, flags=re.M)[1:]]
        commands = [each for each in commands if not each[0].startswith("pip ")]
        mark = "= = ="
        script = "\n".join(f"{{ {command}\n}} 2>&1; echo '{mark}'" for command, _ in commands)
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(
                PATH=f"{MONOLITH.parent}:{os.environ['PATH']}", LC_ALL="C.UTF-8", COLUMNS="80"
            ),
        )
        outputs = done.stdout.split(f"{mark}\n")[:-1]
        assert [
            *zip([command for command, _ in commands], map(no_times, outputs), strict=True)
        ] == [(command, no_times(output)) for command, output in commands]


def no_times(output: str) -> str:
    """Without the ages of a sample's steps, which are always of the same day, and without times."""
    output = re.sub(r"(?<= )\d+d(?=  )", "AGE", output)
    return re.sub(r"\b\d{8}T\d{6}Z\b", "TIME", output)


# --- the library for trainers ---------------------------------------------------------------


def generator() -> Any:
    """The module docs/generate.py."""
    spec = spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def skip_without_tensorflow() -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")


def test_training_examples(tmp_path: Path) -> None:
    """The Python of the page, as one script, prints the page's texts."""
    skip_without_tensorflow()
    page = ROOT / "docs" / "training.md"
    script = tmp_path / "script.py"
    script.write_text("".join(blocks(page, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "".join(blocks(page, "text")), done.stderr


def test_generated_pages_are_up_to_date() -> None:
    for name, wanted in (
        ("training-api.md", generator().training_page()),
        ("json.md", generator().json_page()),
    ):
        found = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert found == wanted, "run make docs"


def test_everything_public_is_documented() -> None:
    reference = generator()
    for name in reference.PUBLIC:
        tree = reference.parse(name)
        for source in (tree, *reference.imported(tree, reference.exported(tree))):
            for node in source.body:
                if getattr(node, "name", "") in reference.exported(tree):
                    assert ast.get_docstring(node), node.name


def test_new_imports_exist() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    imports = re.findall(r"from monolith_cli\.training\.(\w+) import ([\w, ]+)", text)
    reference = generator()
    assert len(imports) > 7
    for module, names in imports:
        assert {*names.split(", ")} <= reference.exported(reference.parse(module)), module


def test_quotes_of_the_example_are_in_it() -> None:
    page = ROOT / "docs" / "example-job.md"
    source = stripped((ROOT / "examples" / "train.py").read_text(encoding="utf-8"))
    quotes = blocks(page, "python")
    assert len(quotes) > 3
    for quote in quotes:
        assert stripped(quote) in source, quote


def stripped(source: str) -> str:
    """The code alone, however its lines are broken."""
    return re.sub(r",(?=[)\]}])", "", "".join(source.split()))

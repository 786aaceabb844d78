"""The values that options take: what is understood, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from cli_support import call
from click.testing import CliRunner
from dump_support import write_model_dir

from monolith_cli.commands import job_options, options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import (
    DurationType,
    FidType,
    SizeType,
    SlotRangesType,
    StepType,
    WordsType,
)


@pytest.mark.parametrize(
    ("text", "value"), [("latest", "latest"), ("all", "all"), ("0", 0), ("1200", 1200)]
)
def test_step(text: str, value: object) -> None:
    assert StepType().convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "-1", "newest", "1.5", "0x10", "١٢", "1" * 20])
def test_no_step(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a step number, 'latest' or 'all'"):
        StepType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", [(0, 0)]),
        ("3,5-9", [(3, 3), (5, 9)]),
        ("7-7", [(7, 7)]),
        ("1, 2", [(1, 1), (2, 2)]),
        ("32767", [(32767, 32767)]),
    ],
)
def test_slots(text: str, value: object) -> None:
    assert SlotRangesType().convert(text, None, None) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a slot"),
        ("3,", "'' is not a slot"),
        ("a", "'a' is not a slot"),
        ("-3", "'-3' is not a slot"),
        ("1-2-3", "'1-2-3' is not a slot"),
        ("9-5", "'9-5' runs backwards"),
        ("32768", "'32768' is beyond the largest slot, 32767"),
        ("0-40000", "'0-40000' is beyond the largest slot, 32767"),
    ],
)
def test_no_slots(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        SlotRangesType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-1", -1),
        ("18446744073709551615", -1),
        ("0xffffffffffffffff", -1),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", -(2**63)),
        ("0x1000000000002", (1 << 48) | 2),
    ],
)
def test_fid(text: str, value: int) -> None:
    assert FidType().convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "x", "1.0", "1_000", "18446744073709551616", "-0x", "0x"])
def test_no_fid(text: str) -> None:
    with pytest.raises(click.BadParameter):
        FidType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("512b", 512),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("64M", 64 << 20),
        ("64MB", 64_000_000),
        ("10k", 10 << 10),
        ("10kB", 10_000),
        ("1GiB", 1 << 30),
        ("1GB", 1_000_000_000),
    ],
)
def test_size(text: str, value: int) -> None:
    assert SizeType(2**31 - 1).convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5M", "2GiB", "12TiB", "MiB", "5iB", "1e6"])
def test_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SizeType(2**31 - 1).convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1ms", 0.001), ("0.001", 0.001), ("1h30m", 5400), ("1.5d", 129600)],
)
def test_duration(text: str, seconds: float) -> None:
    assert DurationType().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a time"),
        ("-1s", "is not a time"),
        ("1s 5m", "is not a time"),
        ("0", "is no time: it must be more than 0"),
        ("0.0001s", "'0.0001s' is less than a millisecond"),
        ("0.9ms", "'0.9ms' is less than a millisecond"),
        ("36501d", "is beyond 36500 days"),
    ],
)
def test_no_duration(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        DurationType().convert(text, None, None)


def test_nothing_that_is_not_zero_becomes_zero() -> None:
    """Which is for ever."""
    assert DurationType(zero=True).convert("0ms", None, None) == 0
    with pytest.raises(click.BadParameter, match="is less than a millisecond"):
        DurationType(zero=True).convert("0.0001s", None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caf\udce9", "it has bytes that are not UTF-8"),
        ("x" * 70_000, "it has 70000 characters, and may have 500"),
        ("", "it is empty"),
        (" \t", "it is empty"),
    ],
)
def test_no_words(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        WordsType(500).convert(text, None, None)


def test_words() -> None:
    assert WordsType(500, empty=True).convert("", None, None) == ""
    assert WordsType(500).convert("é" * 500, None, None) == "é" * 500
    assert job_options.words("ls caf\udce9") == "ls caf\ufffd"
    assert job_options.words("x" * 501) == "x" * 497 + "..."


@click.command()
@options.model_dir
@options.json
@options.json_number_ids
@options.step()
@options.table
@options.slot
@options.fid
@options.fid_version
@options.no_verify
@options.jobs
@options.on_corrupt
@options.max_record_bytes
@options.force(help="Overwrite.")
@options.common
@click.pass_obj
def every_option(settings: Settings, /, **values: Any) -> None:
    raise Done(settings, values)


class Done(Exception):
    pass


def parse(*args: str) -> tuple[Settings, dict[str, Any]]:
    with pytest.raises(Done) as done:
        every_option.main(
            list(args),
            prog_name="every",
            standalone_mode=False,
            auto_envvar_prefix="MONOLITH_EVERY",
            obj=Settings(),
        )
    settings, values = done.value.args
    return settings, values


def test_defaults() -> None:
    settings, values = parse("model")
    assert values == {
        "model_dir": "model",
        "json": False,
        "json_number_ids": False,
        "step": "latest",
        "table": (),
        "slot": [],
        "fid": (),
        "fid_version": "v2",
        "no_verify": False,
        "jobs": None,
        "on_corrupt": "fail",
        "max_record_bytes": 64 << 20,
        "force": False,
    }
    assert vars(settings) == {
        "debug": False,
        "quiet": False,
        "verbose": False,
        "json": False,
        "error_keys": {},
    }


def test_all_given() -> None:
    line = """model --json --json-number-ids --step 7 --table a* --table b --slot 5-9,3 --slot 4
        --fid 0x10 --fid=-1 --fid-version v1 --no-verify --jobs 2 --on-corrupt skip
        --max-record-bytes 1M --force --quiet --verbose --debug"""
    settings, values = parse(*line.split())
    assert values == {
        "model_dir": "model",
        "json": True,
        "json_number_ids": True,
        "step": 7,
        "table": ("a*", "b"),
        "slot": [(3, 9)],
        "fid": (16, -1),
        "fid_version": "v1",
        "no_verify": True,
        "jobs": 2,
        "on_corrupt": "skip",
        "max_record_bytes": 1 << 20,
        "force": True,
    }
    assert vars(settings) == {
        "debug": True,
        "quiet": True,
        "verbose": True,
        "json": True,
        "error_keys": {},
    }


def test_slot_ranges_are_merged() -> None:
    assert parse("m", "--slot", "9,1-3", "--slot", "2-5,7")[1]["slot"] == [(1, 5), (7, 7), (9, 9)]


def test_environment_below_flag_above_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOLITH_EVERY_JOBS", "3")
    monkeypatch.setenv("MONOLITH_EVERY_STEP", "12")
    monkeypatch.setenv("MONOLITH_EVERY_TABLE", "a* b*")
    monkeypatch.setenv("MONOLITH_EVERY_NO_VERIFY", "1")
    monkeypatch.setenv("MONOLITH_EVERY_QUIET", "true")
    monkeypatch.setenv("MONOLITH_EVERY_FORCE", "1")
    settings, values = parse("model", "--jobs", "4")
    assert values["jobs"] == 4
    assert values["step"] == 12
    assert values["table"] == ("a*", "b*")
    assert values["no_verify"] is True
    assert settings.quiet is True
    assert values["force"] is False  # that is never the environment's to say


def test_a_variable_has_the_name_of_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the parameter is called."""

    @click.command(cls=Command)
    @options.option("--set", "set_to")
    def command(set_to: str | None) -> None:
        click.echo(str(set_to))

    monkeypatch.setenv("MONOLITH_X_SET_TO", "wrong")
    run = CliRunner().invoke
    assert run(command, auto_envvar_prefix="MONOLITH_X").output == "None\n"
    monkeypatch.setenv("MONOLITH_X_SET", "right")
    assert run(command, auto_envvar_prefix="MONOLITH_X").output == "right\n"


def test_force_is_never_set_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOLITH_EVERY_FORCE", "1")
    assert parse("model")[1]["force"] is False


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--jobs", "0"),
        ("--jobs", "x"),
        ("--step", "newest"),
        ("--slot", "3 x"),
        ("--fid", "1 two"),
        ("--fid-version", "v3"),
        ("--max-record-bytes", "0"),
        ("--on-corrupt", "ignore"),
        ("--no-verify", "perhaps"),
        ("--json", "perhaps"),
        ("--debug", "perhaps"),
    ],
)
def test_wrong_values_of_variables(
    monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    """The error names the variable, for nobody has typed the option."""
    variable = f"MONOLITH_EVERY_{option[2:].replace('-', '_').upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(click.BadParameter) as refused:
        parse("model")
    message = refused.value.format_message()
    assert message.startswith(f"Invalid value for '{option}' from {variable}: ")
    if value not in ("perhaps", "3 x", "1 two"):
        with pytest.raises(click.BadParameter) as refused:
            parse("model", option, value)
        assert "MONOLITH" not in refused.value.format_message()


@pytest.mark.parametrize(
    ("variable", "value", "args", "message"),
    [
        ("MONOLITH_DEBUG", "x", ["ckpt-info", "m"], "'--debug' from MONOLITH_DEBUG: "),
        (
            "MONOLITH_BARRIER_PLACE_OWNER",
            101 * "x",
            ["barrier", "place", "m"],
            "'--owner' from MONOLITH_BARRIER_PLACE_OWNER: ",
        ),
        (
            "MONOLITH_OWNER",
            101 * "x",
            ["barrier", "place", "m"],
            "'--owner' from MONOLITH_OWNER: ",
        ),
        (
            "MONOLITH_ITERATOR_SHOW_STEP",
            "all",
            ["iterator", "show", "m"],
            "'--step' from MONOLITH_ITERATOR_SHOW_STEP: 'all' makes no sense here",
        ),
        (
            "MONOLITH_TABLE_DUMP_SHARD",
            "3",
            ["table", "dump", "m"],
            "--shard 3 is not one of --nshards 1, 0 is the first; --shard is from"
            " MONOLITH_TABLE_DUMP_SHARD; see",
        ),
        (
            "MONOLITH_CKPT_INFO_TEXT",
            "1",
            ["ckpt-info", "--json", "m"],
            "--text and --json exclude each other; --text is from MONOLITH_CKPT_INFO_TEXT; see",
        ),
        (
            "MONOLITH_TABLE_LS_TABLE",
            "user nobody",
            ["table", "ls", "m"],
            "'monolith table ls' shows their names; --table is from MONOLITH_TABLE_LS_TABLE",
        ),
        (
            "MONOLITH_CKPT_INFO_STEP",
            "7",
            ["ckpt-info", "m"],
            "no step 7; the steps are 300; --step is from MONOLITH_CKPT_INFO_STEP",
        ),
        (
            "MONOLITH_TABLE_GET_FIDS_FROM",
            "gone",
            ["table", "get", "m"],
            "gone: no such file; --fids-from is from MONOLITH_TABLE_GET_FIDS_FROM",
        ),
    ],
)
def test_errors_that_variables_have_caused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    value: str,
    args: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model_dir(tmp_path / "m")
    monkeypatch.setenv(variable, value)
    done = call(*args)
    assert done.code in (2, 3)
    assert message in done.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--jobs", "0"], "--jobs"),
        (["--on-corrupt", "ignore"], "--on-corrupt"),
        (["--fid-version", "v3"], "--fid-version"),
        (["--slot", "99999"], "beyond the largest slot"),
    ],
)
def test_refused(args: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        every_option.main(["model", *args], standalone_mode=False)
    assert message in refused.value.format_message()


def test_step_for_commands_that_take_one() -> None:
    @click.command()
    @options.step(several=False)
    def one(step: int | str) -> None:
        raise Done(step)

    with pytest.raises(Done):
        one.main(["--step", "3"], standalone_mode=False)
    with pytest.raises(click.UsageError, match="name one step"):
        one.main(["--step", "all"], standalone_mode=False)


def test_the_help_says_what_no_variable_sets() -> None:
    def said(*words: str) -> str:
        return " ".join(call(*words, "--help").out.split())

    rule = "in the environment sets any option but --force. Exit codes"
    assert f"MONOLITH_SAMPLE_<OPTION> {rule}" in said("sample")
    rule = "in the environment sets an option. Exit codes"
    assert f"MONOLITH_TABLE_LS_<OPTION> {rule}" in said("table", "ls")

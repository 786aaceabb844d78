"""The values that options take: what is understood, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import click
import pytest

from monolith_cli.commands import options
from monolith_cli.commands.base import Settings


@pytest.mark.parametrize(
    ("text", "value"), [("latest", "latest"), ("all", "all"), ("0", 0), ("1200", 1200)]
)
def test_step(text: str, value: object) -> None:
    assert options.StepType().convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "-1", "newest", "1.5", "0x10", "١٢", "1" * 20])
def test_no_step(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a step number, 'latest' or 'all'"):
        options.StepType().convert(text, None, None)


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
    assert options.SlotRangesType().convert(text, None, None) == value


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
        options.SlotRangesType().convert(text, None, None)


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
    assert options.FidType().convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "x", "1.0", "1_000", "18446744073709551616", "-0x", "0x"])
def test_no_fid(text: str) -> None:
    with pytest.raises(click.BadParameter):
        options.FidType().convert(text, None, None)


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
    assert options.SizeType(2**31 - 1).convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5M", "2GiB", "12TiB", "MiB", "5iB", "1e6"])
def test_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        options.SizeType(2**31 - 1).convert(text, None, None)


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
    assert vars(settings) == {"debug": False, "quiet": False, "verbose": False, "json": False}


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
    assert vars(settings) == {"debug": True, "quiet": True, "verbose": True, "json": True}


def test_slot_ranges_are_merged() -> None:
    assert parse("m", "--slot", "9,1-3", "--slot", "2-5,7")[1]["slot"] == [(1, 5), (7, 7), (9, 9)]


def test_environment_below_flag_above_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOLITH_EVERY_JOBS", "3")
    monkeypatch.setenv("MONOLITH_EVERY_STEP", "12")
    monkeypatch.setenv("MONOLITH_EVERY_TABLE", "a* b*")
    monkeypatch.setenv("MONOLITH_EVERY_NO_VERIFY", "1")
    monkeypatch.setenv("MONOLITH_EVERY_QUIET", "true")
    settings, values = parse("model", "--jobs", "4")
    assert values["jobs"] == 4
    assert values["step"] == 12
    assert values["table"] == ("a*", "b*")
    assert values["no_verify"] is True
    assert settings.quiet is True


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

"""Shared by commands that read the database: errors without a database, and formatting."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from bot.cli.main import main
from bot.cli.output import cell, dollars, iso, utc
from tests.cli.shell import shell
from tests.store.ledger_model import NOON

# --- the database


def test_a_missing_database_is_reported_and_not_created(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/data/d.db")

    assert main(["jobs", "list"]) == 2
    assert f"there is no database yet at {tmp_path}/data/d.db (" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


async def test_a_server_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, postgres_url: str
) -> None:
    run = partial(shell, url=postgres_url.replace("postgres:@", "postgres:canary-password@"))
    monkeypatch.setenv("DARKROOM_DATA__DIR", str(tmp_path))

    made = await run("migrate", monkeypatch=monkeypatch, capsys=capsys)()
    assert (made.code, made.out.count("\n")) == (0, 1)
    assert made.out.startswith("postgresql://postgres@/darkroom_test")
    looked = await run("doctor", monkeypatch=monkeypatch, capsys=capsys)()
    assert "ok    database postgresql://postgres@/darkroom_test" in looked.out
    assert "canary" not in made.out + made.err + looked.out + looked.err


@pytest.mark.parametrize(
    ("command", "address", "why"),
    [
        ("jobs list", "127.0.0.1:1/darkroom", "nothing answers there (Connection refused); check that PostgreSQL runs"),
        ("jobs list", "no-such-host.invalid/darkroom", "nothing answers there (no such host); check that PostgreSQL"),
        ("migrate", "127.0.0.1:1/darkroom", "nothing answers there (Connection refused); check that PostgreSQL runs"),
        ("doctor", "127.0.0.1:1/darkroom", "nothing answers there (Connection refused); check that PostgreSQL runs"),
    ],
)
def test_an_unreachable_server_is_named_once_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, address: str, why: str
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"postgresql://darkroom:hunter22@{address}")

    assert main(command.split()) == (1 if command == "doctor" else 2)
    printed = capsys.readouterr()
    (message,) = [each for each in (printed.out + printed.err).splitlines() if "postgres" in each]
    place = f"the database postgresql://darkroom@{address} cannot be used: "
    assert message.partition("  " if command == "doctor" else ": ")[2].startswith(f"{place}{why}")
    assert (message.count("postgresql://"), "hunter22" in message) == (1, False)


def test_a_database_that_cannot_be_read_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/d.db")
    assert main(["migrate"]) == 0
    with closing(sqlite3.connect(tmp_path / "d.db", isolation_level=None)) as connection:
        connection.execute("ALTER TABLE jobs RENAME TO works")
    capsys.readouterr()

    assert main(["jobs", "list"]) == 2
    message = capsys.readouterr().err
    assert message == f"darkroom: {tmp_path}/d.db does not hold Darkroom's tables: check DARKROOM_DATABASE__URL\n"


# --- words


def test_money_and_times_are_formatted_for_people_and_for_programs() -> None:
    assert [dollars(each) for each in (0, 80_000, 67_250, 1, 12_500_000, -40_000)] == [
        "$0.00", "$0.08", "$0.06725", "$0.000001", "$12.50", "-$0.04",
    ]  # fmt: skip
    assert (iso(NOON + 7), utc(NOON + 7)) == ("2026-11-20T12:00:00.007Z", "2026-11-20 12:00:00")
    assert (iso(None), utc(None)) == (None, None)


def test_a_cell_is_one_short_line() -> None:
    assert (cell(None), cell(""), cell("a\n\t\u202eb")) == ("-", "-", r"a\n\t\u202eb")
    assert cell("x" * 100) == "x" * 59 + "…"

"""What the commands that look into the database share: how they end without one, and how they write things down."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.cli.main import main
from bot.cli.output import cell, dollars, iso, utc
from tests.store.books import NOON

# --- the database


def test_a_database_that_is_not_there_is_named_and_not_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/data/d.db")

    assert main(["jobs", "list"]) == 2
    assert f"{tmp_path}/data/d.db is missing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", "postgresql://darkroom:hunter22@127.0.0.1:1/darkroom")

    assert main(["jobs", "list"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("darkroom: the database postgresql://darkroom@127.0.0.1:1/darkroom cannot be used")
    assert "hunter22" not in said
    assert said.count("\n") == 1


def test_a_database_that_cannot_be_read_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/d.db")
    assert main(["migrate"]) == 0
    with closing(sqlite3.connect(tmp_path / "d.db", isolation_level=None)) as connection:
        connection.execute("ALTER TABLE jobs RENAME TO works")
    capsys.readouterr()

    assert main(["jobs", "list"]) == 2
    said = capsys.readouterr().err
    assert said == f"darkroom: the database sqlite:///{tmp_path}/d.db cannot be used: no such table: jobs\n"


# --- words


def test_money_and_times_are_written_for_people_and_for_programs() -> None:
    assert [dollars(each) for each in (0, 80_000, 67_250, 1, 12_500_000, -40_000)] == [
        "$0.00", "$0.08", "$0.06725", "$0.000001", "$12.50", "-$0.04",
    ]  # fmt: skip
    assert (iso(NOON + 7), utc(NOON + 7)) == ("2026-11-20T12:00:00.007Z", "2026-11-20 12:00:00")
    assert (iso(None), utc(None)) == (None, None)


def test_a_cell_is_one_short_line() -> None:
    assert (cell(None), cell(""), cell("\u202e")) == ("-", "-", "-")
    assert cell("a\n\tb") == "a b"
    assert cell("x" * 100) == "x" * 59 + "…"

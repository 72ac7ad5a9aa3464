"""The SQLite file: migrated in one transaction, refused when newer, locked by one running process."""

import asyncio
import json
import sqlite3
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bot.store.database import StoreBusy, StoreTooNew, StoreUnusable
from bot.store.sqlite import RunningLock, SqliteDatabase, statements
from bot.store.store import Store
from bot.store.versions import migrations
from tests.store.ledger_model import NOON, a_job, accept, opened, rows


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def by_hand(path: Path, *sql: str) -> list[tuple[object, ...]]:
    """Run *sql* on the file without our code; returns the rows of the last statement."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(each).fetchall() for each in sql][-1]


def content(path: Path) -> bytes:
    return path.read_bytes()


async def left_behind(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads started since *before* that do not end by themselves."""
    begun = set(threading.enumerate()) - before
    await asyncio.gather(*(asyncio.to_thread(each.join, 5) for each in begun if "worker_thread" in each.name))
    return [each for each in begun if each.is_alive() and "worker_thread" in each.name]


# --- what is opened


async def test_a_new_file_has_the_newest_version_and_the_settings_that_keep_it_safe(store: Store, path: Path) -> None:
    assert by_hand(path, "PRAGMA user_version", "PRAGMA user_version") == [(len(migrations("sqlite")),)]
    assert by_hand(path, "PRAGMA journal_mode") == [("wal",)]
    for pragma, value in (("synchronous", 2), ("foreign_keys", 1), ("trusted_schema", 0)):
        assert [row[pragma] for row in await rows(store, f"PRAGMA {pragma}")] == [value]


async def test_a_file_keeps_its_content_when_opened_again(path: Path, url: str) -> None:
    async with opened(url) as store:
        await accept(store, a_job("kept"))
    async with opened(url) as store:
        assert await store.job("kept") == a_job("kept")


async def test_a_missing_folder_is_created(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/deep/er/darkroom.db") as store:
        assert await store.job("none") is None


async def test_a_newer_database_is_not_touched(path: Path, url: str) -> None:
    async with opened(url):
        pass
    newer = len(migrations("sqlite")) + 1
    by_hand(path, f"PRAGMA user_version = {newer}")
    before, running = content(path), set(threading.enumerate())
    with pytest.raises(StoreTooNew, match=f"version {newer}.*update Darkroom"):
        await SqliteDatabase.open(path)
    assert content(path) == before
    assert await left_behind(running) == []


async def test_a_migration_that_fails_halfway_changes_nothing(path: Path, url: str) -> None:
    by_hand(path, "CREATE TABLE totals (mine TEXT)")  # makes a later statement fail
    with pytest.raises(StoreUnusable, match="totals already exists"):
        await SqliteDatabase.open(path)
    assert by_hand(path, "SELECT name FROM sqlite_master") == [("totals",)]
    assert by_hand(path, "PRAGMA user_version") == [(0,)]

    by_hand(path, "DROP TABLE totals")
    async with opened(url) as store:
        await accept(store, a_job("now"))


async def test_two_processes_that_open_one_file_at_once_agree(path: Path, url: str) -> None:
    async with opened(url):
        pass
    one, other = await asyncio.gather(SqliteDatabase.open(path), SqliteDatabase.open(path))
    await accept(Store(one), a_job("by-one"))
    assert await Store(other).job("by-one") == a_job("by-one")
    await one.aclose()
    await other.aclose()


# --- statements


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_migrations_are_numbered_from_one_without_a_gap(engine: str) -> None:
    names = sorted(each.name for each in (Path(__file__).parents[2] / "bot/store/migrations" / engine).glob("*.sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(migrations(engine)) + 1))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("-- nothing but a comment\n", 0),
        ("CREATE TABLE a (b TEXT);\nCREATE TABLE c (d TEXT);\n", 2),
        ("CREATE TABLE a (\n  b TEXT DEFAULT ';', -- a ; here\n  c TEXT\n);", 1),
        ("CREATE TABLE a (b TEXT);\n-- between; the two\n\nCREATE TABLE c (d TEXT);", 2),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\n  DELETE FROM b;\nEND;\nDROP TABLE a;", 2),
        ("CREATE TABLE a (b TEXT /* ; */);", 1),
    ],
)
def test_a_text_is_split_where_statements_end(text: str, count: int) -> None:
    found = statements(text)
    assert len(found) == count
    assert all(sqlite3.complete_statement(each) for each in found)


def test_no_statement_of_a_migration_is_left_out() -> None:
    for text in migrations("sqlite"):
        if all(line.startswith("--") for line in text.splitlines()):  # it is about the other engine
            assert statements(text) == []
            continue
        assert "\n".join(statements(text)).replace("\n", "") == text.strip().replace("\n", "")


# --- one running process


@asynccontextmanager
async def holder(path: Path) -> "AsyncIterator[asyncio.subprocess.Process]":
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.lock_holder", f"sqlite:///{path}", stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"held\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_second_process_is_refused_until_the_first_is_killed(path: Path, url: str) -> None:
    async with holder(path) as first:
        with pytest.raises(StoreBusy, match="another Darkroom"):
            RunningLock(path)
        async with opened(url) as store:  # other processes may still read and write
            await accept(store, a_job("by-the-shell"))
        first.kill()
        await first.wait()
        RunningLock(path).release()


async def test_a_lock_can_be_taken_after_its_release_and_does_not_affect_other_files(path: Path) -> None:
    lock = RunningLock(path)
    with pytest.raises(StoreBusy):
        RunningLock(path)
    RunningLock(path.with_name("other.db")).release()
    lock.release()
    RunningLock(path).release()


# --- no space


async def test_a_full_disk_fails_single_writes_and_damages_nothing(path: Path, url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.small_disk", str(path), stdout=PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    output = json.loads(out)
    assert output["refused"] > 0
    assert output["faults"] == []
    assert by_hand(path, "PRAGMA integrity_check") == [("ok",)]
    async with opened(url) as store:
        for job_id in [*output["kept"], "first", "last"]:
            assert await store.job(job_id) is not None
        assert (await accept(store, a_job("after", now=NOON + 1))).id == "after"

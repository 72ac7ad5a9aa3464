"""Broken SQLite connections: every caller is answered, and later calls use a new connection."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import aiosqlite.core
import pytest

from bot.store.database import Tx
from bot.store.sqlite import SqliteDatabase, _Connection, _Reader, _start_worker
from tests.store.ledger_model import all_keys, put

STATEMENTS = ("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT", "ROLLBACK TO", "ROLLBACK")


class Faulty:
    """Raises for each statement of *faults*, as many times as it says."""

    faults: ClassVar[dict[str, tuple[type[Exception], int]]] = {}

    def execute(self, sql: str, *args: Any) -> Any:
        for begins, (error, times) in self.faults.items():
            if times and sql.startswith(begins) and (begins != "ROLLBACK" or sql == begins):
                self.faults[begins] = (error, times - 1)
                raise error(f"a broken {begins}")
        return super().execute(sql, *args)  # type: ignore[misc]


class FaultyWriter(Faulty, _Connection):
    pass


class FaultyReader(Faulty, _Reader):
    pass


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    Faulty.faults = {}
    broken = await SqliteDatabase.open(path)
    for each in (broken._writer, broken._reader):
        await each.aclose()
    broken._writer, broken._reader = await _start_worker(path, FaultyWriter), await _start_worker(path, FaultyReader)
    yield broken
    Faulty.faults = {}
    await broken.aclose()


async def fails(tx: Tx) -> str:
    await put("lost")(tx)
    raise KeyError("on purpose")


async def answers(database: SqliteDatabase) -> list[object]:
    units = (put("a"), fails, put("b"))
    async with asyncio.timeout(3):
        return await asyncio.gather(*(database.write(each) for each in units), return_exceptions=True)


@pytest.mark.parametrize("error", [sqlite3.OperationalError, MemoryError])
@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_whatever_fails_in_a_batch_its_callers_get_the_true_outcome_and_the_next_batch_works(
    database: SqliteDatabase, statement: str, times: int, error: type[Exception]
) -> None:
    Faulty.faults[statement] = (error, times)
    results = await answers(database)
    Faulty.faults.clear()

    assert [type(each) for each in results if not isinstance(each, str)]
    assert await database.write(put("next")) == "next"
    assert await database.read(all_keys) == {each for each in results if isinstance(each, str)} | {"next"}


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT", "ROLLBACK"])
async def test_a_broken_reader_is_replaced(database: SqliteDatabase, statement: str) -> None:
    async def wrong(tx: Tx) -> None:
        await tx.fetch("SELECT * FROM nowhere")

    Faulty.faults[statement] = (MemoryError, 99)
    async with asyncio.timeout(3):
        results = await asyncio.gather(database.read(all_keys), database.read(wrong), return_exceptions=True)
    Faulty.faults.clear()

    assert all(isinstance(each, sqlite3.Error) for each in results)
    assert await database.read(all_keys) == set()


async def test_callers_are_answered_when_the_connections_thread_ends(database: SqliteDatabase) -> None:
    database._writer.connection._tx.put_nowait((None, lambda: aiosqlite.core._STOP_RUNNING_SENTINEL))

    async with asyncio.timeout(5):
        with pytest.raises(sqlite3.OperationalError, match="thread"):
            await database.write(put("lost"))
        assert await database.write(put("kept")) == "kept"
    assert await database.read(all_keys) == {"kept"}


async def test_callers_get_an_error_when_the_workers_task_ends(database: SqliteDatabase) -> None:
    writing = asyncio.create_task(database.write(put("k")))
    await asyncio.sleep(0)
    assert database._writer.task is not None
    database._writer.task.cancel()

    async with asyncio.timeout(3):
        with pytest.raises(RuntimeError, match="closed"):
            await writing
        with pytest.raises(RuntimeError, match="closed"):
            await database.write(put("k"))
    database._writer.task = None


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_broken_connection_is_not_reopened_on_another_file(
    database: SqliteDatabase,
    path: Path,
    replaced: bool,  # noqa: FBT001
) -> None:
    await database.write(put("before"))
    put_back = _taken_away(path, replaced=replaced)
    Faulty.faults["COMMIT"] = (MemoryError, 1)
    with pytest.raises(sqlite3.OperationalError, match="MemoryError"):
        await database.write(put("lost"))
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match=r"was replaced|cannot be reached"):
            await database.write(put("lost"))
    assert not await database.writable()
    assert not await database.purge_deleted(thoroughly=True)
    put_back()
    assert await database.write(put("after")) == "after"
    assert await database.read(all_keys) == {"before", "after"}


def _taken_away(path: Path, *, replaced: bool) -> Callable[[], None]:
    away = path.rename(path.with_name("away.db"))
    if replaced:
        path.touch()

    def put_back() -> None:
        assert path.exists() is replaced  # no new file was created
        away.replace(path)

    return put_back

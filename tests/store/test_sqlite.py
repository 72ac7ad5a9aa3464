"""The SQLite engine: many units in one commit, each rolled back alone when it fails."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bot.store.database import Tx, Unit
from bot.store.sqlite import MAX_BATCH, SqliteDatabase
from bot.store.store import Store
from tests.store.ledger_model import all_keys, put


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
async def database(store: Store) -> SqliteDatabase:
    assert isinstance(store.database, SqliteDatabase)
    return store.database


@asynccontextmanager
async def busy_writer(database: SqliteDatabase) -> AsyncIterator[None]:
    """Blocks the writer's thread in a unit, so that callers queue behind it."""
    began, go_on = threading.Event(), threading.Event()

    async def unit(tx: Tx) -> None:
        began.set()
        assert go_on.wait(10)

    holding = asyncio.create_task(database.write(unit))
    assert await asyncio.to_thread(began.wait, 10)
    try:
        yield
    finally:
        go_on.set()
        await holding


async def queue(database: SqliteDatabase, *units: Unit[str]) -> "list[asyncio.Task[str]]":
    tasks = [asyncio.create_task(database.write(each)) for each in units]
    await asyncio.sleep(0)
    return tasks


@asynccontextmanager
async def counted(database: SqliteDatabase) -> AsyncIterator[Callable[[str], int]]:
    """Counts how often a statement reaches the writer's connection."""
    traced: list[str] = []
    await database._writer.connection.set_trace_callback(traced.append)
    yield traced.count
    await database._writer.connection.set_trace_callback(None)  # type: ignore[arg-type]


# --- together


async def test_concurrent_callers_share_one_commit(database: SqliteDatabase) -> None:
    async with counted(database) as count:
        async with busy_writer(database):
            tasks = await queue(database, *(put(f"k{n}") for n in range(200)))
        assert await asyncio.gather(*tasks) == [f"k{n}" for n in range(200)]
        assert (count("COMMIT"), count("BEGIN IMMEDIATE")) == (2, 2)  # the blocking unit, and all the others
    assert len(await database.read(all_keys)) == 200


async def test_a_commit_has_a_bounded_number_of_units(database: SqliteDatabase) -> None:
    async with counted(database) as count:
        async with busy_writer(database):
            tasks = await queue(database, *(put(f"k{n}") for n in range(2 * MAX_BATCH + 1)))
        await asyncio.gather(*tasks)
        assert count("COMMIT") == 1 + 3


async def test_units_run_in_the_order_of_their_calls(database: SqliteDatabase) -> None:
    seen: list[int] = []

    def noting(number: int) -> Unit[str]:
        async def unit(tx: Tx) -> str:
            seen.append(number)
            return ""

        return unit

    async with busy_writer(database):
        tasks = await queue(database, *(noting(n) for n in range(50)))
    await asyncio.gather(*tasks)
    assert seen == list(range(50))


async def test_written_data_is_read(database: SqliteDatabase) -> None:
    for n in range(20):
        await database.write(put(f"k{n}"))
        assert f"k{n}" in await database.read(all_keys)


async def test_readers_do_not_wait_for_a_writer_and_see_nothing_unfinished(database: SqliteDatabase) -> None:
    began, go_on = threading.Event(), threading.Event()

    async def half_done(tx: Tx) -> None:
        await put("half")(tx)
        began.set()
        assert go_on.wait(10)

    writing = asyncio.create_task(database.write(half_done))
    assert await asyncio.to_thread(began.wait, 10)
    async with asyncio.timeout(5):
        assert await database.read(all_keys) == set()
    go_on.set()
    await writing
    assert await database.read(all_keys) == {"half"}


async def test_a_reader_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(put("k"))


# --- alone


async def test_a_failing_unit_is_rolled_back_alone(database: SqliteDatabase) -> None:
    async def failing(tx: Tx) -> str:
        await put("lost")(tx)
        raise KeyError("on purpose")

    async with counted(database) as count:
        async with busy_writer(database):
            before, wrong, twice, after = await queue(database, put("a"), failing, put("a"), put("b"))
        assert await before == "a"
        with pytest.raises(KeyError, match="on purpose"):
            await wrong
        with pytest.raises(sqlite3.IntegrityError):
            await twice
        assert await after == "b"
        assert count("COMMIT") == 2
    assert await database.read(all_keys) == {"a", "b"}


@pytest.mark.parametrize("error", [StopIteration, SystemExit, asyncio.CancelledError])
async def test_any_error_reaches_its_own_caller_only(database: SqliteDatabase, error: type[BaseException]) -> None:
    async def failing(tx: Tx) -> str:
        await put("lost")(tx)
        raise error

    async def caught() -> BaseException | None:
        try:
            await database.write(failing)
        except BaseException as exc:  # noqa: BLE001 - the test is about errors that nobody expects
            return exc
        return None

    assert isinstance(await caught(), (error, RuntimeError))
    assert await database.write(put("kept")) == "kept"
    assert await database.read(all_keys) == {"kept"}


@pytest.mark.parametrize("reading", [False, True])
async def test_a_unit_may_await_nothing_but_its_transaction(database: SqliteDatabase, reading: bool) -> None:  # noqa: FBT001
    async def foreign(tx: Tx) -> str:
        if not reading:
            await put("lost")(tx)
        await asyncio.sleep(0)
        raise AssertionError("it went on")

    with pytest.raises(RuntimeError, match="nothing but its transaction"):
        await (database.read(foreign) if reading else database.write(foreign))
    assert await database.write(put("kept")) == "kept"
    assert await database.read(all_keys) == {"kept"}


# --- callers that give up


async def test_the_unit_of_a_caller_cancelled_in_the_queue_never_runs(database: SqliteDatabase) -> None:
    async with busy_writer(database):
        first, gone, last = await queue(database, put("first"), put("gone"), put("last"))
        gone.cancel()
        await asyncio.wait([gone])
    assert [await first, await last] == ["first", "last"]
    assert gone.cancelled()
    assert await database.read(all_keys) == {"first", "last"}


async def test_the_unit_of_a_caller_cancelled_while_it_runs_is_committed(database: SqliteDatabase) -> None:
    began, go_on = threading.Event(), threading.Event()

    async def slow(tx: Tx) -> str:
        began.set()
        assert go_on.wait(10)
        return await put("written")(tx)

    (caller,) = await queue(database, slow)
    assert await asyncio.to_thread(began.wait, 10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await caller
    go_on.set()
    await database.write(put("next"))
    assert await database.read(all_keys) == {"written", "next"}


# --- trouble with the file


def pages(extra: int) -> Unit[str]:
    async def unit(tx: Tx) -> str:
        row = await tx.one("PRAGMA page_count")
        assert row is not None
        await tx.run(f"PRAGMA max_page_count = {row['page_count'] + extra}")
        return ""

    return unit


async def test_a_full_disk_fails_only_the_unit_that_needs_the_space(
    database: SqliteDatabase,
) -> None:
    await database.write(put("a row for the page"))
    await database.write(pages(4))
    async with busy_writer(database):
        before, large, after = await queue(database, put("before"), put("large", "x" * 200_000), put("after"))
    assert (await before, await after) == ("before", "after")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await large

    await database.write(pages(10_000))
    assert await database.write(put("large", "x" * 200_000)) == "large"
    assert await database.read(all_keys) == {"a row for the page", "before", "after", "large"}


async def test_a_full_disk_loses_nothing_that_was_answered(database: SqliteDatabase) -> None:
    await database.write(pages(3))
    async with busy_writer(database):
        tasks = await queue(database, *(put(f"k{n}", "x" * 1500) for n in range(40)))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    written = {each for each in answers if isinstance(each, str)}
    assert 0 < len(written) < 40
    assert await database.read(all_keys) == written


async def test_a_database_locked_by_another_process_fails_waiting_units_and_then_works_again(
    database: SqliteDatabase, path: Path
) -> None:
    async def impatient(tx: Tx) -> str:
        await tx.run("PRAGMA busy_timeout = 30")
        return ""

    await database.write(impatient)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answers = await asyncio.gather(*(database.write(put(f"k{n}")) for n in range(5)), return_exceptions=True)
        assert [getattr(each, "sqlite_errorcode", None) for each in answers] == [sqlite3.SQLITE_BUSY] * 5
        assert not await database.writable()
        async with asyncio.timeout(5):
            assert await database.read(all_keys) == set()
        other.execute("ROLLBACK")
    assert await database.writable()
    assert await database.write(put("k0")) == "k0"


# --- other processes


async def test_only_writes_of_other_processes_count_as_external_changes(database: SqliteDatabase, path: Path) -> None:
    start = await database.external_changes()
    await database.write(put("ours"))
    assert await database.external_changes() == start
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO notes VALUES ('theirs', '1')")
        other.commit()
    assert await database.external_changes() != start
    assert await database.read(all_keys) == {"ours", "theirs"}


# --- the end


async def test_closing_finishes_earlier_units(path: Path) -> None:
    database = await SqliteDatabase.open(path)
    tasks = await queue(database, *(put(f"k{n}") for n in range(MAX_BATCH + 50)))
    await database.aclose()
    assert await asyncio.gather(*tasks) == [f"k{n}" for n in range(MAX_BATCH + 50)]
    with closing(sqlite3.connect(path)) as look:
        assert look.execute("SELECT count(*) FROM notes").fetchone() == (MAX_BATCH + 50,)


async def test_a_closed_store_refuses_units(path: Path) -> None:
    database = await SqliteDatabase.open(path)
    await database.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await database.write(put("k"))
    with pytest.raises(RuntimeError, match="closed"):
        await database.read(all_keys)

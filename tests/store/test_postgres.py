"""PostgreSQL: migrated in one transaction, waited for when it is away, locked by one running process."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from bot.core.jobs import State
from bot.store.connect import open_database
from bot.store.database import StoreTooNew, StoreUnusable, Tx, Unit, display_url
from bot.store.housekeeping import Housekeeping
from bot.store.postgres import PostgresDatabase
from bot.store.store import Store
from bot.store.versions import migrations
from tests.postgres import by_hand, cut
from tests.store.ledger_model import DAY, NOON, a_job, accept, all_keys, faults, opened, put, rows, walk, way_to


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@asynccontextmanager
async def running(url: str, *, place: bool = False) -> AsyncIterator[PostgresDatabase]:
    database = await PostgresDatabase.open(url, running=place)
    try:
        yield database
    finally:
        await database.aclose()


# --- what is opened


async def test_a_new_database_has_the_newest_version(store: Store, url: str) -> None:
    assert await by_hand(url, "SELECT version FROM darkroom_version") == [(len(migrations("postgres")),)]


async def test_a_database_keeps_its_content_when_opened_again(url: str) -> None:
    async with opened(url) as store:
        await accept(store, a_job("kept"))
    async with opened(url) as store:
        assert await store.job("kept") == a_job("kept")


async def test_a_newer_database_is_not_touched(url: str) -> None:
    async with opened(url):
        pass
    newer = len(migrations("postgres")) + 1
    await by_hand(url, f"UPDATE darkroom_version SET version = {newer}")  # noqa: S608 - a number of ours
    with pytest.raises(StoreTooNew, match=f"version {newer}.*update Darkroom"):
        await PostgresDatabase.open(url)
    assert await by_hand(url, "SELECT version FROM darkroom_version") == [(newer,)]


async def test_a_migration_that_fails_halfway_changes_nothing(url: str) -> None:
    await by_hand(url, "CREATE TABLE totals (mine TEXT)")  # makes a later statement fail
    with pytest.raises(StoreUnusable, match='"totals" already exists'):
        await PostgresDatabase.open(url)
    assert await by_hand(url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'") == [("totals",)]

    await by_hand(url, "DROP TABLE totals")
    async with opened(url) as store:
        await accept(store, a_job("now"))


async def test_many_processes_that_open_a_new_database_at_once_agree(url: str) -> None:
    found = await asyncio.gather(*(PostgresDatabase.open(url) for _ in range(4)))
    await accept(Store(found[0]), a_job("by-one"))
    assert await Store(found[3]).job("by-one") == a_job("by-one")
    for each in found:
        await each.aclose()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:canary-password@127.0.0.1:1/darkroom",
        "postgresql://ada:canary-password@127.0.0.1:canary-port/darkroom",
        "postgresql://ada:canary/password@127.0.0.1/darkroom",
        "postgresql://ada:canary-password@127.0.0.1/darkroom?sslmode=canary",
    ],
)
async def test_a_database_that_cannot_be_reached_is_named_in_one_line_without_its_password(address: str) -> None:
    with pytest.raises(StoreUnusable) as caught:
        await open_database(address)
    message = str(caught.value)
    assert message.startswith("the database postgresql://ada@127.0.0.1")
    assert "cannot be used: " in message
    assert "\n" not in message
    assert "password" not in message


@pytest.mark.parametrize(
    ("address", "as_printed"),
    [
        ("sqlite:///data/a@b:c.db", "sqlite:///data/a@b:c.db"),
        ("postgresql://ada:se:cr@et@db.example:5432/dark?sslmode=require", "postgresql://ada@db.example:5432/dark"),
        ("postgres:///dark", "postgres:///dark"),
    ],
)
def test_an_address_is_printed_without_its_password(address: str, as_printed: str) -> None:
    assert display_url(address) == as_printed


async def test_both_engines_have_the_same_tables_and_indexes(store: Store, path: Path) -> None:
    async with opened(f"sqlite:///{path}") as other:
        there = await rows(
            other,
            """
            SELECT tables.name AS item, columns.name AS part FROM sqlite_master tables, pragma_table_info(tables.name)
            columns WHERE tables.type IN ('table', 'view')
            UNION SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
            """,
        )
    here = await rows(
        store,
        """
        SELECT table_name::text AS item, column_name::text AS part FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> 'darkroom_version'
        UNION SELECT indexname::text, tablename::text FROM pg_indexes
        WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey'
        """,
    )
    assert {tuple(row.values()) for row in here} == {tuple(row) for row in there}


# --- units


async def test_units_that_deadlock_are_both_done(store: Store) -> None:
    barrier = asyncio.Barrier(2)
    waited: set[str] = set()

    def crossing(first: str, then: str) -> Unit[str]:
        async def unit(tx: Tx) -> str:
            await tx.run("UPDATE notes SET value = value || $2 WHERE key = $1", first, then)
            if first not in waited:  # only the first time, for one of the two is run again
                waited.add(first)
                await barrier.wait()
            await tx.run("UPDATE notes SET value = value || $2 WHERE key = $1", then, first)
            return first

        return unit

    await asyncio.gather(*(store.database.write(put(key, "")) for key in "ab"))
    await asyncio.gather(store.database.write(crossing("a", "b")), store.database.write(crossing("b", "a")))
    values = await rows(store, "SELECT key, value FROM notes ORDER BY key")
    assert [(row["key"], sorted(row["value"])) for row in values] == [("a", ["b", "b"]), ("b", ["a", "a"])]


async def test_reservations_and_their_ends_never_deadlock(url: str) -> None:
    """The server here detects a deadlock only after a minute."""
    await by_hand(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET deadlock_timeout = '1min'")

    async def live(store: Store, n: int) -> None:
        month = 31 * DAY * (n % 2)  # an end counts in two months of the host
        job = a_job(f"{n}", user=n % 3, guild=(None, 5, 6)[n % 3], now=NOON + month // 2)
        job = await walk(store, await accept(store, job), way_to(State.COLLECTING))
        to = (State.SUCCEEDED, State.FAILED)[n // 3 % 2]
        assert await store.move(job, to, now=NOON + month, images=1, cost_micro_usd=n, may_be_billed=True)

    async with opened(url) as one, opened(url) as two, opened(url) as three, asyncio.timeout(30):
        await asyncio.gather(*(live((one, two, three)[n % 3], n) for n in range(90)))
        assert await faults(one) == []


async def test_concurrent_audits_end_a_reservation_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        for n in range(10):
            await accept(one, a_job(f"{n}"))
        await by_hand(url, "UPDATE jobs SET state = 'failed', ended_at = 1")
        await asyncio.gather(
            *(Housekeeping(store.database).end_orphaned_reservations(now=NOON) for store in (one, other) * 3)
        )
        assert await faults(one) == []


async def test_a_failing_unit_is_rolled_back_alone(store: Store) -> None:
    async def failing(tx: Tx) -> str:
        await put("lost")(tx)
        raise KeyError("on purpose")

    answers = await asyncio.gather(
        *(store.database.write(each) for each in (put("a"), failing, put("b"))), return_exceptions=True
    )
    assert [type(each) for each in answers] == [str, KeyError, str]
    assert await store.database.read(all_keys) == {"a", "b"}


async def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await store.database.read(put("k"))


async def test_a_reader_sees_one_snapshot(store: Store) -> None:
    async def twice(tx: Tx) -> bool:
        before = await all_keys(tx)
        await store.database.write(put("meanwhile"))
        return before == await all_keys(tx) == set()

    assert await store.database.read(twice)
    assert await store.database.read(all_keys) == {"meanwhile"}


async def test_more_callers_than_connections_are_all_served(store: Store) -> None:
    await asyncio.gather(*(store.database.write(put(f"k{n}")) for n in range(100)))
    assert len(await store.database.read(all_keys)) == 100


async def test_closing_finishes_earlier_units_and_refuses_new_ones(url: str) -> None:
    database = await PostgresDatabase.open(url)
    tasks = [asyncio.create_task(database.write(put(f"k{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    await database.aclose()
    assert await asyncio.gather(*tasks) == [f"k{n}" for n in range(50)]
    with pytest.raises(RuntimeError, match="closed"):
        await database.read(all_keys)


# --- trouble with the server


async def test_broken_connections_are_replaced_without_an_error(store: Store, url: str) -> None:
    for n in range(3):
        await cut(url)
        await store.database.write(put(f"k{n}"))
    await cut(url)
    assert await store.database.read(all_keys) == {"k0", "k1", "k2"}


async def test_a_unit_whose_connection_breaks_in_the_middle_is_run_again(store: Store, url: str) -> None:
    tries = 0

    async def unlucky(tx: Tx) -> None:
        nonlocal tries
        tries += 1
        await put("once")(tx)
        if tries == 1:
            await cut(url)
        await put("and-this")(tx)

    await store.database.write(unlucky)
    assert tries == 2
    assert await store.database.read(all_keys) == {"once", "and-this"}


async def test_while_the_server_refuses_connections_callers_wait(url: str, role_url: str) -> None:
    role = urlsplit(role_url).username
    async with running(role_url) as database:
        await database.write(put("before"))
        await by_hand(url, f"ALTER ROLE {role} CONNECTION LIMIT 0")
        await cut(url)
        waiting = asyncio.create_task(database.write(put("meanwhile")))
        reading = asyncio.create_task(database.read(all_keys))
        heard = await database.external_changes()
        assert not waiting.done()
        await by_hand(url, f"ALTER ROLE {role} CONNECTION LIMIT -1")
        async with asyncio.timeout(5):
            assert await waiting == "meanwhile"
            assert "before" in await reading
            assert await database.external_changes() != heard  # something may have been missed


@pytest.mark.prove
async def test_a_read_only_server_is_noticed(url: str) -> None:
    name = urlsplit(url).path[1:]
    async with running(url) as database:
        assert await database.writable()
        await by_hand(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await cut(url)
        assert not await database.writable()


# --- other processes


async def changed(database: PostgresDatabase, since: int) -> int:
    async with asyncio.timeout(1):
        while (now := await database.external_changes()) == since:
            pass
    return now


async def test_writes_of_other_processes_are_noticed_within_a_second_and_our_own_are_not(url: str) -> None:
    async with running(url, place=True) as ours, running(url) as theirs:
        start = await ours.external_changes()
        await accept(Store(ours), a_job("ours"))
        assert await ours.external_changes() == start
        await accept(Store(theirs), a_job("theirs"))
        then = await changed(ours, start)
        await by_hand(url, "UPDATE jobs SET due_at = 1")
        await changed(ours, then)


async def test_several_processes_run_and_receive_what_each_sends(url: str) -> None:
    async with running(url, place=True) as first, running(url, place=True) as second, running(url) as beside:
        received: dict[str, list[str]] = {"first": [], "second": [], "beside": []}
        for name, database in ("first", first), ("second", second), ("beside", beside):
            database.on_message(received[name].append)
        await first.publish(["a", "b"])
        await second.publish(["c"])
        async with asyncio.timeout(5):
            while len(received["first"]) + len(received["second"]) < 6:
                await first.external_changes()
                await second.external_changes()
        assert received == {"first": ["a", "b", "c"], "second": ["a", "b", "c"], "beside": []}


async def test_a_lock_is_held_by_one_process_until_it_is_killed(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.lock_holder", url, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    async with running(url, place=True) as ours, running(url, place=True) as theirs:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"held\n"
            assert not await ours.try_lock("a lock")
            process.kill()
            await process.communicate()
            while not await ours.try_lock("a lock"):
                pass
        assert await ours.try_lock("a lock")
        assert not await theirs.try_lock("a lock")
        assert await theirs.try_lock("another lock")


async def test_a_lock_lost_with_its_connection_is_another_process_s(url: str) -> None:
    async with running(url, place=True) as ours, running(url, place=True) as theirs:
        assert await ours.try_lock("a lock")
        known = await ours.external_changes()
        ours._listener.connection.terminate()
        async with asyncio.timeout(5):
            while not await theirs.try_lock("a lock"):
                pass
            while await ours.external_changes() == known:  # it may have missed messages
                pass
        assert not await ours.try_lock("a lock")

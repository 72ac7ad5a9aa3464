"""PostgreSQL behind a pooler in transaction mode: what needs a session is on the server itself."""

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from bot.core.errors import UserError
from bot.core.jobs import State
from bot.store.connect import status
from bot.store.database import StoreUnusable, Tx, Unit
from bot.store.store import Store
from tests import pooler, postgres
from tests.store.ledger_model import FREE, NOON, a_job, accept, faults, opened, walk


def running(pooled_url: str, direct_url: str) -> AbstractAsyncContextManager[Store]:
    return opened(pooled_url, direct_url=direct_url, running=True)


async def outcome(store: Store, name: str) -> str:
    try:
        job = await accept(store, a_job(name), limits=replace(FREE, user_in_flight=30))
        await store.acknowledge(name, message_id=8, ephemeral=False, now=NOON)
    except UserError as refusal:
        return refusal.key
    ended = await walk(store, job, [State.SUBMITTING, State.QUEUED, State.RUNNING], now=NOON)
    return ended.state


async def test_jobs_of_two_processes_are_accepted_and_written_over_sessions_in_turn(
    pooled_url: str, postgres_url: str
) -> None:
    async with running(pooled_url, postgres_url) as one, running(pooled_url, postgres_url) as other:
        found = await asyncio.gather(*(outcome((one, other)[n % 2], f"job-{n}") for n in range(40)))
        assert Counter(found)[State.RUNNING] == 30
        assert await faults(one) == []


async def test_each_statement_runs_as_it_was_prepared(pooled_url: str, postgres_url: str) -> None:
    async with running(pooled_url, postgres_url) as store:

        def unit_of(number: int) -> Unit[int]:
            async def unit(tx: Tx) -> int:
                row = await tx.one(f"SELECT $1::bigint + {number} AS sum", number)
                assert row is not None
                return int(row["sum"])

            return unit

        found = await asyncio.gather(*(store.database.run_statements(unit_of(n)) for n in range(50)))
        assert found == [2 * n for n in range(50)]


async def test_messages_and_locks_are_on_the_server_itself(pooled_url: str, postgres_url: str) -> None:
    async with running(pooled_url, postgres_url) as one, running(pooled_url, postgres_url) as other:
        received: list[str] = []
        other.database.on_message(received.append)
        assert await one.database.try_lock("a lock")
        for n in range(2 * pooler.SESSIONS):
            await one.database.publish([str(n)])
            assert not await other.database.try_lock("a lock")
        async with asyncio.timeout(5):
            while len(received) < 2 * pooler.SESSIONS:
                await other.database.external_changes()
        await one.database.unlock("a lock")
        assert await other.database.try_lock("a lock")


async def test_units_wait_for_a_server_that_has_ended_the_pooler_s_sessions(pooled_url: str, postgres_url: str) -> None:
    async def unit(tx: Tx) -> None:
        sql = "INSERT INTO notes (key, value) VALUES ('n', '1')"
        await tx.run(f"{sql} ON CONFLICT (key) DO UPDATE SET value = notes.value || '1'")

    async with running(pooled_url, postgres_url) as store:
        for _ in range(2):
            writing = [asyncio.create_task(store.database.write(unit)) for _ in range(20)]
            await postgres.cut(postgres_url)
            await asyncio.gather(*writing)
        rows = await postgres.by_hand(postgres_url, "SELECT length(value) FROM notes WHERE key = 'n'")
        assert rows == [(40,)]


async def test_doctor_reaches_the_database_through_a_pooler(pooled_url: str) -> None:
    assert (await status(pooled_url, pooled=True)).version == 0


async def test_the_address_that_fails_is_named(pooled_url: str, postgres_url: str) -> None:
    nobody = "postgresql://127.0.0.1:1/nobody"
    for url, direct_url in ((pooled_url, nobody), (nobody, postgres_url)):
        with pytest.raises(StoreUnusable, match=nobody):
            async with running(url, direct_url):
                pass

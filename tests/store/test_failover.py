"""A primary that is lost, or is read-only for a while: units wait, and what was answered is on its successor."""

import asyncio
from urllib.parse import urlsplit

import pytest

from bot.core.system_outages import Outage
from bot.store.database import CONNECTION_LOST, DATABASE_ERRORS, Database
from bot.store.system_outages import outage_of
from tests.jobs.commit_proxy import Cut, line_to
from tests.postgres import by_hand, cut
from tests.replication import Server
from tests.scenarios.gate import gate_to
from tests.store.ledger_model import all_keys, opened, put

WRITERS = 8


async def keys(address: str) -> set[object]:
    return {key for (key,) in await by_hand(address, "SELECT key FROM notes")}


@pytest.mark.prove
async def test_a_standby_takes_over_with_everything_that_was_answered(replicas: tuple[Server, Server]) -> None:
    primary, standby = replicas
    answered, unknown = set[str](), set[str]()

    async def write_on(database: Database, name: str) -> None:
        for n in range(10_000):
            key = f"{name}-{n}"
            try:
                answered.add(await database.write(put(key)))
            except CONNECTION_LOST:
                unknown.add(key)

    async def more(count: int) -> None:
        goal = len(answered) + count
        async with asyncio.timeout(30):
            while len(answered) < goal:
                await asyncio.wait(writers, timeout=0.05)

    hosts = f"{standby.folder},{primary.folder}"
    async with opened(f"postgresql://postgres@/postgres?host={hosts}", running=True) as store:
        database = store.database
        writers = [asyncio.create_task(write_on(database, str(n))) for n in range(WRITERS)]
        await more(200)
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(standby.promote)
        await more(200)
        heard = await database.external_changes()
        assert await database.external_changes() == heard
        assert await database.try_lock("a lock")
        for each in writers:
            each.cancel()
        await asyncio.wait(writers)
        await database.wait_for_abandoned()
        kept = await keys(standby.address)
        assert answered <= kept
        assert len(unknown) <= WRITERS


@pytest.mark.prove
async def test_a_commit_that_the_standby_never_got_is_not_mistaken_for_one_of_its_own(
    replicas: tuple[Server, Server],
) -> None:
    primary, standby = replicas
    async with line_to(primary.address) as line, opened(line.url) as store:
        database = store.database
        await database.write(put("on both"))
        await by_hand(primary.address, "ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
        await by_hand(standby.address, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        async with asyncio.timeout(10):
            while await by_hand(primary.address, "SELECT 1 FROM pg_stat_replication"):
                pass
        line.cut(Cut.UNANSWERED)
        line.upstream = standby.address.replace(str(standby.folder), "/nowhere")
        lost = asyncio.create_task(database.write(put("lost")))
        async with asyncio.timeout(10):
            while "lost" not in await keys(primary.address):
                pass
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(standby.promote)
        for n in range(20):  # of them one has the number of the lost transaction
            await by_hand(standby.address, f"INSERT INTO notes (key, value) VALUES ('theirs-{n}', '1')")  # noqa: S608
        line.upstream = standby.address
        with pytest.raises(CONNECTION_LOST):
            await lost
        assert "lost" not in await keys(standby.address)


async def test_a_unit_waits_while_the_server_is_read_only(postgres_url: str) -> None:
    name = urlsplit(postgres_url).path[1:]
    async with opened(postgres_url) as store:
        database = store.database
        await by_hand(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await cut(postgres_url)
        waiting = asyncio.create_task(database.write(put("meanwhile")))
        async with asyncio.timeout(10):
            while database.unavailable_because is None:
                await database.read(all_keys)
        assert not waiting.done()
        again = (
            "SET default_transaction_read_only = off",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
        )
        await by_hand(postgres_url, *again)
        async with asyncio.timeout(10):
            assert await waiting == "meanwhile"


async def test_messages_are_not_sent_while_nobody_answers(postgres_url: str) -> None:
    async with gate_to(postgres_url) as gate, opened(gate.url) as store:
        database = store.database
        await database.publish(["before"])
        gate.shut(silently=False)
        for _ in range(3):
            with pytest.raises(DATABASE_ERRORS) as caught:
                await database.publish(["meanwhile"])
            assert outage_of(caught.value) is Outage.DATABASE_AWAY
        gate.open()
        async with asyncio.timeout(10):
            await database.write(put("after"))
        await database.publish(["after"])

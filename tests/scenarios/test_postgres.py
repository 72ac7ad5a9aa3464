"""The whole bot on PostgreSQL: killed and disconnected, it makes each picture once."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from bot.sandbox.service import Pace
from tests.postgres import cut
from tests.replication import Server
from tests.scenarios.harness import SOON, Scene, scene, shows
from tests.store.ledger_model import faults, opened, rows

RUNS = Pace(run_s=1.0)


async def test_the_bot_on_postgresql_survives_kills_and_broken_connections(tmp_path: Path, postgres_url: str) -> None:
    async with scene(tmp_path, pace=RUNS, database__url=postgres_url) as bot:
        killed = await bot.asks(bot.alice, "killed")
        async with asyncio.timeout(SOON), opened(postgres_url) as store:
            while not await rows(store, "SELECT id FROM jobs WHERE run_id IS NOT NULL"):
                pass
        await bot.restart()
        await killed.until(shows("Done"), within=SOON)
        await makes_a_second_picture(bot, meanwhile=cut(postgres_url))
        await assert_in_order(bot, postgres_url)


@pytest.mark.prove
async def test_the_bot_behind_a_pooler_survives_broken_connections(
    tmp_path: Path, postgres_url: str, pooled_url: str
) -> None:
    async with scene(tmp_path, pace=RUNS, database__url=pooled_url, database__direct_url=postgres_url) as bot:
        first = await bot.asks(bot.alice, "first")
        await first.until(shows("Done"), within=SOON)
        await makes_a_second_picture(bot, meanwhile=cut(postgres_url))
        await assert_in_order(bot, postgres_url)


@pytest.mark.prove
async def test_the_bot_goes_on_with_the_standby_of_a_lost_primary(
    tmp_path: Path, replicas: tuple[Server, Server]
) -> None:
    primary, standby = replicas
    both = f"postgresql://postgres@/postgres?host={primary.folder},{standby.folder}"
    async with scene(tmp_path, pace=RUNS, database__url=both) as bot:
        running = await bot.asks(bot.alice, "running")
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(standby.promote)
        await running.until(shows("Done"), within=SOON)
        await makes_a_second_picture(bot)
        await assert_in_order(bot, standby.address)


async def makes_a_second_picture(bot: Scene, *, meanwhile: Awaitable[None] | None = None) -> None:
    asked = await bot.asks(bot.bob, "second")
    if meanwhile is not None:
        await meanwhile
    await asked.until(shows("Done"), within=SOON)


async def assert_in_order(bot: Scene, url: str) -> None:
    """Stop the bot, and check that its two pictures were ordered once and charged once."""
    assert await bot.bot.stop() == 0
    assert len(bot.host.accepted) == 2
    assert "Traceback" not in bot.bot.log, bot.bot.log
    async with opened(url) as store:
        assert await faults(store) == []
        ledger = await rows(store, "SELECT kind FROM ledger ORDER BY id")
        assert [row["kind"] for row in ledger] == ["reserve", "settle"] * 2

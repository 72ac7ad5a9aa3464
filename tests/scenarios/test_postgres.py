"""The whole bot on PostgreSQL: killed and disconnected, it makes each picture once."""

import asyncio
from pathlib import Path

import pytest

from bot.sandbox.service import Pace
from tests.pooler import NoPooler, pooler
from tests.postgres import NoPostgres, cut
from tests.replication import replicated
from tests.scenarios.harness import SOON, scene, shows
from tests.store.ledger_model import faults, opened, rows


async def test_the_bot_on_postgresql_survives_kills_and_broken_connections(tmp_path: Path, postgres_url: str) -> None:
    async with scene(tmp_path, pace=Pace(run_s=1.0), database__url=postgres_url) as bot:
        killed = await bot.asks(bot.alice, "killed")
        async with asyncio.timeout(SOON), opened(postgres_url) as store:
            while not await rows(store, "SELECT id FROM jobs WHERE run_id IS NOT NULL"):
                pass
        await bot.restart()
        await killed.until(shows("Done"), within=SOON)

        broken = await bot.asks(bot.bob, "broken")
        await cut(postgres_url)
        await broken.until(shows("Done"), within=SOON)
        assert await bot.bot.stop() == 0

        assert len(bot.host.accepted) == 2
        assert "Traceback" not in bot.bot.log
        async with opened(postgres_url) as store:
            assert await faults(store) == []
            ledger = await rows(store, "SELECT kind FROM ledger ORDER BY id")
            assert [row["kind"] for row in ledger] == ["reserve", "settle"] * 2


@pytest.mark.prove
async def test_the_bot_behind_a_pooler_survives_broken_connections(tmp_path: Path, postgres_url: str) -> None:
    try:
        with pooler(postgres_url) as pooled:
            async with scene(
                tmp_path, pace=Pace(run_s=1.0), database__url=pooled, database__direct_url=postgres_url
            ) as bot:
                first = await bot.asks(bot.alice, "first")
                await first.until(shows("Done"), within=SOON)
                broken = await bot.asks(bot.bob, "broken")
                await cut(postgres_url)
                await broken.until(shows("Done"), within=SOON)
                assert await bot.bot.stop() == 0
                assert len(bot.host.accepted) == 2
                assert "Traceback" not in bot.bot.log, bot.bot.log
    except NoPooler as exc:
        pytest.skip(str(exc))
    async with opened(postgres_url) as store:
        assert await faults(store) == []


@pytest.mark.prove
async def test_the_bot_goes_on_with_the_standby_of_a_lost_primary(tmp_path: Path) -> None:
    try:
        with replicated() as (primary, standby):
            both = f"postgresql://postgres@/postgres?host={primary.folder},{standby.folder}"
            async with scene(tmp_path, pace=Pace(run_s=1.0), database__url=both) as bot:
                running = await bot.asks(bot.alice, "running")
                await asyncio.to_thread(primary.stop, "immediate")
                await asyncio.to_thread(standby.promote)
                await running.until(shows("Done"), within=SOON)
                later = await bot.asks(bot.bob, "later")
                await later.until(shows("Done"), within=SOON)
                assert await bot.bot.stop() == 0
                assert len(bot.host.accepted) == 2
                assert "Traceback" not in bot.bot.log, bot.bot.log
            async with opened(standby.address) as store:
                assert await faults(store) == []
    except NoPostgres as exc:
        pytest.skip(str(exc))

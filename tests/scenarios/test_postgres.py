"""The whole bot on PostgreSQL: killed and disconnected, it makes each picture once."""

import asyncio
from pathlib import Path

from bot.sandbox.service import Pace
from tests.postgres import cut
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

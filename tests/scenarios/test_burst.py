"""A burst of commands on a slow disk: each is shown a card or is refused in time, and no job is lost."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.discord.interactions import Interaction
from tests.scenarios.harness import NO_LIMITS, Scene, scene

COMMANDS, MEMBERS = 300, 30
HELD, FREE = 0.4, 0.1  # seconds in which another process writes, and in which it does not


@asynccontextmanager
async def slow_commits(on: Scene) -> AsyncIterator[None]:
    """Another process that writes most of the time."""
    connection = sqlite3.connect(on.folder / "darkroom.db", isolation_level=None)

    async def hold() -> None:
        while True:
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(HELD)
            connection.execute("ROLLBACK")
            await asyncio.sleep(FREE)

    holding = asyncio.create_task(hold())
    try:
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        connection.close()


@pytest.mark.prove
async def test_in_a_burst_each_command_is_shown_a_card_or_refused_with_nothing_written(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as on:
        members = [on.discord.add_member(f"member{n}", on.guild) for n in range(MEMBERS)]
        on.host.hold = True
        async with slow_commits(on):
            asked = [
                await members[n % MEMBERS].slash(on.channel, "imagine", prompt=f"harbour {n}") for n in range(COMMANDS)
            ]
            shown, refused = await answers(asked)
        assert len(shown) + len(refused) == COMMANDS
        assert shown
        assert refused
        assert all("more requests than it can answer" in str(each.message) for each in refused)
        assert on.rows("SELECT count(*) FROM interactions") == [(len(shown),)]
        assert on.rows("SELECT count(*) FROM drafts") == [(0,)]
        assert "cancelled" not in on.states()
        health = on.bot.log.split("Health is at ")[1].split()[0]
        async with aiohttp.ClientSession() as http, http.get(health.replace("healthz", "metrics")) as answer:
            assert f"darkroom_requests_overloaded_total {len(refused)}.0" in await answer.text()


async def answers(asked: list[Interaction]) -> tuple[list[Interaction], list[Interaction]]:
    """The commands that were answered with a card, and with a refusal."""
    acks = await asyncio.gather(*(each.acked() for each in asked))
    found: tuple[list[Interaction], list[Interaction]] = ([], [])
    for each, ack in zip(asked, acks, strict=True):
        found[ack.ephemeral].append(each)
    return found

"""Interactions over HTTP: two processes behind a balancer, and settings that need the gateway."""

import asyncio
from pathlib import Path

import pytest

from tests.scenarios.harness import SITES, SOON, Bot, Scene, scene, shows
from tests.store.ledger_model import opened, rows

pytestmark = pytest.mark.parametrize("transport", ["http"], indirect=True)


def answers(bot: Scene, interaction: int) -> int:
    """How often the bot tried to answer an interaction."""
    paths = [each.path for each in bot.discord.requests if each.route == "callback"]
    return sum(each.startswith(f"/interactions/{interaction}/") for each in paths)


async def test_of_two_processes_one_handles_an_interaction_that_arrives_at_both(
    tmp_path: Path, postgres_url: str
) -> None:
    (tmp_path / "second").mkdir()
    async with scene(tmp_path, database__url=postgres_url) as bot:
        second = Bot(tmp_path / "second", {**bot.bot.env, "DARKROOM_PROCESS__ROLES": '["web"]'})
        await second.start()
        try:
            await bot.until(lambda: SITES.findall(second.log))
            sites = SITES.findall(bot.bot.log + second.log)
            endpoint = bot.discord.endpoint
            await endpoint.use_when_ready(*(f"{each}/interactions" for each in sites), within=SOON)

            asked = await bot.alice.slash(bot.channel, "imagine", prompt="a lighthouse")
            bot.discord.send_again(asked)
            await asked.until(shows("Done"), within=SOON)
            menu = (await (await bot.alice.click(bot.card(asked), label="More…")).acked()).message
            assert menu is not None
            star = await bot.alice.click(menu, label="Favorite")
            bot.discord.send_again(star)
            await star.acked()
            await endpoint.delivered()
            listed = await bot.alice.slash(bot.channel, "favorites")
            await listed.until(shows("a lighthouse"), within=SOON)

            assert [answers(bot, each.id) for each in (asked, star, listed)] == [1, 1, 1]
            assert len(bot.host.accepted) == 1
            assert (endpoint.refused, bot.discord.violations) == (0, [])
            async with asyncio.timeout(SOON), opened(postgres_url) as store:
                assert len(await rows(store, "SELECT job FROM favorites")) == 1
        finally:
            await second.kill()


async def test_reading_messages_is_refused_at_the_start_with_one_line(tmp_path: Path) -> None:
    async with scene(tmp_path, start=False, discord__mentions="true") as bot:
        await bot.bot.start()

        assert await bot.bot.exited() == 2
        assert bot.bot.log == (
            'darkroom: discord.mentions: needs the gateway: set it to false, or discord.transport to "gateway"\n'
        )

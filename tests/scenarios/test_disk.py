"""The whole bot on a full disk: every request is answered with the reason, and nothing is lost."""

import resource
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.harness import NO_LIMITS, SOON, scene, shows

FULL = 100_000  # bytes: less than the database has, and more than the log


@pytest.mark.prove  # what failed is tried again after ten seconds
async def test_a_full_disk_is_reported_and_every_job_continues_when_there_is_room(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        bot.host.hold = True
        before = await bot.asks(bot.alice, "before")
        await bot.reaches(before, "queued")
        assert bot.bot.process is not None
        pid = bot.bot.process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL, most))
        bot.host.hold = False
        refused = await (await bot.alice.slash(bot.channel, "imagine", prompt="during")).acked()
        notification = await bot.operators.until(shows("disk reports errors"), within=SOON)

        assert refused.message is not None
        assert (refused.ephemeral, "disk reports errors" in refused.message.text) == (True, True)
        health = bot.bot.log.split("Health is at ")[1].split()[0]
        async with aiohttp.ClientSession() as http, http.get(health) as answer:
            assert (answer.status, (await answer.json())["outages"]) == (503, ["disk_error"])
        assert (len(bot.host.accepted), bot.books()) == (1, {"reserve": 1})

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        await bot.until(lambda: bot.job(before)["state"] == "succeeded", within=SOON)
        await before.until(shows("Done"), within=SOON)
        assert bot.operators.messages == [notification]
        assert bot.bot.log.count("event=outage ") == 1
        bot.assert_at_rest()

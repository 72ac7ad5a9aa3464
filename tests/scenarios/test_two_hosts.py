"""The bot with both providers: it continues when the first one fails, and never submits a job to both."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.faults import Fault
from bot.sandbox.service import ImageService
from tests.scenarios.harness import NO_LIMITS, QUICK, SMALL, SOON, Scene, scene, shows

pytestmark = pytest.mark.prove  # a bot of its own for each; what each part decides has its tests beside it

UNSURE = "never confirmed that it received this"


def at_both(folder: Path, host: ImageService, **settings: Any) -> AbstractAsyncContextManager[Scene]:
    return scene(
        folder,
        beside=host,
        **NO_LIMITS,
        routing__prefer='["runcomfy", "runflow"]',
        runflow__api_key="rf_live_a-key-for-the-host",
        runflow__api_base=host.runflow_url,
        runflow__result_hosts=json.dumps([each.removeprefix("http://") for each in (host.runflow_url, host.url)]),
        **settings,
    )


async def test_an_empty_balance_at_one_provider_sends_jobs_to_the_other(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_both(tmp_path, host) as bot:
        first = await bot.asks(bot.alice, "with money")
        await first.until(shows("Done"), within=SOON)
        assert bot.job(first)["provider"] == "runcomfy"

        host.faults.replace([Fault("submit", "status:402", host="runcomfy", times=None)])
        asked = [await bot.asks(each, f"without {n}") for n, each in enumerate([bot.alice, bot.bob] * 3)]
        for each in asked:
            await each.until(shows("Done"), within=SOON)
            assert bot.job(each)["provider"] == "runflow"
            assert bot.charged(each) == ("settle", 1, 80_000)
        notification = await bot.operators.until(shows("RunComfy is out of credit"), within=SOON)

        assert bot.operators.messages == [notification]
        assert len([each for each in host.log if each.op == "submit" and each.status == 402]) <= 4, "it is left alone"
        assert sorted(each.host for each in host.runs.values()) == ["runcomfy"] + ["runflow"] * 6
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_request_that_only_one_provider_offers_goes_there(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_both(tmp_path, host) as bot:
        asked = await bot.asks(bot.alice, "think it over", thinking="high", aspect_ratio="8:1")
        await asked.until(shows("Done"), within=SOON)

        assert bot.charged(asked) == ("settle", 1, 82_000)
        (run,) = bot.runs("think it over")
        assert run.host == "runflow"
        assert all(not each.note for each in host.log)


async def test_a_kill_during_a_submit_never_sends_the_request_to_the_other_provider(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_both(tmp_path, host) as bot:
        host.faults.replace([Fault("submit", "latency", host="runcomfy", seconds=60)])
        asked = await bot.asks(bot.alice, "killed")
        await bot.until(lambda: bot.runs("killed"))

        await bot.restart()

        await asked.until(shows(UNSURE), within=SOON)
        assert [each.host for each in bot.runs("killed")] == ["runcomfy"]
        assert bot.host_cost(asked) == "assumed"


async def test_many_jobs_with_a_failing_provider_are_all_accounted_for(tmp_path: Path) -> None:
    proven = ("429", "envelope_503", "status:402", "status:408", "status:401")
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_both(tmp_path, host) as bot:
        host.faults.replace([Fault("submit", name, host="runcomfy", times=2, match=f"[{name}]") for name in proven])
        asked = [await bot.asks(bot.alice, f"picture {n} [{name}]") for n, name in enumerate(proven * 2)]
        await asyncio.gather(*(each.until(shows("Done"), within=SOON) for each in asked))

        assert len(host.runs) == len(asked)
        assert bot.books() == {"reserve": len(asked), "settle": len(asked)}
        await bot.at_rest()
        bot.assert_at_rest()

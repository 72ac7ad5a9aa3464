"""The same bot with Runflow as its only host: pictures, and submits whose answer was lost."""

import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from bot.sandbox.faults import Fault
from bot.sandbox.upstream import ImageService
from tests.scenarios.harness import NO_LIMITS, QUICK, SOON, Scene, scene, shows


def at_runflow(folder: Path, host: ImageService) -> AbstractAsyncContextManager[Scene]:
    url = host.runflow_url
    return scene(
        folder,
        beside=host,
        **NO_LIMITS,
        routing__prefer='["runflow"]',
        runflow__api_key="rf_live_a-key-for-the-host",
        runflow__api_base=url,
        runflow__result_hosts=json.dumps([url.removeprefix("http://"), host.url.removeprefix("http://")]),
    )


async def test_runflow_draws_and_is_never_sent_what_it_must_not(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK).running() as host, at_runflow(tmp_path, host) as bot:
        asked = await bot.asks(bot.alice, "a lighthouse", count=2)
        await asked.until(shows("Done"), within=SOON)
        assert bot.charged(asked) == ("settle", 2, 160_000)
        (job_id,) = [row[0] for row in bot.rows("SELECT id FROM jobs")]
        (run,) = host.ordered(job_id)
        assert run.host == "runflow"
        assert all(not each.note for each in host.log), "sync_mode, for one"
        assert {each.host for each in host.log if each.op == "submit"} == {"runflow"}


async def test_a_submit_whose_answer_was_lost_is_found_by_our_own_reference(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK).running() as host, at_runflow(tmp_path, host) as bot:
        for n, search in enumerate(([], [Fault("search", "unfilterable")])):
            host.faults.replace([Fault("submit", "accepted_then_lost", times=1), *search])
            asked = await bot.asks(bot.alice, f"lost {n}")
            await asked.until(shows("Done"), within=SOON)
            assert bot.charged(asked) == ("settle", 1, 80_000)
        assert len([each for each in host.log if each.op == "submit"]) == 2

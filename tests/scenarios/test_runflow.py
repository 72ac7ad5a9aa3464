"""The bot with Runflow as its only provider: pictures, lost answers, callbacks, hidden jobs."""

import asyncio
import json
import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.faults import Fault
from bot.sandbox.service import ImageService
from tests.scenarios.harness import NO_LIMITS, QUICK, SMALL, SOON, TIMING, Scene, scene, shows

pytestmark = pytest.mark.prove  # a bot of its own for each; what each part decides has its tests beside it

SECRETS = ["whsec_of_the_day", "whsec_of_tomorrow"]


def at_runflow(folder: Path, host: ImageService, **settings: Any) -> AbstractAsyncContextManager[Scene]:
    url = host.runflow_url
    return scene(
        folder,
        beside=host,
        **NO_LIMITS,
        routing__prefer='["runflow"]',
        runflow__api_key="rf_live_a-key-for-the-host",
        runflow__api_base=url,
        runflow__result_hosts=json.dumps([url.removeprefix("http://"), host.url.removeprefix("http://")]),
        **settings,
    )


def called_back(folder: Path, host: ImageService, **settings: Any) -> AbstractAsyncContextManager[Scene]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return at_runflow(
        folder,
        host,
        web__port=port,
        web__public_url=f"http://127.0.0.1:{port}",
        runflow__webhook_secrets=json.dumps(SECRETS),
        runflow__max_in_flight=8,
        **settings,
    )


async def draws(bot: Scene, times: int) -> None:
    asked = [await bot.asks(bot.alice, f"picture {n}") for n in range(times)]
    async with asyncio.TaskGroup() as group:
        for each in asked:
            group.create_task(each.until(shows("Done"), within=SOON))
    await bot.at_rest()
    bot.assert_at_rest()
    assert set(bot.states()) == {"succeeded"}


async def test_runflow_makes_pictures_and_never_gets_forbidden_fields(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_runflow(tmp_path, host) as bot:
        asked = await bot.asks(bot.alice, "a lighthouse", count=2, thinking="high", aspect_ratio="8:1")
        await asked.until(shows("Done"), within=SOON)
        assert bot.charged(asked) == ("settle", 2, 164_000)
        (job_id,) = [row[0] for row in bot.rows("SELECT id FROM jobs")]
        (run,) = host.ordered(job_id)
        assert (run.host, run.cost_micro_usd) == ("runflow", 164_000)
        assert all(not each.note for each in host.log), "sync_mode, for one"
        assert {each.host for each in host.log if each.op == "submit"} == {"runflow"}


async def test_a_submit_whose_answer_was_lost_is_found_by_our_own_reference(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_runflow(tmp_path, host) as bot:
        for n, search in enumerate(([], [Fault("search", "unfilterable", times=None)])):
            host.faults.replace([Fault("submit", "accepted_then_lost", times=1), *search])
            asked = await bot.asks(bot.alice, f"lost {n}")
            await asked.until(shows("Done"), within=SOON)
            assert bot.charged(asked) == ("settle", 1, 80_000)
        assert len([each for each in host.log if each.op == "submit"]) == 2


async def test_callbacks_avoid_almost_all_superfluous_polls(tmp_path: Path) -> None:
    async with (
        ImageService(pace=QUICK, scale=SMALL, webhook_secrets=SECRETS).running() as host,
        called_back(tmp_path, host) as bot,
    ):
        await draws(bot, 20)
        await host.callbacks.settled()
        polls = len([each for each in host.log if each.op == "run"])
        assert len(host.callbacks.deliveries) == 20
        assert all(each.delivered for each in host.callbacks.deliveries)
        assert polls - 20 <= 0.05 * 20
        assert all(secret not in bot.bot.log for secret in SECRETS)
        assert all(each.url.rpartition("/")[2] not in bot.bot.log for each in host.callbacks.deliveries)


async def test_a_hidden_job_is_charged_and_kept_for_its_owner_and_never_shown_in_the_channel(tmp_path: Path) -> None:
    async with ImageService(pace=QUICK, scale=SMALL).running() as host, at_runflow(tmp_path, host) as bot:
        host.hold = True
        asked = await bot.asks(bot.alice, "out of sight")
        shown = await asked.until(shows("Queued"), within=SOON)
        host.advance(host.accepted[0], "in_progress")
        await asked.until(shows("Generating"), within=SOON)
        await bot.alice.click(shown, label="Hide")
        await asked.until(shows("Hidden"), within=SOON)
        await bot.restart()
        host.hold = False
        ended = await asked.until(shows("The pictures are in `/jobs` until"), within=SOON)
        await bot.at_rest()

        assert bot.charged(asked) == ("settle", 1, 80_000)
        listed = await bot.alice.slash(bot.channel, "jobs")
        page = (await listed.acked()).message
        assert page is not None
        assert "Hidden" in page.text
        pressed = await bot.alice.click(page, label="Check now")
        handed = await pressed.followed_up(shows("Done"), within=SOON)
        assert (handed.ephemeral, len(handed.files())) == (True, 1)
        assert bot.channel.messages == [ended]
        assert not any(each.files() for each in ended.history)
        assert "Hidden" in ended.text
        assert listed.followups == []
        bot.assert_at_rest()


async def test_every_job_ends_when_all_callbacks_are_invalid(tmp_path: Path) -> None:
    timing = {**TIMING, "soft": 0.5}
    bad = ("callback:lost", "callback:bad_signature", "callback:unsigned", "callback:reserialised")
    async with (
        ImageService(pace=QUICK, scale=SMALL, webhook_secrets=SECRETS).running() as host,
        called_back(tmp_path, host, timing=timing) as bot,
    ):
        for each in bad:
            host.faults.replace([Fault("callback", each, times=None)])
            await draws(bot, 2)
        assert len(host.callbacks.deliveries) == 2 * len(bad)
        assert not [each for each in host.callbacks.deliveries if each.delivered]


async def test_early_repeated_and_newly_signed_callbacks_give_the_same_result(tmp_path: Path) -> None:
    odd = [Fault("submit", "callback:early", times=2), Fault("callback", "callback:repeat", times=2)]
    odd += [Fault("callback", "callback:second_secret", times=2), Fault("callback", "callback:image_urls", times=1)]
    async with (
        ImageService(pace=QUICK, scale=SMALL, webhook_secrets=SECRETS).running() as host,
        called_back(tmp_path, host) as bot,
    ):
        host.faults.replace(odd)
        await draws(bot, 8)
        await host.callbacks.settled()
        assert all(each.delivered for each in host.callbacks.deliveries)
        assert bot.books() == {"reserve": 8, "settle": 8}

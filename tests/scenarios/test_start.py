"""The bot's start, and starts with something missing."""

import socket
from pathlib import Path

import aiohttp

from bot.sandbox.faults import Fault
from tests.scenarios.conftest import BOTH
from tests.scenarios.harness import SOON, scene, shows


async def test_the_bot_starts_while_discord_is_unreachable(tmp_path: Path) -> None:
    async with scene(tmp_path, start=False) as bot:
        await bot.discord.down()
        await bot.bot.start()
        await bot.until(lambda: "Discord cannot be reached" in bot.bot.log)
        await bot.discord.up()
        await bot.connected()

        asked = await bot.alice.slash(bot.channel, "imagine", prompt="a lighthouse")
        await asked.until(shows("Done"), within=SOON)
        bot.assert_in_order()


async def test_a_port_in_use_ends_the_program_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with scene(tmp_path, start=False, web__port=port) as bot:
            await bot.bot.start()

            assert await bot.bot.exited() == 2
            where = f"127.0.0.1, port {port} (Address already in use)"
            assert bot.bot.log.splitlines()[-1].startswith(f"darkroom: the web server cannot listen on {where}: change")
            assert "Traceback" not in bot.bot.log


@BOTH
async def test_the_bot_is_healthy_and_ready_and_its_metrics_show_a_job(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        url = bot.bot.log.split("Health is at ")[1].split()[0]
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            report = await answer.json()
        assert (answer.status, report["ok"]) == (200, True), report

        site = url.removesuffix("/healthz")
        asked = await bot.alice.slash(bot.channel, "imagine", prompt="a lighthouse")
        await asked.until(shows("Done"), within=SOON)
        await bot.at_rest()
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{site}/readyz") as answer:
                assert (answer.status, await answer.text()) == (200, "ready\n")
            async with http.get(f"{site}/metrics") as answer:
                text = await answer.text()

    for line in (
        'darkroom_jobs_ended_last_hour{state="succeeded"} 1.0',
        "darkroom_settled_images 1.0",
        "darkroom_acknowledgement_seconds_count 1.0",
        'darkroom_provider_requests_total{call="submit",outcome="ok",provider="runcomfy"} 1.0',
        'darkroom_audit_findings{kind="totals"} 0.0',
        'darkroom_provider_trouble{kind="down",provider="runcomfy"} 0.0',
    ):
        assert line in text.splitlines(), text
    assert str(bot.alice.id) not in text


async def test_a_removed_model_and_a_low_balance_are_reported_at_the_start(tmp_path: Path) -> None:
    async with scene(tmp_path, start=False, routing__low_balance_usd="1000") as bot:
        gone = {"error_code": 400001, "error_message": "InvalidResourceIdentifier"}
        bot.host.faults.add(Fault("model", "status:404", nth=4, body=gone))
        await bot.start()
        notification = "RunComfy no longer offers Nano Banana Pro as google/nano-banana/pro/text-to-image"
        await bot.operators.until(shows(notification), within=SOON)
        await bot.operators.until(shows("down to $25.00"), within=SOON)

        refused = await bot.alice.slash(bot.channel, "imagine", prompt="a lighthouse", model="nano-banana-pro")
        asked = await bot.alice.slash(bot.channel, "imagine", prompt="a lighthouse")
        refusal = (await refused.acked()).message
        assert refusal is not None
        assert "This model is unavailable right now" in refusal.text
        await asked.until(shows("Done"), within=SOON)
        assert len(bot.operators.messages) == 2
        bot.assert_in_order()

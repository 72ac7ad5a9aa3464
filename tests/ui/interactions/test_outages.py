"""Outages that only the operator can fix, as members see them."""

import asyncio
import logging
from pathlib import Path

import discord
import pytest

from bot.core.jobs import HOUR, MINUTE
from bot.ui.interactions.timeouts import AckDeadline
from tests.disk import files_up_to
from tests.ui.stage import Stage, on_stage, text
from tests.ui.transport.test_sockets import SOON, connected


@on_stage()
async def test_a_full_disk_is_reported_to_members_without_a_traceback(
    on: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    _, job = await on.imagine()
    shown = (await on.card(job)).message
    with files_up_to(1), caplog.at_level(logging.INFO):
        refused = await on.alice.slash(on.channel, "imagine", prompt="a lighthouse")
        pressed = await on.alice.click(shown, label="Cancel")

    for answer in (refused, pressed):
        assert "The bot's disk reports errors. Nothing was done. Only the bot's operator" in text(answer)
    assert refused.ephemeral
    assert [each for each in caplog.records if each.exc_info] == []
    assert (await on.rig.job(job.id)).ended_at is None
    await on.rig.services.outages.check()
    assert "Waiting" in text(await on.alice.slash(on.channel, "imagine", prompt="a lighthouse"))


async def test_a_card_whose_acknowledgement_was_not_stored_is_found_and_the_job_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = files_up_to(1)

    def fills_up(_: str, path: str) -> bool:
        if path.endswith("/callback"):
            full.__enter__()
        return False

    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        fault = on.discord.fault(fills_up, do="500", times=None)
        asked = await alice.slash(channel, "imagine", prompt="a lighthouse")
        ack = await asked.acked(within=SOON)
        async with asyncio.timeout(SOON):
            while not on.rig.services.outages.current:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        full.__exit__(None, None, None)
        fault.stop()

        job = await on.job()
        assert ack.message is not None
        assert (job.acked_at, asked.followups) == (None, [])  # the card is correct: for Alice nothing has failed
        on.rig.found_replies[job.id] = (ack.message.id, False)
        await on.rig.services.outages.check()
        await on.rig.turn(4)
        assert on.rig.provider.submitted == [job.id]


@pytest.mark.parametrize(
    ("ages", "off"),
    [
        ([100] * 5, False),
        ([-2 * MINUTE], True),  # from the future: our clock is behind
        ([HOUR], False),  # a single late interaction
        ([HOUR] * 5, True),
        ([HOUR] * 4 + [200], False),
        ([3 * MINUTE] * 5, False),  # missed by a broken connection
    ],
)
def test_a_wrong_clock_is_distinguished_from_late_interactions(ages: list[int], *, off: bool) -> None:
    lateness = AckDeadline()
    sent = discord.utils.time_snowflake(discord.utils.snowflake_time(1 << 60), high=False)
    for age in ages:
        lateness.has_passed(sent, now=int(discord.utils.snowflake_time(sent).timestamp() * 1000) + age)

    assert lateness.clock_is_off is off


def test_in_a_burst_the_delay_is_counted_from_the_quickest_interaction_of_the_last_minute() -> None:
    deadline, sent = AckDeadline(), discord.utils.time_snowflake(discord.utils.utcnow())
    at = int(discord.utils.snowflake_time(sent).timestamp() * 1000)
    ahead = 40_000  # our clock
    deadline.delay(sent, now=at + ahead)
    assert [deadline.delay(sent, now=at + ahead + 50 * n) for n in range(1, 21)] == [50 * n for n in range(1, 21)]
    assert deadline.delay(sent, now=at + ahead + 70_000) == 70_000 - 800  # of the last five, whatever their time

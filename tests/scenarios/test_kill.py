"""The bot is killed in every state of a job: paid pictures arrive, and nothing is paid twice."""

import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.sandbox.faults import Fault
from bot.sandbox.service import Pace
from tests.discord.interactions import Interaction
from tests.scenarios.harness import NO_LIMITS, SOON, Bot, Scene, scene, shows

DONE, UNSURE = "Done", "never confirmed that it received this"
Stage = Callable[[Scene], Awaitable[Interaction]]


async def waiting_in_line(bot: Scene) -> Interaction:
    bot.host.hold = True
    first = await bot.asks(bot.bob, "before it")
    await bot.reaches(first, "queued")
    asked = await bot.asks(bot.alice, "killed")
    await bot.until(lambda: bot.job(asked)["acked_at"])
    return asked


async def submitting(bot: Scene) -> Interaction:
    """The provider has accepted the run and answers slowly."""
    bot.host.faults.add(Fault("submit", "latency", seconds=60))
    asked = await bot.asks(bot.alice, "killed")
    await bot.until(lambda: bot.runs("killed"))
    return asked


async def submitting_in_vain(bot: Scene) -> Interaction:
    """The provider has read the request and done nothing yet."""
    bot.host.faults.add(Fault("submit", "hang"))
    asked = await bot.asks(bot.alice, "killed")
    await bot.until(lambda: any(each.op == "submit" for each in bot.host.log))
    return asked


async def queued(bot: Scene) -> Interaction:
    bot.host.hold = True
    asked = await bot.asks(bot.alice, "killed")
    await bot.reaches(asked, "queued")
    return asked


async def running(bot: Scene) -> Interaction:
    asked = await queued(bot)
    bot.host.advance(bot.host.accepted[0], "in_progress")
    await bot.reaches(asked, "running")
    return asked


async def collecting(bot: Scene) -> Interaction:
    bot.host.faults.add(Fault("submit", "file:slow", seconds=60))
    asked = await bot.asks(bot.alice, "killed", count=2)
    await bot.until(lambda: any(each.op == "file" for each in bot.host.log))
    assert bot.job(asked)["state"] == "collecting"
    bot.host.runs[bot.host.accepted[0]].faults.clear()
    return asked


async def not_delivered(bot: Scene) -> Interaction:
    asked = await queued(bot)
    await bot.discord.down()
    bot.host.hold = False
    await bot.reaches(asked, "succeeded")
    await bot.bot.kill()
    await bot.discord.up()
    return asked


async def cancel_wanted(bot: Scene) -> Interaction:
    asked = await queued(bot)
    bot.host.faults.add(Fault("cancel", "hang"))
    card = await asked.until(shows("Queued"), within=SOON)
    await bot.alice.click(card, label="Cancel")
    await bot.until(lambda: any(each.op == "cancel" for each in bot.host.log))
    assert bot.job(asked)["cancel"] == "wanted"
    return asked


async def shown_but_not_recorded(bot: Scene) -> Interaction:
    """Discord accepts the first card at the moment the bot is killed."""

    def callback(_: str, path: str) -> bool:
        is_callback = path.endswith("/callback") and bot.bot.process is not None
        if is_callback and bot.bot.process is not None:
            os.kill(bot.bot.process.pid, signal.SIGKILL)
        return is_callback

    bot.discord.fault(callback, do="accepted_then_lost")
    asked = await bot.alice.slash(bot.channel, "imagine", prompt="killed")
    await asked.acked()
    assert bot.job(asked)["acked_at"] is None
    return asked


@pytest.mark.parametrize(
    ("stage", "ends"),
    [
        pytest.param(waiting_in_line, DONE, marks=pytest.mark.prove),
        (submitting, UNSURE),
        pytest.param(submitting_in_vain, UNSURE, marks=pytest.mark.prove),
        pytest.param(queued, DONE, marks=pytest.mark.prove),
        pytest.param(running, DONE, marks=pytest.mark.prove),
        (collecting, DONE),
        (not_delivered, DONE),
        pytest.param(cancel_wanted, "Cancelled", marks=pytest.mark.prove),
        (shown_but_not_recorded, DONE),
    ],
)
async def test_a_job_survives_the_bot_being_killed(tmp_path: Path, stage: Stage, ends: str) -> None:
    async with scene(tmp_path, runcomfy__max_in_flight=1) as bot:
        asked = await stage(bot)
        if bot.bot.process is not None:
            await bot.bot.kill()
        await bot.discord.until(lambda: not bot.discord.gateway.live, within=SOON)
        await bot.start()
        bot.host.hold = stage is cancel_wanted
        card = await asked.until(shows(ends), within=SOON)

        count = bot.job(asked)["images"] or 1
        assert bot.charged(asked) == ("settle" if ends == DONE else "release", count, count * 80_000)
        assert len(bot.runs("killed")) == (0 if stage is submitting_in_vain else 1)
        await bot.at_rest()
        assert len(card.files()) == (count if ends == DONE else 0)
        assert card in bot.channel.messages
        assert len(bot.channel.messages) == len(bot.states())
        bot.assert_at_rest()


@pytest.mark.prove
async def test_a_job_whose_card_discord_never_accepted_costs_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        hanging = bot.discord.fault("callback", do="hang")
        asked = await bot.alice.slash(bot.channel, "imagine", prompt="never shown")
        await bot.until(lambda: hanging.hits and bot.job(asked))
        await bot.restart()
        job = await bot.reaches(asked, "cancelled")

        assert job["reason"] == "unacknowledged"
        assert bot.charged(asked) == ("release", 1, 80_000)
        assert bot.host.accepted == []
        assert bot.channel.messages == []
        bot.assert_at_rest()


async def test_a_stopping_bot_finishes_its_steps_and_a_second_bot_does_not_start_beside_it(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        bot.host.faults.add(
            Fault("submit", "latency", match="slow to take", seconds=1),
            Fault("submit", "file:slow", match="slow to fetch", seconds=1),
        )
        bot.host.faults.add(Fault("submit", "stuck_queue", match="in the queue"))
        fetching = await bot.asks(bot.alice, "slow to fetch")
        in_queue = await bot.asks(bot.alice, "in the queue")
        sending = await bot.asks(bot.bob, "slow to take")
        await bot.reaches(in_queue, "queued")
        await bot.reaches(fetching, "collecting")
        await bot.until(lambda: bot.runs("slow to take"))
        assert bot.job(sending)["state"] == "submitting"

        assert await bot.bot.stop() == 0
        assert [bot.job(each)["state"] for each in (fetching, in_queue, sending)] == ["succeeded", "queued", "queued"]
        assert "Done" in bot.card(fetching).text
        bot.host.advance(bot.runs("in the queue")[0].id, "completed")
        bot.runs("in the queue")[0].faults.clear()
        await bot.start()
        (tmp_path / "second").mkdir()
        second = Bot(tmp_path / "second", bot.bot.env)
        await second.start()
        assert await second.exited() == 2
        (line,) = second.log.splitlines()
        assert line.startswith("darkroom: ")
        for each in (fetching, in_queue, sending):
            await each.until(shows("Done"), within=SOON)
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_stopping_bot_accepts_no_new_jobs_and_keeps_the_accepted_ones(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        bot.host.faults.add(Fault("submit", "latency", seconds=1))
        taken = [await bot.asks(bot.alice, "keeps it busy")]
        await bot.until(lambda: bot.host.accepted)
        assert bot.bot.process is not None
        bot.bot.process.send_signal(signal.SIGTERM)
        asked = await bot.asks(bot.bob, "the signal and this one race")
        while "nothing was started" not in bot.card(asked).text:
            taken.append(asked)
            asked = await bot.asks(bot.bob, f"too late? {len(taken)}")

        assert asked.first is not None
        assert asked.first.ephemeral
        assert bot.job(asked) == {}
        assert await bot.bot.exited() == 0
        assert len(bot.states()) == len(taken)
        await bot.start()
        for each in taken:
            await each.until(shows(DONE), within=SOON)
        await bot.at_rest()
        bot.assert_at_rest()


@pytest.mark.prove
@pytest.mark.parametrize("seed", [20261121])
async def test_repeated_kills_lose_nothing_and_charge_nothing_twice(tmp_path: Path, seed: int) -> None:
    """Six kills at random moments while two members request nine jobs."""
    dice = random.Random(seed)
    pace = Pace(queue_s=0.1, run_s=0.2, slots=2)
    async with scene(tmp_path, pace=pace, **NO_LIMITS) as bot:
        asked: list[Interaction] = []

        for life in range(6):
            now = [bot.alice, bot.bob] if life % 2 else [bot.alice]
            for member in now:
                prompt = f"job {len(asked)}."
                asked.append(await member.slash(bot.channel, "imagine", prompt=prompt, count=dice.choice([1, 1, 3])))
            await bot.until(
                _comes_to(bot, asked[-len(now) :], traffic=_traffic(bot) + dice.randrange(1, 13 * len(now)))
            )
            await bot.restart()
        await bot.at_rest()

        assert len(asked) == 9
        assert len(bot.states()) > 4, "most of them must have begun for this to prove anything"
        bot.assert_at_rest()
        for each in asked:
            _assert_one_ending(bot, each)


def _traffic(bot: Scene) -> int:
    return len(bot.host.log) + len(bot.discord.requests)


def _comes_to(bot: Scene, asked: list[Interaction], *, traffic: int) -> Callable[[], bool]:
    """Whether so many requests were made, or all jobs are finished."""

    def check() -> bool:
        idle = all(each.first for each in asked) and not _unfinished(bot)
        return idle or _traffic(bot) >= traffic

    return check


def _unfinished(bot: Scene) -> bool:
    return bool(bot.rows("SELECT 1 FROM jobs WHERE ended_at IS NULL"))


def _assert_one_ending(bot: Scene, asked: Interaction) -> None:
    """Every shown card shows the end of its job; a job that was never shown was never submitted."""
    job = bot.job(asked)
    if asked.message is None:
        assert job.get("state", "cancelled") == "cancelled"
        assert bot.runs(asked.data["options"][0]["value"]) == []
        return
    words = {"succeeded": DONE, "failed": "Failed", "cancelled": "Cancelled"}
    assert words[job["state"]] in asked.message.text
    assert len(asked.message.files()) == job["images"]

"""200 concurrent jobs in one process: are all delivered, and how fast are interactions acknowledged meanwhile?

The bot is a process of its own with the shipped catalogue's timing; Discord and the image service run here. All
jobs are submitted and held; then they finish one by one, log-normally spread (median 12 s, longest 45 s), while a
member keeps asking for /usage.
"""

import asyncio
import random
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from bot.core.polling import Timing
from bot.sandbox.service import Pace
from tests.discord.interactions import Interaction
from tests.scenarios.harness import Scene, scene, shows

JOBS, MEMBERS = 200, 20
MEDIAN, SIGMA, LONGEST = 12.0, 0.732, 45.0
SHIPPED = {name: getattr(Timing(), name) for name in ("shortest", "soft", "hard", "rare", "give_up")}
NO_LIMITS = dict.fromkeys(
    ("user_day_images", "user_day_usd", "guild_month_usd", "host_month_usd", "user_in_flight", "guild_in_flight"),
    "none",
)


def main() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {f"quota__{name}": value for name, value in NO_LIMITS.items()}
    settings["runcomfy__max_in_flight"] = JOBS
    async with scene(folder, pace=Pace(0, 0, None), timing=SHIPPED, **settings) as bot:
        bot.host.hold = True
        asked = await _ask(bot)
        acks = [(await each.acked()).ms for each in asked]
        await _all_in_flight(bot)
        stop = asyncio.Event()
        watcher = asyncio.create_task(_keep_asking(bot, stop))
        delays = await asyncio.gather(*(_finish(bot, each) for each in asked))
        stop.set()
        during = await watcher
        delivered = sum(1 for state in bot.states() if state == "succeeded")
        polls = sum(1 for each in bot.host.log if each.op == "status")
        bot.assert_in_order()
    seen = [each for each in delays if each is not None]
    return [
        _row("jobs", JOBS, ""),
        _row("delivered", min(delivered, len(seen)), ""),
        _row("ack_burst_p50", _percentile(acks, 50), "ms"),
        _row("ack_burst_max", max(acks), "ms"),
        _row("ack_during_p50", _percentile(during, 50), "ms"),
        _row("ack_during_max", max(during), "ms"),
        _row("acks_during", len(during), ""),
        _row("finished_to_visible_p50", _percentile(seen, 50), "s"),
        _row("finished_to_visible_p95", _percentile(seen, 95), "s"),
        _row("status_polls_per_job", polls / JOBS, ""),
    ]


async def _ask(bot: Scene) -> list[Interaction]:
    members = [bot.discord.add_member(f"member{n}", bot.guild) for n in range(MEMBERS)]
    asked = []
    for n in range(JOBS):
        member = members[n % MEMBERS]
        asked.append(await member.slash(bot.channel, "imagine", prompt=f"harbour {n}", resolution="0.5K", seed=n + 1))
    return asked


async def _all_in_flight(bot: Scene) -> None:
    async with asyncio.timeout(120):
        while len(bot.host.accepted) < JOBS:
            await asyncio.sleep(0.05)


async def _finish(bot: Scene, asked: Interaction) -> float | None:
    """Let one run finish at its time; seconds until its picture is visible in Discord."""
    draw = random.Random(asked.id)
    await asyncio.sleep(min(LONGEST, MEDIAN * draw.lognormvariate(0, SIGMA)))
    run_id = await asyncio.to_thread(_run_of, bot, asked)
    bot.host.advance(run_id, "completed")
    began = time.monotonic()
    try:
        await asked.until(shows("Done"), within=120)
    except TimeoutError:
        return None
    return time.monotonic() - began


def _run_of(bot: Scene, asked: Interaction) -> str:
    assert asked.message is not None
    (row,) = bot.rows(
        "SELECT run_id FROM jobs JOIN replies ON replies.job = jobs.id WHERE message_id = ?", int(asked.message.id)
    )
    return str(row[0])


async def _keep_asking(bot: Scene, stop: asyncio.Event) -> list[float]:
    took = []
    while not stop.is_set():
        asked = await bot.bob.slash(bot.channel, "usage")
        took.append((await asked.acked()).ms)
        await asyncio.sleep(0.1)
    return took


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}

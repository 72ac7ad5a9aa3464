"""1,000 commands in one second, then 30 a second: is each shown a card or refused in time, and how soon?

The bot is a process of its own with the shipped catalogue's timing; Discord and the image service run here. The service
takes every job and finishes none, so that the commands compete with submitting and polling.
"""

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.jobs200 import NO_LIMITS, SHIPPED
from bot.sandbox.service import Pace
from tests.discord.interactions import ANSWER_TIMEOUT, Interaction
from tests.scenarios.harness import Scene, scene

COMMANDS, MEMBERS, SECONDS = 1000, 100, 1.0
STEADY_PER_SECOND, STEADY_SECONDS = 30, 35  # more than a thousand commands, for a p99.9
GRACE = 1.0  # seconds after Discord's timeout until a command without an answer counts as lost
TICK = os.sysconf("SC_CLK_TCK")  # units of processor time a second


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of commands, and the milliseconds until each answer."""

    cards: list[float]
    refusals: list[float]
    lost: int
    cpu_seconds: float  # of the bot, from the first command to the last answer


def main() -> list[dict[str, Any]]:
    burst = asyncio.run(_measure(f"burst_{COMMANDS}", count=COMMANDS, seconds=SECONDS))
    count = STEADY_PER_SECOND * STEADY_SECONDS
    return burst + asyncio.run(_measure(f"steady_{STEADY_PER_SECOND}", count=count, seconds=STEADY_SECONDS))


async def _measure(name: str, *, count: int, seconds: float) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {f"quota__{name}": value for name, value in NO_LIMITS.items()}
    settings |= {"quota__host_in_flight": "none", "runcomfy__max_in_flight": COMMANDS}
    pace = Pace(0, 0, None)
    with tempfile.TemporaryDirectory() as folder:
        async with scene(Path(folder), pace=pace, timing=SHIPPED, **settings) as bot:
            bot.host.hold = True
            answers = await _send(bot, count=count, seconds=seconds)
            withdrawn = bot.rows("SELECT count(*) FROM jobs WHERE reason = 'unacknowledged'")[0][0]
    return [*_rows(name, answers), _row(f"{name}_withdrawn", withdrawn, "")]


async def _send(bot: Scene, *, count: int, seconds: float) -> Answers:
    members = [bot.discord.add_member(f"member{n}", bot.guild) for n in range(MEMBERS)]
    began, cpu = time.perf_counter(), _cpu_seconds(bot)
    asked = []
    for n in range(count):
        await asyncio.sleep(began + n * seconds / count - time.perf_counter())
        member = members[n % MEMBERS]
        asked.append(await member.slash(bot.channel, "imagine", prompt=f"harbour {n}", resolution="0.5K", seed=n + 1))
    await _answered(asked)
    acks = [each.first for each in asked if each.first is not None]
    return Answers(
        cards=[each.ms for each in acks if not each.ephemeral],
        refusals=[each.ms for each in acks if each.ephemeral],
        lost=len(asked) - len(acks),
        cpu_seconds=_cpu_seconds(bot) - cpu,
    )


async def _answered(asked: list[Interaction]) -> None:
    end = time.perf_counter() + ANSWER_TIMEOUT + GRACE
    while any(each.first is None for each in asked) and time.perf_counter() < end:
        await asyncio.sleep(0.05)


def _cpu_seconds(bot: Scene) -> float:
    """The processor time that the bot's process has used."""
    assert bot.bot.process is not None
    fields = Path(f"/proc/{bot.bot.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK  # proc(5): utime and stime, counted from the state


def _rows(name: str, answers: Answers) -> list[dict[str, Any]]:
    taken = len(answers.cards)
    return [
        _row(f"{name}_taken", taken, ""),
        _row(f"{name}_refused", len(answers.refusals), ""),
        _row(f"{name}_lost", answers.lost, ""),
        *_times(f"{name}_ack", answers.cards),
        *_times(f"{name}_refusal", answers.refusals),
        _row(f"{name}_cpu_per_taken", 1000 * answers.cpu_seconds / max(1, taken), "ms"),
    ]


def _times(name: str, ms: list[float]) -> list[dict[str, Any]]:
    if len(ms) < 2:
        return []
    cuts = quantiles(ms, n=1000, method="inclusive")
    found = {"p50": cuts[499], "p99": cuts[989], "p999": cuts[998], "max": max(ms)}
    return [_row(f"{name}_{each}", value, "ms") for each, value in found.items()]


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}

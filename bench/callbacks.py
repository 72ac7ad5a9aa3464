"""A flood of invalid callbacks: does memory stay constant, are interactions acknowledged as fast as before?

The bot is a process of its own, with callbacks on; Discord, the image service and a member who keeps asking for
pictures run here, the flood (bench/_flood.py) is a third process, all on 127.0.0.1. Nothing but the bot slows the
flood down, so it takes all the processor it can get. On two cores that alone delays acknowledgements: in `busy` a
process that only burns as much is there instead of it.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp

from bot.core.polling import Timing
from bot.sandbox.faults import Fault
from bot.sandbox.runflow.runs import FlowRun
from bot.sandbox.service import ImageService, Pace
from tests.scenarios.harness import Scene
from tests.scenarios.test_runflow import SECRETS, called_back

METRICS_TOKEN = "token-of-the-benchmark"  # noqa: S105 - of a bot that runs here for a minute
ADDRESSES, ASKED = 4, 200
EVERY = 0.01  # seconds between an acknowledged /imagine and the next
FORGED = {"forged": (10_000, 16)}  # how many, and how many at once
ALL = FORGED | {"slow": (600, 200), "large": (200, 4), "chunked": (200, 4), "silent": (300, 300)}
BURN = ["-c", "while True: pass"]


@dataclass
class Phase:
    """The same interactions, with or without a load beside them."""

    name: str
    acks: list[float] = field(default_factory=list)  # milliseconds
    resident: list[float] = field(default_factory=list)  # megabytes, ten times a second
    descriptors: list[int] = field(default_factory=list)  # open at the same moments
    lag: float = 0.0  # seconds that the bot's loop was late, on average
    said: dict[str, Any] = field(default_factory=dict)


def main() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[dict[str, Any]]:
    async with (
        ImageService(pace=Pace(0, 0, None), webhook_secrets=SECRETS).running() as host,
        called_back(
            folder, host, timing=asdict(Timing()), quota__host_month_usd="none", web__metrics_token=METRICS_TOKEN
        ) as bot,
    ):
        addresses = await _addresses(bot)
        host.faults.replace([Fault("submit", "status:422", times=None)])  # later jobs end at once
        await _phase(bot, "warm")
        phases = [
            await _phase(bot, "quiet"),
            await _phase(bot, "busy", BURN),
            await _phase(bot, "forged", _flood(addresses, FORGED)),
            await _phase(bot, "all", _flood(addresses, ALL)),
            await _phase(bot, "again", _flood(addresses, ALL)),
            await _phase(bot, "after"),
        ]
        bot.assert_in_order()
    return [row for each in phases for row in (*_rows(each), *_came(each))]


async def _addresses(bot: Scene) -> dict[str, str]:
    """Callback addresses of runs that do not end."""
    bot.host.hold = True
    for n in range(ADDRESSES):
        await bot.asks(bot.alice, f"held {n}")
    await bot.until(lambda: len(bot.rows("SELECT 1 FROM jobs WHERE run_id IS NOT NULL")) == ADDRESSES)
    runs = [each for each in bot.host.runs.values() if isinstance(each, FlowRun)]
    return {each.id: each.callback_url or "" for each in runs}


def _flood(addresses: dict[str, str], kinds: dict[str, tuple[int, int]]) -> list[str]:
    return ["-m", "bench._flood", json.dumps({"addresses": addresses, "kinds": kinds, "secret": SECRETS[0]})]


async def _phase(bot: Scene, name: str, beside: list[str] | None = None) -> Phase:
    """Measure so many interactions; with a flood *beside* them, until it is over."""
    phase, before, flooded = Phase(name), await _lag(bot), beside is not None and beside is not BURN
    async with _running(beside) as says, _watched(bot, phase):
        while not says.done() if flooded else len(phase.acks) < ASKED:
            asked = await bot.bob.slash(bot.channel, "imagine", prompt=f"{name} {len(phase.acks)}")
            phase.acks.append((await asked.acked()).ms)
            await asyncio.sleep(EVERY)
        if flooded:
            phase.said = json.loads(says.result())
    late, ticks = (new - old for new, old in zip(await _lag(bot), before, strict=True))
    phase.lag = late / max(ticks, 1)
    return phase


@asynccontextmanager
async def _running(args: list[str] | None) -> AsyncIterator[asyncio.Task[bytes]]:
    """Run Python with *args* (None: no process) and collect its output."""
    args = ["-c", ""] if args is None else args
    process = await asyncio.create_subprocess_exec(sys.executable, *args, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    says = asyncio.create_task(process.stdout.read())
    try:
        yield says
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await says


@asynccontextmanager
async def _watched(bot: Scene, phase: Phase) -> AsyncIterator[None]:
    assert bot.bot.process is not None
    process = Path(f"/proc/{bot.bot.process.pid}")

    def look() -> None:
        (line,) = [each for each in (process / "status").read_text().splitlines() if each.startswith("VmRSS:")]
        phase.resident.append(int(line.split()[1]) / 1024)
        phase.descriptors.append(len(list((process / "fd").iterdir())))

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        look()


async def _lag(bot: Scene) -> tuple[float, float]:
    """Return the sum of the loop's lags in seconds, and the number of measurements."""
    url = f"{bot.bot.env['DARKROOM_WEB__PUBLIC_URL']}/metrics"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {METRICS_TOKEN}"}) as http,
        http.get(url) as answer,
    ):
        lines = (await answer.text()).splitlines()
    found = dict(each.rsplit(" ", 1) for each in lines if each.startswith("darkroom_loop_lag_seconds_"))
    return float(found["darkroom_loop_lag_seconds_sum"]), float(found["darkroom_loop_lag_seconds_count"])


# --- report


def _rows(phase: Phase) -> Iterator[dict[str, Any]]:
    name = phase.name
    yield _row(f"{name}_interactions", len(phase.acks), "")
    yield _row(f"{name}_ack_p50", _percentile(phase.acks, 50), "ms")
    yield _row(f"{name}_ack_p99", _percentile(phase.acks, 99), "ms")
    yield _row(f"{name}_ack_max", max(phase.acks), "ms")
    yield _row(f"{name}_loop_lag_mean", phase.lag * 1000, "ms")
    yield _row(f"{name}_resident_first", phase.resident[0], "MB")
    yield _row(f"{name}_resident_max", max(phase.resident), "MB")
    yield _row(f"{name}_resident_last", phase.resident[-1], "MB")
    yield _row(f"{name}_descriptors_max", max(phase.descriptors), "")


def _came(phase: Phase) -> Iterator[dict[str, Any]]:
    for kind, came in phase.said.items():
        name = f"{phase.name}_{kind}"
        for status, times in sorted(came["statuses"].items()):
            yield _row(f"{name}_{status}", times, "")
        if kind != "silent" and came["ms"]:
            yield _row(f"{name}_answer_p50", _percentile(came["ms"], 50), "ms")
            yield _row(f"{name}_answer_p99", _percentile(came["ms"], 99), "ms")
            yield _row(f"{name}_per_second", len(came["ms"]) / came["seconds"], "/s")


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}

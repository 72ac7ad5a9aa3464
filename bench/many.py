"""Several workers on one PostgreSQL: CPU and round trips for each job, hand-overs, and from a command to its submit.

Real processes between the local Discord and the local image service, which run in this one; everything shares the cores
of this machine, and the bench itself is the busiest. *throughput per core*: jobs by CPU second of the workers, compared
with a single worker that gets as many jobs a second as each of them: a busy worker does more in one go.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.ledger import _server
from bot.sandbox.service import Pace
from tests import postgres
from tests.discord.interactions import Interaction
from tests.jobs.commit_proxy import line_to
from tests.scenarios.cluster import Cluster, cluster
from tests.scenarios.harness import NO_LIMITS, SOON, TICK, shows

JOBS, MEMBERS = 160, 20
WORKERS = (1, 2, 4)
IDLE = STEADY = 16.0  # seconds in which nothing happens, or runs are polled without news: two heartbeats
COMMANDS, SPACING = 100, 0.15  # from a command to its submit; seconds between two
RUNNING = 8  # jobs that change hands
SETTINGS = {**NO_LIMITS, "runcomfy__max_in_flight": 200, "quota__host_in_flight": 1000}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
Row = dict[str, Any]


def main() -> list[Row]:
    with _server() as address:
        return asyncio.run(_measured(address))


async def _measured(address: str) -> list[Row]:
    rows = []
    for workers in WORKERS:
        per_second, cpu = await _throughput(address, workers)
        rows += [_row(f"jobs_per_second_{workers}", per_second, "/s"), _row(f"cpu_per_job_{workers}", 1000 * cpu, "ms")]
        if workers > 1:
            _, alone = await _throughput(address, 1, jobs=JOBS // workers, per_second=per_second / workers)
            rows.append(_row(f"cpu_per_job_1_with_a_share_of_{workers}", 1000 * alone, "ms"))
            rows.append(_row(f"throughput_per_core_{workers}", alone / cpu, "of 1"))
    rows += await _round_trips(address)
    rows += await _handed_over(address)
    return rows + await _submitted(address)


@asynccontextmanager
async def _cluster(address: str, *, run_s: float) -> AsyncIterator[Cluster]:
    async with postgres.fresh(address) as url:
        with tempfile.TemporaryDirectory() as folder:
            async with cluster(Path(folder), url, pace=Pace(0.0, run_s, None), **SETTINGS) as on:
                yield on


# --- throughput


async def _throughput(address: str, workers: int, *, jobs: int = JOBS, per_second: float = 1000) -> tuple[float, float]:
    """Jobs a second, at most so many, and CPU seconds of the workers for each job beyond those of idle workers."""
    async with _cluster(address, run_s=0.5) as on:
        names = [f"worker {n}" for n in range(workers)]
        for each in names:
            await on.start(each, "worker")
        await on.start("gateway", "gateway,keeper")
        await asyncio.gather(*await _ask(on, 2 * workers))  # the picture pools are started
        await on.at_rest()
        before, began = _cpu(on, names), time.monotonic()
        await asyncio.sleep(IDLE)
        idle = (_cpu(on, names) - before) / (time.monotonic() - began)
        before, began = _cpu(on, names), time.monotonic()
        await asyncio.gather(*await _ask(on, jobs, per_second=per_second))
        took = time.monotonic() - began
        return jobs / took, (_cpu(on, names) - before - idle * took) / jobs


async def _ask(on: Cluster, count: int, *, per_second: float = 1000) -> Sequence[Any]:
    """Ask for so many pictures; what waits for each to be shown."""
    discord, number, began = on.scene.discord, len(on.scene.host.accepted), time.monotonic()
    members = [discord.add_member(f"member {number} {n}", on.scene.guild) for n in range(MEMBERS)]
    asked = []
    for n in range(count):
        await asyncio.sleep(began + n / per_second - time.monotonic())
        asked.append(await on.scene.asks(members[n % MEMBERS], f"picture {number + n}"))
    return [each.until(shows("Done"), within=3 * SOON) for each in asked]


def _cpu(on: Cluster, names: Sequence[str]) -> float:
    """CPU seconds so far of these processes and their picture pools."""
    return sum(_cpu_of(process.pid) for each in names if (process := on.processes[each].process) is not None)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, fields[11:15])) / CLOCK_TICKS + sum(_cpu_of(int(each)) for each in children)


# --- round trips


async def _round_trips(address: str) -> list[Row]:
    """Round trips of one worker for each job, and for each poll without news, beyond those of an idle one."""
    async with _cluster(address, run_s=60) as on, line_to(on.url) as line:
        await on.start("worker", "worker", database__url=line.url)
        await on.start("gateway", "gateway,keeper")
        idle = await _per_second(line, IDLE)
        before, began = line.round_trips, time.monotonic()
        waits = await _ask(on, JOBS // 4)
        await on.until(lambda rows: rows == [(JOBS // 4,)], "SELECT count(*) FROM jobs WHERE state = 'running'")
        await on.until(lambda rows: rows == [(0,)], "SELECT count(*) FROM replies WHERE due_at IS NOT NULL")
        polls = _polls(on)
        steady = await _per_second(line, STEADY)
        polls = _polls(on) - polls
        for run_id in on.scene.host.accepted:
            on.scene.host.advance(run_id, "completed")
        await asyncio.gather(*waits)
        took = time.monotonic() - began
        return [
            _row("idle_round_trips", idle, "/s"),
            _row("polls_without_news", polls, ""),
            _row("round_trips_per_poll_without_news", max(0.0, (steady - idle) * STEADY / polls), ""),
            _row("round_trips_per_job", (line.round_trips - before - idle * took) / (JOBS // 4), ""),
        ]


async def _per_second(line: Any, seconds: float) -> float:
    before = line.round_trips
    await asyncio.sleep(seconds)
    return float(line.round_trips - before) / seconds


def _polls(on: Cluster) -> int:
    return sum(each.op == "status" for each in on.scene.host.log)


# --- hand-overs


async def _handed_over(address: str) -> list[Row]:
    """Seconds from the end of a worker to the next poll of one of its runs, after SIGKILL and after SIGTERM."""
    rows = []
    for how in ("kill", "stop"):
        async with _cluster(address, run_s=120) as on:
            await on.start("first", "worker")
            await on.start("second", "worker")
            await on.start("gateway", "gateway,keeper")
            waits = await _ask(on, RUNNING)
            running = "SELECT count(*) FROM jobs WHERE state = 'running'"
            await on.until(lambda rows: rows == [(RUNNING,)], running)
            held = "SELECT run_id FROM jobs WHERE worker = $1"
            runs = {run_id for (run_id,) in await on.rows(held, on.numbers["first"])}
            ended_at = time.monotonic()
            ending = asyncio.create_task(getattr(on.processes["first"], how)())
            took = await _next_poll(on, runs, since=ended_at)
            rows.append(_row(f"{how}_to_next_poll", took, "s"))
            await ending
            for each in waits:
                each.close()
    return rows


async def _next_poll(on: Cluster, runs: set[str], *, since: float) -> float:
    """Seconds from *since* until another process polls one of *runs*: the first one is gone after a moment."""
    gone = since + 0.05
    while True:
        for each in on.scene.host.log:
            if each.op == "status" and each.run_id in runs and each.at > gone:
                return each.at - since
        await asyncio.sleep(TICK)


# --- from a command to its submit


async def _submitted(address: str) -> list[Row]:
    """Milliseconds from a command, and from its acknowledgement, in one process to its submit from another one."""
    async with _cluster(address, run_s=0.2) as on:
        await on.start("worker", "worker")
        await on.start("gateway", "gateway,keeper")
        await asyncio.gather(*await _ask(on, 4))
        asked: list[Interaction] = []
        for n in range(COMMANDS):
            asked.append(await on.scene.asks(on.scene.alice, f"timed {n}"))
            await asyncio.sleep(SPACING)
        for each in asked:
            await each.until(shows("Done"), within=SOON)
        clocks = time.time() - time.monotonic()
        submits = [each.at + clocks for each in on.scene.host.log if each.op == "submit"][-COMMANDS:]
        shown = [each.at for each in on.scene.discord.requests if each.path.endswith("/callback")][-COMMANDS:]
        commands = [each.created_at for each in asked]
    rows = []
    for name, since in (("command", commands), ("acknowledgement", shown)):
        took = sorted(1000 * (at - begun) for at, begun in zip(submits, since, strict=True))
        rows += [_row(f"{name}_to_submit_p{n}", took[len(took) * n // 100], "ms") for n in (50, 99)]
    return rows


def _row(name: str, value: float, unit: str) -> Row:
    return {"name": name, "value": round(value, 3 if value < 10 else 1), "unit": unit}

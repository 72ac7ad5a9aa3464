"""From command to picture at 50 to 5,000 jobs in flight: CPU, delays, acknowledgements, a burst and a restart.

Three processes on two cores: the bot with its shipped timing, the image service, and Discord with the members. Jobs
arrive at a steady rate and end a log-normal time after their submission, so that the wanted number is in flight.
FLIGHT_SIZES=50,200 chooses sizes, FLIGHT_PARTS=steady,polls,burst,restart,peers what is measured.

Longer than other files: the loads, what they are measured against, and the table belong together.
"""

import asyncio
import itertools
import json
import math
import os
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import aiohttp

from bench import _flight_host, _flight_peers
from bot.settings.settings import SHIPPED
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.server import LocalDiscord
from tests.discord.world import Channel, Guild
from tests.scenarios.harness import COMMANDS, Bot

SIZES = {50: (4.0, 12.0), 200: (16.0, 12.0), 1_000: (30.0, 32.0), 5_000: (30.0, 160.0)}  # jobs/s, median seconds
KINDS = {"0.5K": 0.7, "1K": 1.0, "2K": 1.3}  # resolution → factor of the median
SPREAD = 0.25
WINDOW = 60.0  # seconds of steady flight that are measured
MEMBERS = 500
BURST = 1_000
ENDED = 200_000
OUT = Path(__file__).parent / "out" / "flight.json"
LIMITS = ("user_day_images", "user_day_usd", "guild_month_usd", "host_month_usd", "user_in_flight", "guild_in_flight",
          "host_in_flight")  # fmt: skip


BARE = """
import asyncio, json, sys, time
import aiohttp, uvloop

async def get(session, url):
    async with session.get(url) as response:
        json.loads(await response.read())

async def main(url, per_second):
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for seconds in (2, 10):
            start, cpu = loop.time(), time.process_time()
            for n in range(seconds * per_second):
                await asyncio.sleep(max(0, start + n / per_second - loop.time()))
                group.create_task(get(session, url + "/v1/requests/x/status"))
        print((time.process_time() - cpu) / (10 * per_second) * 1e6)

uvloop.run(main(sys.argv[1], int(sys.argv[2])))
"""


def main() -> list[dict[str, Any]]:
    sizes = [int(each) for each in os.environ.get("FLIGHT_SIZES", "50,200,1000,5000").split(",") if each]
    parts = os.environ.get("FLIGHT_PARTS", "polls,steady,burst,restart,peers").split(",")
    rows: list[dict[str, Any]] = []
    for part in parts:
        for size in sizes if part in ("polls", "steady", "peers") else [0]:
            print(f"{part} {size or ''}", file=sys.stderr, flush=True)
            rows += asyncio.run(_part(part, size, rows))
            OUT.parent.mkdir(exist_ok=True)
            OUT.write_text(json.dumps(rows, indent=1) + "\n")  # what was measured is kept if a later part fails
    return rows + _ratios(rows)


async def _part(part: str, size: int, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, _flight_host.running() as host:
        match part:
            case "polls":
                return await _polls(Path(folder), host, size)
            case "steady":
                return await _steady(Path(folder), host, size, rows)
            case "burst":
                return await _burst(Path(folder), host)
            case "restart":
                return await _restart(Path(folder), host)
            case _:
                return await _peers(host, size)


# --- the bot


@dataclass
class Flight:
    discord: LocalDiscord
    guild: Guild
    channels: Sequence[Channel]
    bot: Bot

    @property
    def cpu(self) -> float:
        """Seconds of CPU that the bot has used, without its processes for pictures. Linux only."""
        user, system = self._of_process("stat").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def rss(self) -> float:
        """Megabytes of memory of the bot, without its processes for pictures."""
        return int(self._of_process("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _of_process(self, name: str) -> str:
        assert self.bot.process is not None
        return Path(f"/proc/{self.bot.process.pid}/{name}").read_text()

    async def metrics(self) -> str:
        found = re.search(r"Health is at (http://\S+)/healthz", self.bot.log)
        if found is None:
            return ""
        async with aiohttp.ClientSession() as session, session.get(f"{found[1]}/metrics") as response:
            return await response.text()


@asynccontextmanager
async def _bot(
    folder: Path, host: _flight_host.Host, *, polls_per_second: int, timing: dict[str, float] | None = None,
    start: bool = True,
) -> AsyncIterator[Flight]:  # fmt: skip
    async with LocalDiscord() as discord:
        guild = discord.add_guild("Studio")
        channels = [guild.add_channel(f"pictures-{n}") for n in range(20)]
        env = {
            "DARKROOM_CONFIG": str(_config(folder, timing or {})),
            "DARKROOM_DISCORD__TOKEN": discord.token,
            "DARKROOM_DISCORD__API_BASE": discord.api_base,
            "DARKROOM_DISCORD__GATEWAY_URL": discord.gateway_url,
            "DARKROOM_DISCORD__GUILDS": '["*"]',
            "DARKROOM_RUNCOMFY__API_TOKEN": "a-token-for-the-host",
            "DARKROOM_RUNCOMFY__API_BASE": host.url,
            "DARKROOM_RUNCOMFY__BALANCE_URL": f"{host.url}/prod/v2/balance",
            "DARKROOM_RUNCOMFY__RESULT_HOSTS": json.dumps([host.address]),
            "DARKROOM_RUNCOMFY__MAX_IN_FLIGHT": "10000",
            "DARKROOM_RUNCOMFY__POLLS_PER_SECOND": str(polls_per_second),
            "DARKROOM_DATABASE__URL": f"sqlite:///{folder / 'darkroom.db'}",
            "DARKROOM_DATA__DIR": str(folder / "pictures"),
            "DARKROOM_WEB__PORT": "0",
            "DARKROOM_LOG__LEVEL": "INFO",
            **{f"DARKROOM_QUOTA__{name.upper()}": "none" for name in LIMITS},
        }
        bot = Bot(folder, env)
        try:
            if start:
                await bot.start()
                await discord.ready(*COMMANDS, within=60)
            yield Flight(discord, guild, channels, bot)
        finally:
            if bot.process is not None:
                await bot.kill()


def _config(folder: Path, timing: dict[str, float]) -> Path:
    text = (SHIPPED.parent / "models.toml").read_text()
    for name, value in timing.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    (folder / "models.toml").write_text(text)
    (folder / "darkroom.toml").write_text('[files]\nmodels = "models.toml"\n')
    return folder / "darkroom.toml"


# --- steady flight


async def _steady(
    folder: Path, host: _flight_host.Host, size: int, rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:  # fmt: skip
    rate, median = SIZES[size]
    budget = max(20, round(10 * rate))
    async with _bot(folder, host, polls_per_second=budget) as flight:
        members = [flight.discord.add_member(f"member{n}", flight.guild) for n in range(MEMBERS)]
        watch = _Watch()
        ramp = 1.5 * median + 5
        began = asyncio.get_running_loop().time()
        dice, kinds = random.Random(size), itertools.cycle(KINDS.items())
        measured: list[_Asked] = []
        marks: dict[str, tuple[float, dict[str, Any]]] = {}
        number = 0
        while (passed := number / rate) < ramp + WINDOW:
            if "start" not in marks and passed >= ramp:
                marks["start"] = flight.cpu, await host.stats()
            await asyncio.sleep(max(0.0, began + passed - asyncio.get_running_loop().time()))
            resolution, factor = next(kinds)
            seconds = factor * median * dice.lognormvariate(0, SPREAD)
            prompt = f"harbour {number} {seconds:.3f}"
            asked = await _ask(flight, members[number % MEMBERS], prompt, number, resolution)
            one = watch.add(asked, prompt)
            if passed >= ramp:
                measured.append(one)
            number += 1
        marks["end"], marks_at = (flight.cpu, await host.stats()), time.time()
        rss = flight.rss
        await watch.finish(within=4 * median + 60)
        stats, text = await host.stats(), await flight.metrics()
    delays = [
        one.visible - stats["ends"][one.prompt] for one in measured if one.visible and one.prompt in stats["ends"]
    ]
    acks = [one.asked.first.ms for one in measured if one.asked.first is not None]
    per_poll = next((row["value"] for row in rows if row["name"] == f"cpu_us_per_poll_{size}"), 0.0)
    (cpu_0, stats_0), (cpu_1, stats_1) = marks["start"], marks["end"]
    polls = stats_1["counts"]["polls"] - stats_0["counts"].get("polls", 0)
    jobs = stats_1["counts"]["submits"] - stats_0["counts"].get("submits", 0)
    counts = stats["counts"]
    free = counts["polls"] + counts["results"] + counts.get("others", 0)
    connections = sum(counts.get(f"connections_{kind}", 0) for kind in ("polls", "results", "others"))
    return [
        _row(f"in_flight_{size}", sum(end > marks_at for end in stats_1["ends"].values()), ""),
        _row(f"median_duration_{size}", median, "s"),
        _row(f"commands_per_second_{size}", rate, "/s"),
        _row(f"delivered_{size}", 100 * len(delays) / len(measured), "%"),
        _row(f"cpu_ms_per_job_{size}", 1e3 * (cpu_1 - cpu_0 - polls * per_poll / 1e6) / jobs, "ms"),
        _row(f"cpu_of_one_core_{size}", 100 * (cpu_1 - cpu_0) / WINDOW, "%"),
        _row(f"visible_p50_{size}", _at(delays, 50), "s"),
        _row(f"visible_p95_{size}", _at(delays, 95), "s"),
        _row(f"visible_mean_{size}", mean(delays), "s"),
        _row(f"polls_per_job_{size}", polls / jobs, ""),
        _row(f"ack_p50_{size}", _at(acks, 50), "ms"),
        _row(f"ack_p999_{size}", _at(acks, 99.9), "ms"),
        _row(f"ack_max_{size}", max(acks), "ms"),
        _row(f"loop_lag_p999_{size}", _bucket(text, "darkroom_loop_lag_seconds", 0.999), "s"),
        _row(f"rss_mb_{size}", rss, "MB"),
        _row(f"connections_per_request_{size}", connections / free, ""),
    ]


@dataclass
class _Asked:
    asked: Interaction
    prompt: str
    visible: float = 0.0  # when Discord had its pictures (time.time)


class _Watch:
    """Waits for the pictures of many commands, with one task for each."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, asked: Interaction, prompt: str) -> _Asked:
        one = _Asked(asked, prompt)
        self._tasks.add(task := asyncio.create_task(self._see(one)))
        task.add_done_callback(self._tasks.discard)
        return one

    async def _see(self, one: _Asked) -> None:
        await one.asked.until(lambda message: "Done" in message.text, within=3_600)
        one.visible = time.time()

    async def finish(self, *, within: float) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within)
        for each in self._tasks:
            each.cancel()


# --- polls alone, and a restart


def _insert(folder: Path, *, running: int, ended: int) -> None:
    """Write running jobs and ended ones into the database, which exists."""
    now = int(time.time() * 1000)
    request = json.dumps({"prompt": "p hold", "options": {"resolution": "1K", "count": 1}, "references": []})
    job = """
        INSERT INTO jobs
            (id, user_id, guild_id, channel_id, model, verb, request, provider, route, state, created_at, changed_at,
             due_at, give_up_after, checked, cancel, images, flagged, ended_at, run_id, acked_at, submitted_at,
             started_at)
        VALUES
            (?, ?, 1, 1, 'nano-banana-2', 'imagine', ?, 'runcomfy', 'google/nano-banana-2/text-to-image', ?, ?, ?,
             ?, 1800000, 1, 'none', ?, 0, ?, ?, ?, ?, ?)
    """
    old = now - 3_600_000
    with sqlite3.connect(folder / "darkroom.db") as connection:
        connection.executemany(
            job,
            (
                (f"01A{n:023}", n % 500, request, "running", now, now, now + 1, 0, None, f"held-{n}", now, now, now)
                for n in range(running)
            ),
        )
        connection.executemany(
            job,
            (
                (f"01B{n:023}", n % 500, request, "succeeded", old, old, None, 1, old + 9, f"old-{n}", old, old, old)
                for n in range(ended)
            ),
        )
    connection.close()


@asynccontextmanager
async def _restarted(
    folder: Path, host: _flight_host.Host, *, running: int, ended: int, budget: int,
    timing: dict[str, float] | None = None,
) -> AsyncIterator[tuple[Flight, float]]:  # fmt: skip
    """A bot that starts on a database with so many jobs; the second value is when it was started."""
    async with _bot(folder, host, polls_per_second=budget, timing=timing) as flight:
        await flight.bot.stop()
        _insert(folder, running=running, ended=ended)
        await host.reset()
        began = time.time()
        await flight.bot.start()
        yield flight, began


async def _polls(folder: Path, host: _flight_host.Host, size: int) -> list[dict[str, Any]]:
    """CPU of polls that bring no news: every run is so old that it is polled at a fixed interval."""
    per_second = min(300, 10 * size)
    timing = {"hard": 1, "soft": 0.5, "rare": size / per_second}
    async with _restarted(folder, host, running=size, ended=0, budget=1_000, timing=timing) as (flight, _):
        await flight.discord.ready(*COMMANDS, within=60)
        await asyncio.sleep(max(10.0, 3 * size / per_second))
        cpu, before = flight.cpu, await host.stats()
        await asyncio.sleep(15)
        cpu, after = flight.cpu - cpu, await host.stats()
    polls = after["counts"]["polls"] - before["counts"]["polls"]
    bare = await _bare(host, per_second)
    return [
        _row(f"cpu_us_per_poll_{size}", 1e6 * cpu / polls, "us"),
        _row(f"cpu_us_per_aiohttp_{size}", bare, "us"),
        _row(f"cpu_poll_over_aiohttp_{size}", 1e6 * cpu / polls / bare, ""),
    ]


async def _bare(host: _flight_host.Host, per_second: int) -> float:
    """Microseconds of CPU of a bare aiohttp GET with JSON at the same rate, on the bot's event loop."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BARE, host.url, str(per_second), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return float(out)


async def _restart(folder: Path, host: _flight_host.Host) -> list[dict[str, Any]]:
    """5,000 unfinished jobs and 200,000 ended ones; the budget allows to poll all of them in four seconds."""
    running, budget = 5_000, 1_250
    async with _restarted(folder, host, running=running, ended=ENDED, budget=budget) as (flight, began):
        deadline = time.time() + 60
        while len((stats := await host.stats())["polled"]) < running and time.time() < deadline:
            await asyncio.sleep(0.2)
        ready = re.search(r"Health is at", flight.bot.log) is not None
    polled = stats["polled"]
    return [
        _row("restart_5000_running", len(polled), ""),
        _row("restart_5000_first_poll_s", min(polled.values()) - began, "s"),
        _row("restart_5000_last_poll_s", max(polled.values()) - began, "s"),
        _row("restart_5000_most_polls_in_a_second", max(stats["per_second"].values()), "/s"),
        _row("restart_5000_budget", budget, "/s"),
        _row("restart_5000_ready", int(ready), ""),
    ]


# --- a burst


async def _burst(folder: Path, host: _flight_host.Host) -> list[dict[str, Any]]:
    """1,000 commands within one second, to a bot that has just accepted a few."""
    async with _bot(folder, host, polls_per_second=100) as flight:
        members = [flight.discord.add_member(f"member{n}", flight.guild) for n in range(MEMBERS)]
        for n in range(20):
            warm = await members[n].slash(
                flight.channels[0], "imagine", prompt=f"warm {n} 1", resolution="0.5K", seed=n + 1
            )
            await warm.acked()
        await asyncio.sleep(3)
        asked, began = [], asyncio.get_running_loop().time()
        for n in range(BURST):
            await asyncio.sleep(max(0.0, began + n / BURST - asyncio.get_running_loop().time()))
            asked.append(await _ask(flight, members[n % MEMBERS], f"burst {n} 5", n))
        sent = asyncio.get_running_loop().time() - began
        await asyncio.sleep(10)
        with sqlite3.connect(f"file:{folder / 'darkroom.db'}?mode=ro", uri=True) as connection:
            cancelled = {
                row[0]
                for row in connection.execute(
                    "SELECT interactions.id FROM interactions JOIN jobs ON jobs.id = interactions.job "
                    "WHERE jobs.reason = 'unacknowledged'"
                )
            }
        connection.close()
    answered = [each for each in asked if each.first is not None]
    refused = [each for each in answered if each.first is not None and each.first.ephemeral]
    taken = [each for each in answered if each not in refused and each.id not in cancelled]
    acks = [each.first.ms for each in answered if each.first is not None]
    return [
        _row("burst_1000_sent_in", sent, "s"),
        _row("burst_1000_taken", len(taken), ""),
        _row("burst_1000_refused", len(refused), ""),
        _row("burst_1000_lost", BURST - len(taken) - len(refused), ""),
        _row("burst_1000_ack_p50", _at(acks, 50), "ms"),
        _row("burst_1000_ack_max", max(acks), "ms"),
    ]


async def _ask(flight: Flight, member: Member, prompt: str, number: int, resolution: str = "0.5K") -> Interaction:
    channel = flight.channels[number % len(flight.channels)]
    return await member.slash(channel, "imagine", prompt=prompt, resolution=resolution, seed=number + 1)


# --- peers


async def _peers(host: _flight_host.Host, size: int) -> list[dict[str, Any]]:
    """The same arrivals and durations with the pollers of three SDKs; not for 5,000, which takes them hours of CPU."""
    if size > 1_000:
        return []
    rate, median = SIZES[size]
    dice, kinds = random.Random(size), itertools.cycle(KINDS.items())
    length = min(40.0, median + 20)
    jobs = [(n / rate, next(kinds)[1] * median * dice.lognormvariate(0, SPREAD)) for n in range(round(rate * length))]
    rows = []
    for name in _flight_peers.INTERVALS:
        await host.reset()
        delays, cpu = await _flight_peers.measure(host.url, name, jobs, limit=length + 4 * median + 30)
        polls = (await host.stats())["counts"]["polls"]
        rows += [
            _row(f"{name}_seen_{size}", 100 * len(delays) / len(jobs), "%"),
            _row(f"{name}_visible_p50_{size}", _at(delays, 50), "s"),
            _row(f"{name}_visible_p95_{size}", _at(delays, 95), "s"),
            _row(f"{name}_polls_per_job_{size}", polls / len(jobs), ""),
            _row(f"{name}_cpu_ms_per_job_{size}", 1e3 * cpu / len(jobs), "ms"),
        ]
    return rows


# --- rows


def _ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """5,000 against 50. Delays grow with the square root of the duration, at the same price of a poll."""
    value = {row["name"]: row["value"] for row in rows}
    found = []
    if {"cpu_ms_per_job_5000", "cpu_ms_per_job_50"} <= value.keys():
        found.append(_row("cpu_per_job_5000_over_50", value["cpu_ms_per_job_5000"] / value["cpu_ms_per_job_50"], ""))
    if {"visible_mean_5000", "visible_mean_50"} <= value.keys():
        expected = math.sqrt(SIZES[5_000][1] / SIZES[50][1])
        ratio = value["visible_mean_5000"] / value["visible_mean_50"] / expected
        found.append(_row("mean_delay_5000_over_50", ratio, ""))
    return found


def _at(values: list[float], percent: float) -> float:
    if len(values) < 2:
        return values[0] if values else math.nan
    return quantiles(values, n=1000, method="inclusive")[min(998, round(10 * percent) - 1)]


def _bucket(text: str, name: str, share: float) -> float:
    """The upper limit of the histogram's bucket that *share* of the values do not exceed."""
    found = [(float(limit), float(count)) for limit, count in re.findall(rf'{name}_bucket{{le="([^"]+)"}} (\S+)', text)]
    total = max((count for _, count in found), default=0.0)
    return next((limit for limit, count in found if count >= share * total), math.nan)


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}

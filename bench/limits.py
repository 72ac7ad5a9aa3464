"""Requests a second, 429s and statements of 1 to 4 processes that post with one bot's token, by Discord's limits.

Each process is a real one with discord.py and Darkroom's rate limits, on one PostgreSQL; Discord is the local one with
its limits of the token (50 a second) and of a channel (5 in 5 s). *own* limits are what each process would keep by
itself; with a *proxy*, a small REST proxy keeps the limits and the processes none. LIMITS_PARTS=token,channel chooses.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bot.store.connect import open_database
from tests import postgres
from tests.discord.rate_limits import RateLimits
from tests.discord.rest_proxy import RestProxy
from tests.discord.server import LocalDiscord

SECONDS = 15.0
CHANNELS = 150


def main() -> list[dict[str, Any]]:
    with postgres.server() as server:
        return asyncio.run(_measured(server))


async def _measured(server: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with postgres.fresh(server) as url:
        await (await open_database(url)).aclose()
        for part in os.environ.get("LIMITS_PARTS", "token,token_own,token_proxy,channel,channel_own").split(","):
            limit, _, kind = part.partition("_")
            for count in (1, 2, 4):
                print(f"{part} {count}", file=sys.stderr, flush=True)
                rows += await _run(
                    f"{part}_{count}",
                    "" if kind == "own" else url,
                    count=count,
                    channels=CHANNELS if limit == "token" else 1,
                    proxied=kind == "proxy",
                )
    return rows


async def _run(name: str, url: str, *, count: int, channels: int, proxied: bool) -> list[dict[str, Any]]:
    async with LocalDiscord() as server:
        guild = server.add_guild("Own")
        ids = [guild.add_channel(f"c{n}").id for n in range(channels)]
        async with _api(server, proxied=proxied) as api:
            server.limits = RateLimits()
            answers = await _processes(api, server.token, url, count=count, channels=ids, proxied=proxied)
        limited = sum(each.status == 429 for each in server.requests)
    sent, statements = (sum(each[key] for each in answers) for key in ("sent", "statements"))
    print(f"  {sent / SECONDS:.1f}/s, {limited} 429s, {statements} statements", file=sys.stderr, flush=True)
    rows = [
        {"name": f"{name}_requests", "value": round(sent / SECONDS, 1), "unit": "1/s"},
        {"name": f"{name}_429s", "value": limited, "unit": "requests"},
    ]
    if url:
        rows.append({"name": f"{name}_statements", "value": round(statements / max(1, sent), 2), "unit": "per request"})
    return rows


@asynccontextmanager
async def _api(server: LocalDiscord, *, proxied: bool) -> AsyncIterator[str]:
    if not proxied:
        yield server.api_base
        return
    async with RestProxy(server.api_base) as proxy:
        yield proxy.api_base


async def _processes(
    api: str, token: str, url: str, *, count: int, channels: Sequence[int], proxied: bool
) -> list[dict[str, float]]:
    running = []
    for n in range(count):
        mine = [*channels[n * len(channels) // count :], *channels[: n * len(channels) // count]]
        options = json.dumps({"channels": mine, "seconds": SECONDS, "rest_proxy": proxied})
        command = ("-m", "bench._limits_process", api, token, url, options)
        running.append(await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE))
    for each in running:
        assert each.stdout is not None
        assert await each.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(each.communicate(b"\n") for each in running))
    return [json.loads(output) for output, _ in outputs]

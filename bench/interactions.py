"""How fast are interactions acknowledged over the gateway and over HTTP: one after another, and 100 /imagine at once?

The bot is a process of its own; Discord and its members are here, all on 127.0.0.1. Each is measured three times; the
rows are over all of them. `forged` are requests per second with a wrong signature, on 20 connections.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp

from bot.sandbox.service import Pace
from tests.scenarios.harness import NO_LIMITS, SOON, Scene, scene

ROUNDS, SINGLE, AT_ONCE = 3, 100, 100
FORGED, CONNECTIONS = 2_000, 20
LIMITS: dict[str, Any] = {**NO_LIMITS, "quota__host_in_flight": "none", "quota__host_month_usd": "none"}


def main() -> list[dict[str, Any]]:
    return [row for transport in ("gateway", "http") for row in asyncio.run(_measure(transport))]


async def _measure(transport: str) -> list[dict[str, Any]]:
    os.environ["DARKROOM_DISCORD__TRANSPORT"] = transport
    with tempfile.TemporaryDirectory() as folder:
        async with scene(Path(folder), pace=Pace(60, 60, None), **LIMITS) as bot:
            bot.discord.limits = None
            single, at_once = [], []
            await _one(bot, "usage")
            for _ in range(ROUNDS):
                single += [await _one(bot, "usage") for _ in range(SINGLE)]
                asked = (_one(bot, "imagine", prompt=f"picture {n}") for n in range(AT_ONCE))
                at_once += await asyncio.gather(*asked)
            rows = [*_rows(f"{transport}_single", single), *_rows(f"{transport}_100_at_once", at_once)]
            return [*rows, await _forged(bot)] if transport == "http" else rows


async def _one(bot: Scene, command: str, **options: Any) -> float:
    """Milliseconds until a command is acknowledged."""
    return (await (await bot.alice.slash(bot.channel, command, **options)).acked(within=SOON)).ms


async def _forged(bot: Scene) -> dict[str, Any]:
    url, body = bot.discord.endpoint.urls[0], b"{}"
    headers = bot.discord.endpoint.sign(b"another body")
    began = time.perf_counter()

    async def send(http: aiohttp.ClientSession) -> None:
        for _ in range(FORGED // CONNECTIONS):
            async with http.post(url, data=body, headers=headers) as answer:
                assert answer.status == 401

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(send(http) for _ in range(CONNECTIONS)))
    return _row("http_forged", FORGED / (time.perf_counter() - began), "/s")


def _rows(name: str, acks: list[float]) -> list[dict[str, Any]]:
    parts = quantiles(acks, n=100, method="inclusive")
    return [_row(f"{name}_{each}", parts[at], "ms") for each, at in (("p50", 49), ("p99", 98))]


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 1), "unit": unit}

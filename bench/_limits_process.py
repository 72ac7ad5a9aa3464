"""One process of bench/limits.py: posts messages with the bot's token for some seconds, by Darkroom's rate limits."""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import discord

from bot.core.budgets import Pace, Slot
from bot.store.budgets import Budget, Budgets
from bot.store.connect import open_database
from bot.ui.client import connect_to
from bot.ui.transport.rate_limits import RateLimits

AT_ONCE = 32  # as many as `bot.jobs.delivery` has


class Counted(Budgets):
    statements = 0

    def budget(self, name: str, pace: Pace) -> Budget:
        return _Counted(super().budget(name, pace))


class _Counted:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    async def take(self, units: int) -> Sequence[Slot]:
        Counted.statements += 1
        return await self._budget.take(units)


async def main(api: str, token: str, url: str, *, channels: Sequence[int], seconds: float, rest_proxy: bool) -> None:
    connect_to(api, "")
    async with AsyncExitStack() as stack:
        budgets = Counted()
        if url:
            database = await open_database(url)
            stack.push_async_callback(database.aclose)
            budgets = Counted(database)
        limits = RateLimits(budgets, rest_proxy=rest_proxy)
        client = discord.Client(intents=discord.Intents.none(), http_trace=limits.trace())
        await stack.enter_async_context(client)
        await client.login(token)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        ends = time.monotonic() + seconds
        turns, sent = itertools.cycle(channels), list[float]()

        async def post() -> None:
            while time.monotonic() < ends:
                channel = next(turns)
                route = f"POST channels {channel} messages"
                while (delay := limits.delay(route, final=True)) > 0 and time.monotonic() < ends:
                    await asyncio.sleep(delay)
                if time.monotonic() >= ends:
                    return
                with limits.sending(route):
                    await limits.wait_for_token(final=True)
                    try:
                        await client.get_partial_messageable(channel).send("x")
                    except discord.HTTPException:  # five 429s one after another
                        continue
                sent.append(time.monotonic())

        cpu = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(post())
        answer: dict[str, Any] = {
            "sent": len([each for each in sent if each <= ends]),
            "statements": budgets.statements,
        }
        print(json.dumps(answer | {"cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], **json.loads(sys.argv[4])))

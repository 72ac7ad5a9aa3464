"""Concurrent callers that reserve repeatedly, and the latency of each call."""

import asyncio
import itertools
import os
import random
import time
from dataclasses import dataclass
from typing import cast

from bench._million import CHANNELS, MEMBERS, SERVERS
from bench._rivals import Writes
from bot.core.cards import Reply
from bot.core.jobs import ImageRequest, Job, Place, State, Verb
from bot.core.quota import Amount, Limits
from bot.store.database import Database
from bot.store.store import Store

FAR = 10**15
LIMITS = Limits(*[FAR] * 11)  # all limits are checked, and none is reached
WARM_UP, WINDOW, LONGEST = 0.6, 2.0, 10.0  # seconds; the window grows until every caller has finished a call
_numbers = itertools.count(  # interaction ids, from which job ids are derived; different in each process
    os.getpid() * 10**12 + time.time_ns() // 1000 % 10**12
)


@dataclass(frozen=True, slots=True)
class Measured:
    per_second: float
    p50: float  # milliseconds
    p99: float
    calls: int
    waiting: int  # callers still waiting at the end; their waiting time counts as a call


class Callers:
    """Callers that reserve again and again in one process."""

    def __init__(self, database: Writes, *, seed: int) -> None:
        self._store = Store(cast("Database", database))
        self._draw = random.Random(seed)
        self._since: dict[int, float] = {}  # start of each caller's current call
        self._stop = False
        self.took: list[float] = []

    async def measure(self, callers: int) -> Measured:
        tasks = [asyncio.create_task(self._call(n)) for n in range(callers)]
        try:
            await asyncio.sleep(WARM_UP)
            self.took.clear()
            began = time.perf_counter()
            while not self._enough(began):
                await asyncio.sleep(0.05)
            ended = time.perf_counter()
            done, waits = list(self.took), [ended - each for each in self._since.values()]
        finally:
            self._stop = True
            await asyncio.gather(*tasks)
        took = sorted(done + waits)
        return Measured(len(done) / (ended - began), _at(took, 0.5), _at(took, 0.99), len(done), len(waits))

    def _enough(self, began: float) -> bool:
        passed = time.perf_counter() - began
        return passed >= LONGEST or (passed >= WINDOW and all(each > began for each in self._since.values()))

    async def _call(self, caller: int) -> None:
        while not self._stop:
            began = self._since[caller] = time.perf_counter()
            await self.reserve()
            self.took.append(time.perf_counter() - began)
        del self._since[caller]

    async def reserve(self) -> None:
        """Accept one request of a random member."""
        number, now = next(_numbers), int(time.time() * 1000)
        server, pictures = self._draw.randint(1, SERVERS), self._draw.randint(1, 4)
        member, channel = self._draw.randint(1, MEMBERS), server * 100 + self._draw.randrange(CHANNELS)
        job = _job(f"01L{number:023}", Place(member, channel, server), pictures=pictures, now=now)
        await self._store.accept(
            number,
            job,
            reply=_reply(job),
            amount=Amount(pictures, pictures * self._draw.randint(20_000, 200_000)),
            price_version="2026-11",
            limits=LIMITS,
        )


async def measure(database: Writes, *, callers: int, seed: int = 1) -> Measured:
    return await Callers(database, seed=seed).measure(callers)


def _at(took: list[float], part: float) -> float:
    return took[min(len(took) - 1, int(len(took) * part))] * 1000


def _job(job_id: str, place: Place, *, pictures: int, now: int) -> Job:
    return Job(
        id=job_id,
        place=place,
        request=ImageRequest("nano-banana-2", Verb.IMAGINE, "a harbour at dawn", {"count": pictures, "seed": 7}),
        provider="runcomfy",
        route="google/nano-banana-2/text-to-image",
        state=State.ACCEPTED,
        created_at=now,
        changed_at=now,
        due_at=now,
        give_up_after=600_000,
    )


def _reply(job: Job) -> Reply:
    return Reply(
        job_id=job.id,
        application_id=42,
        channel_id=job.place.channel_id,
        guild_id=job.place.guild_id,
        message_id=None,
        ephemeral=False,
        bot_can_edit=True,
        bot_can_post=True,
        filesize_limit=10_485_760,
        locale="en-US",
        wanted=1,
        delivered=1,
        token="t" * 180,
        token_expires_at=job.created_at + 900_000,
    )

"""CPU and statements for each card that is delivered, of running and of ended jobs; Discord is left out.

1,000 jobs on an empty database file; the messenger takes every card at once, so that what is measured is the schedule,
the reads, the card's data and the record of the delivery.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.core.jobs import State
from bot.core.quota import Limits
from tests.kit import Rig, rig

JOBS = 1_000
NO_LIMITS = Limits(
    user_in_flight=None, guild_in_flight=None, host_in_flight=None, user_day_images=1_000_000,
    user_day_micro_usd=10**12, guild_month_micro_usd=10**12, host_month_micro_usd=10**12,
)  # fmt: skip


def main() -> list[dict[str, Any]]:
    return asyncio.run(_measured())


async def _measured() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder), limits=NO_LIMITS) as app:
            jobs = [await app.imagine(user) for user in range(2_000, 2_000 + JOBS)]
            await _moved(app, jobs, State.SUBMITTING, State.QUEUED, State.RUNNING)
            running = await _delivered(app, "running")
            await _moved(app, jobs, State.CANCELLED)
            return running + await _delivered(app, "ended")


async def _moved(app: Rig, jobs: Sequence[str], *states: State) -> None:
    for job_id in jobs:
        for state in states:
            await app.store.move(await app.job(job_id), state, now=app.time.now)


async def _delivered(app: Rig, name: str) -> list[dict[str, Any]]:
    app.time.go(10)
    before, began, cpu = len(app.messenger.shown), time.perf_counter(), time.process_time()
    while await app.delivery.run_due():
        pass
    sent = len(app.messenger.shown) - before
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    return [
        {"name": f"cpu_us_per_card_{name}", "value": round(cpu / sent * 1e6), "unit": "us"},
        {"name": f"cards_per_second_{name}", "value": round(sent / wall), "unit": "1/s"},
    ]

"""A process that runs many jobs at once and prints each commit, until it is killed.

`python -m tests.store.crashing URL SEED`: a line is `accepted JOB` or `STATE JOB`, printed once it is on disk.
"""

import asyncio
import random
import sys

from bot.core.jobs import NEXT, State
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, opened

AT_ONCE = 8


def say(state: State, job_id: str) -> None:
    sys.stdout.write(f"{state} {job_id}\n")
    sys.stdout.flush()


async def live(store: Store, job_id: str, source: random.Random) -> None:
    job = a_job(job_id, user=source.randint(1, 3), guild=source.choice([None, 5]), count=source.randint(1, 4))
    job = await accept(store, job, price=source.randint(1, 500))
    say(job.state, job_id)
    await store.acknowledge(job_id, message_id=1, ephemeral=False, now=NOON)
    while not job.state.is_final:
        to = source.choice(sorted(NEXT[job.state]))
        moved = await store.move(job, to, now=NOON, images=source.randint(0, 4), may_be_billed=source.random() < 0.3)
        assert moved is not None
        job = moved
        say(job.state, job_id)


async def main(url: str, seed: str) -> None:
    async def one_after_another(n: int) -> None:
        source = random.Random(f"{seed}-{n}")
        for k in range(100_000):
            await live(store, f"{seed}-{n}-{k}", source)

    async with opened(url) as store:
        await asyncio.gather(*(one_after_another(n) for n in range(AT_ONCE)))


asyncio.run(main(sys.argv[1], sys.argv[2]))

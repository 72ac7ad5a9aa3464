"""A process whose files have a size limit: it writes until that is reached, and again after it is raised.

`python -m tests.store.small_disk PATH` prints how many writes were answered before and after, as JSON.
"""

import asyncio
import json
import resource
import sqlite3
import sys
from pathlib import Path

from bot.core.jobs import State
from tests.store.ledger_model import a_job, accept, faults, opened, way_to


async def main(path: Path) -> None:
    async with opened(f"sqlite:///{path}") as store:
        kept, refused = [], 0
        await accept(store, a_job("first"))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        room = path.with_name(path.name + "-wal").stat().st_size + 100_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
        for n in range(60):
            try:
                job = await accept(store, a_job(f"job-{n}"))
                for state in way_to(State.FAILED):
                    await store.move(job, state, now=job.created_at)
                kept.append(job.id)
            except sqlite3.Error:
                refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        await accept(store, a_job("last"))
        sys.stdout.write(json.dumps({"kept": kept, "refused": refused, "faults": await faults(store)}))


asyncio.run(main(Path(sys.argv[1])))

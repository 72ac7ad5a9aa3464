"""A process that makes many reservations at once: `python -m tests.store.reserving URL NAME HOW_MANY LIMITS`.

It says `ready`, waits for a line, asks for all of them together and prints what came of each as JSON: the price of
one picture, how many were asked for, and `accepted`, the key of the refusal, or what went wrong.
"""

import asyncio
import json
import random
import sys
from dataclasses import replace

from bot.core.errors import UserError
from bot.store.store import Store
from tests.store.ledger_model import FREE, a_job, accept, opened


async def ask(store: Store, job_id: str, *, price: int, count: int, limits: dict[str, int]) -> list[object]:
    try:
        await accept(store, a_job(job_id, count=count), price=price, limits=replace(FREE, **limits))
    except UserError as refusal:
        return [job_id, price, count, refusal.key]
    except Exception as exc:  # noqa: BLE001 - the test wants to see everything that a caller sees
        return [job_id, price, count, repr(exc)]
    return [job_id, price, count, "accepted"]


async def main(url: str, name: str, how_many: int, limits: dict[str, int]) -> None:
    source = random.Random(name)
    async with opened(url) as store:
        asks = [
            ask(
                store,
                f"{name}-{n}",
                price=source.randint(10_000, 300_000),
                count=1 if "user_day_images" in limits else source.randint(1, 4),
                limits=limits,
            )
            for n in range(how_many)
        ]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        sys.stdout.write(json.dumps(await asyncio.gather(*asks)))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])))

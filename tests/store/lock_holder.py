"""A process that runs on a database until it is killed: `python -m tests.store.lock_holder URL`."""

import asyncio
import sys

from bot.store.connect import open_database


async def main(url: str) -> None:
    database = await open_database(url, running=True)
    assert await database.try_lock("a lock")
    sys.stdout.write("held\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await database.aclose()


asyncio.run(main(sys.argv[1]))

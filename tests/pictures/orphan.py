"""A program with a picture pool that will be killed: prints its worker's process id, then waits."""

import asyncio
import os
import sys

from bot.pictures.pool import PicturePool
from tests.pictures.make import plain


async def main() -> None:
    pool = PicturePool()
    await pool.check(plain())
    sys.stdout.write(f"{await pool._run(os.getpid, size=0)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

"""Takes what was deleted out of the bytes of an SQLite database, where rows leave copies that `secure_delete` misses.

Two kinds are left: pages as they were before, in the log of writes, until it is emptied; and rows in the unused part of
a page from which they were moved (about two prompts in a thousand), until the file is written anew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

EMPTY = "PRAGMA wal_checkpoint(TRUNCATE)"
MOST_REWRITTEN = 16 * 1024 * 1024  # bytes: a tenth of a second, in which nobody writes


class SecureDeletion:
    """Many who ask at the same time are served together, between two transactions.

    It is the writer's own connection that is used: the work of another one would look like another process's.
    """

    def __init__(self, path: Path, *, run: Callable[..., Awaitable[list[bool]]]) -> None:
        """*run* takes statements and says which of them were done."""
        self._path = path
        self._run = run
        self._one_at_a_time = asyncio.Lock()
        self._asked = self._done = 0
        self._thoroughly = False
        self._closed = False

    async def __call__(self, *, thoroughly: bool) -> bool:
        """False where somebody reads or writes at the moment: nothing waits for it, ask again.

        *thoroughly*: write the file anew as well, unless it is large.
        """
        self._asked += 1
        mine = self._asked
        self._thoroughly |= thoroughly
        async with self._one_at_a_time:
            if self._done >= mine or self._closed:
                return True
            covered, rewrite = self._asked, self._thoroughly
            self._thoroughly = False
            rewritten, emptied = await self._forget(rewrite=rewrite)
            self._thoroughly |= rewrite and not rewritten
            if rewritten and emptied:
                self._done = covered
            return rewritten and emptied

    async def aclose(self) -> None:
        self._closed = True
        async with self._one_at_a_time:
            pass  # the last one has ended

    async def _forget(self, *, rewrite: bool) -> tuple[bool, bool]:
        """Whether the file needs no rewriting any more, and whether the log of writes is empty."""
        try:
            rewrite = rewrite and self._path.stat().st_size <= MOST_REWRITTEN
        except OSError:  # somebody has taken the file away
            return False, False
        if rewrite:
            _, rewritten, emptied = await self._run("PRAGMA temp_store = MEMORY", "VACUUM", EMPTY)
            return rewritten, emptied
        (emptied,) = await self._run(EMPTY)
        return True, emptied

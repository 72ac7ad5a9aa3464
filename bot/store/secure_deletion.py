"""Removes copies of deleted rows from the files of an SQLite database that `secure_delete` leaves.

Two kinds are left: earlier versions of pages, in the WAL, until it is truncated; and rows in the unused part of a page
from which they were moved (about two prompts in a thousand), until a VACUUM.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

TRUNCATE_WAL = "PRAGMA wal_checkpoint(TRUNCATE)"
MAX_VACUUM_BYTES = 16 * 1024 * 1024  # a larger VACUUM blocks writers for more than a tenth of a second


class SecureDeletion:
    """Serves concurrent requests together, between two transactions.

    It uses the writer's connection: a change by another connection would look like one by another process.
    """

    def __init__(self, path: Path, *, run: Callable[..., Awaitable[list[bool]]]) -> None:
        """*run* executes statements, and returns which of them succeeded."""
        self._path = path
        self._run = run
        self._lock = asyncio.Lock()
        self._requested = self._completed = 0
        self._thoroughly = False
        self._closed = False

    async def __call__(self, *, thoroughly: bool) -> bool:
        """Truncate the WAL; *thoroughly*: also VACUUM the file, unless it is large.

        False where a reader or another writer prevents it; nothing waits for them, so call it again.
        """
        self._requested += 1
        request = self._requested
        self._thoroughly |= thoroughly
        async with self._lock:
            if self._completed >= request or self._closed:
                return True
            covered, rewrite = self._requested, self._thoroughly
            self._thoroughly = False
            rewritten, emptied = await self._purge(rewrite=rewrite)
            self._thoroughly |= rewrite and not rewritten
            if rewritten and emptied:
                self._completed = covered
            return rewritten and emptied

    async def aclose(self) -> None:
        self._closed = True
        async with self._lock:
            pass  # the last request has ended

    async def _purge(self, *, rewrite: bool) -> tuple[bool, bool]:
        """Whether no VACUUM is needed any more, and whether the WAL is empty."""
        try:
            rewrite = rewrite and self._path.stat().st_size <= MAX_VACUUM_BYTES
        except OSError:  # the file is missing
            return False, False
        if rewrite:
            _, rewritten, emptied = await self._run("PRAGMA temp_store = MEMORY", "VACUUM", TRUNCATE_WAL)
            return rewritten, emptied
        (emptied,) = await self._run(TRUNCATE_WAL)
        return True, emptied

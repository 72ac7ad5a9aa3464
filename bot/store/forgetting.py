"""Takes what was deleted out of the bytes of an SQLite database, where rows leave copies that `secure_delete` misses.

Two kinds are left: pages as they were before, in the log of writes, until it is emptied; and rows in the unused part of
a page from which they were moved (about two prompts in a thousand), until the file is written anew.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

MOST_REWRITTEN = 16 * 1024 * 1024  # bytes: a tenth of a second, in which nobody writes


class Forgetting:
    """Many who ask at the same time are served together, in a thread and by a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
            rewritten, emptied = await asyncio.to_thread(_forget, self._path, rewrite=rewrite)
            self._thoroughly |= rewrite and not rewritten
            if rewritten and emptied:
                self._done = covered
            return rewritten and emptied

    async def aclose(self) -> None:
        self._closed = True
        async with self._one_at_a_time:
            pass  # the last one has ended


def _forget(path: Path, *, rewrite: bool) -> tuple[bool, bool]:
    """Whether the file needs no rewriting any more, and whether the log of writes is empty."""
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("PRAGMA temp_store = MEMORY")
            rewritten = not rewrite or path.stat().st_size > MOST_REWRITTEN or _ran(connection, "VACUUM")
            return rewritten, _ran(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.Error, OSError):  # no descriptors left, say
        return False, False


def _ran(connection: sqlite3.Connection, sql: str) -> bool:
    """Whether it was done; a checkpoint answers with a row that begins with 1 where others were in its way."""
    try:
        row = connection.execute(sql).fetchone()
    except sqlite3.OperationalError:  # somebody writes, or the disk is full
        return False
    return not (row and row[0])

"""Takes what was deleted out of the bytes of an SQLite database, where rows leave copies that `secure_delete` misses.

Two kinds are left: pages as they were before, in the log of writes, until it is emptied; and rows in the unused part of
a page from which they were moved (about two prompts in a thousand), until the file is written anew.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

MOST_REWRITTEN = 16 * 1024 * 1024  # bytes: a tenth of a second, in which nobody writes


class Forgetting:
    """Many who ask at the same time are served together, in a thread and by a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = identity(path)
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
            rewritten, emptied = await asyncio.to_thread(_forget, self._path, file=self._file, rewrite=rewrite)
            self._thoroughly |= rewrite and not rewritten
            if rewritten and emptied:
                self._done = covered
            return rewritten and emptied

    async def aclose(self) -> None:
        self._closed = True
        async with self._one_at_a_time:
            pass  # the last one has ended


def identity(path: Path) -> tuple[int, int]:
    """Which file is at *path*, whatever it is called; `OSError` where there is none."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _forget(path: Path, *, file: tuple[int, int], rewrite: bool) -> tuple[bool, bool]:
    """Whether the file needs no rewriting any more, and whether the log of writes is empty."""
    try:
        if identity(path) != file:  # another one has taken its place: that is nobody's to write to
            return False, False
        with closing(_opened(path)) as connection:
            connection.execute("PRAGMA temp_store = MEMORY")
            rewritten = not rewrite or path.stat().st_size > MOST_REWRITTEN or _ran(connection, "VACUUM")
            return rewritten, _ran(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.Error, OSError):  # no descriptors left, say
        return False, False


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that waits for nobody and makes no file."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0, isolation_level=None)


def _ran(connection: sqlite3.Connection, sql: str) -> bool:
    """Whether it was done; a checkpoint answers with a row that begins with 1 where others were in its way."""
    try:
        row = connection.execute(sql).fetchone()
    except sqlite3.OperationalError:  # somebody writes, or the disk is full
        return False
    return not (row and row[0])

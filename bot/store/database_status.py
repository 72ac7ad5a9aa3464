"""Looks at a database and changes nothing: whether there is one, whose version it has, and what is in its way."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bot.files.modes import is_there
from bot.store.database import StoreUnusable
from bot.store.versions import migrations


@dataclass(frozen=True, slots=True)
class Status:
    """*version* 0 has no tables yet, None is no database at all; *newest* is the one that this Darkroom works with.

    *obstacle*: why it could not be made, brought up to date or written to; empty where nothing is known of.
    """

    version: int | None
    newest: int
    obstacle: str = ""

    @property
    def is_ready(self) -> bool:
        return self.version == self.newest


def family(path: Path) -> list[Path]:
    """All files that belong to the SQLite database at *path*."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal", ".lock")]


def sqlite_status(path: Path) -> Status:
    """`StoreUnusable` for what is there and is no database of ours."""
    newest = len(migrations("sqlite"))
    if not is_there(path):
        above = next(each for each in path.absolute().parents if each.exists())
        may = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        return Status(None, newest, obstacle="" if may else f"{above} cannot be written by this user")
    try:
        with closing(sqlite3.connect(_as_it_is(path), uri=True)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as exc:
        raise StoreUnusable(f"the database {path.absolute()} cannot be read: {exc}") from exc
    if ("jobs" in tables) is not (version > 0) or (tables and not version):
        raise StoreUnusable(f"{path.absolute()} does not hold Darkroom's tables: check DARKROOM_DATABASE__URL")
    locked = [each for each in (path, path.absolute().parent) if not os.access(each, os.W_OK)]
    return Status(version, newest, obstacle=f"{locked[0]} cannot be written by this user" if locked else "")


def _as_it_is(path: Path) -> str:
    """An address under which SQLite makes no file: it would, where a log of writes or its index is not there."""
    _, wal, shm, *_ = family(path)
    rest = "" if wal.exists() and shm.exists() else "&immutable=1"
    return f"file:{quote(str(path.absolute()))}?mode=ro{rest}"

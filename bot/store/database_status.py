"""The status of a database, read without changing it: its version, and what prevents writing to it."""

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
    """*version* is 0 for a database without tables, and None for no database; *newest* is the version we need.

    *obstacle* says why the database cannot be created, migrated or written to; empty where no reason is known.
    """

    version: int | None
    newest: int
    obstacle: str = ""


def related_files(path: Path) -> list[Path]:
    """The files of the SQLite database at *path*, itself first, whether they exist or not."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal", ".lock")]


def sqlite_status(path: Path) -> Status:
    """The status of the file at *path*; raises `StoreUnusable` if it is not a database with Darkroom's tables."""
    newest = len(migrations("sqlite"))
    if not is_there(path):
        parent = next(each for each in path.absolute().parents if each.exists())
        creatable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
        return Status(None, newest, obstacle="" if creatable else f"{parent} cannot be written by this user")
    try:
        with closing(sqlite3.connect(_read_only_uri(path), uri=True)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as exc:
        raise StoreUnusable(f"the database {path.absolute()} cannot be read: {exc}") from exc
    if ("jobs" in tables) is not (version > 0) or (tables and not version):
        raise StoreUnusable(f"{path.absolute()} does not hold Darkroom's tables: check DARKROOM_DATABASE__URL")
    unwritable = [each for each in (path, path.absolute().parent) if not os.access(each, os.W_OK)]
    return Status(version, newest, obstacle=f"{unwritable[0]} cannot be written by this user" if unwritable else "")


def _read_only_uri(path: Path) -> str:
    """A URI for which SQLite creates no file: without `immutable` it creates a missing WAL or WAL index."""
    _, wal, shm, *_ = related_files(path)
    immutable = "" if wal.exists() and shm.exists() else "&immutable=1"
    return f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"

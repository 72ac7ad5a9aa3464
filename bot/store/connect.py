"""Opens a database by its URL, or reads its status, for either engine."""

from pathlib import Path
from typing import TYPE_CHECKING

from bot.store.database import Database, StoreMissing, StoreTooNew, StoreUnusable, display_url
from bot.store.database_status import Status, related_files, sqlite_status
from bot.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from bot.store.postgres import PostgresDatabase

SQLITE = "sqlite:///"


async def open_database(url: str, *, direct_url: str = "", running: bool = False) -> Database:
    """Open the database at *url*, creating and migrating it where necessary.

    *direct_url* is the address of the server itself where *url* is a pooler's. *running*: as one of the processes that
    run jobs on it; on SQLite the only one. Raises `StoreBusy` if another process runs, `StoreTooNew` if a
    newer version has written it, and `StoreUnusable` if it cannot be used.
    """
    if url.startswith(SQLITE):
        return await SqliteDatabase.open(Path(url.removeprefix(SQLITE)), running=running)
    return await _postgres().open(url, direct_url=direct_url, running=running)


async def status(url: str, *, pooled: bool = False) -> Status:
    """The status of the database at *url*, without changing it; *pooled*: the URL is a pooler's.

    Raises `StoreUnusable` if it cannot be reached or holds other tables than Darkroom's.
    """
    if url.startswith(SQLITE):
        return sqlite_status(Path(url.removeprefix(SQLITE)))
    return await _postgres().status(url, pooled=pooled)


async def open_existing(url: str) -> Database:
    """Open the database at *url* without creating or migrating it, since a bot may be running on it.

    Raises `StoreMissing` if there is none, `StoreUnusable` if it must be migrated, `StoreTooNew` if a newer version has
    written it.
    """
    current = await status(url)
    if not current.version:
        where = display_location(url)
        raise StoreMissing(f"there is no database yet at {where} (`darkroom run` or `darkroom migrate` creates it)")
    versions = f"the database has version {current.version}, this Darkroom"
    if current.version > current.newest:
        raise StoreTooNew(f"{versions} knows {current.newest}: update Darkroom")
    if current.version < current.newest:
        raise StoreUnusable(f"{versions} needs {current.newest}: stop the bot, run `darkroom migrate`, start the bot")
    return await open_database(url)


def database_files(url: str) -> list[Path]:
    """The files of the SQLite database at *url*, whether they exist or not; none for PostgreSQL."""
    return related_files(Path(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else []


def display_location(url: str) -> str:
    """Where the database at *url* is, for messages: the absolute path of a file, or a URL without its password."""
    return str(Path(url.removeprefix(SQLITE)).absolute()) if url.startswith(SQLITE) else display_url(url)


def _postgres() -> "type[PostgresDatabase]":
    try:
        from bot.store.postgres import PostgresDatabase  # noqa: PLC0415 - asyncpg is an extra
    except ModuleNotFoundError as exc:
        raise StoreUnusable(f"PostgreSQL needs the package {exc.name}: install darkroom[postgres]") from exc
    return PostgresDatabase

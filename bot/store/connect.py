"""Opens the database that an address names, whichever engine it is, or only looks at it."""

from pathlib import Path
from typing import TYPE_CHECKING

from bot.store.database import Database, StoreMissing, StoreTooNew, StoreUnusable, shown
from bot.store.database_status import Status, family, sqlite_status
from bot.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from bot.store.postgres import PostgresDatabase

SQLITE = "sqlite:///"


async def open_database(url: str, *, running: bool = False) -> Database:
    """The database at *url*, made if need be and up to date; *running* as the one process that runs on it.

    `StoreBusy` if another one runs, `StoreTooNew` if it is ahead of us, `StoreUnusable` if it cannot be used.
    """
    if url.startswith(SQLITE):
        return await SqliteDatabase.open(Path(url.removeprefix(SQLITE)), running=running)
    return await _postgres().open(url, running=running)


async def status(url: str) -> Status:
    """What there is at *url*, without changing it. `StoreUnusable` if it cannot be reached or is something else."""
    if url.startswith(SQLITE):
        return sqlite_status(Path(url.removeprefix(SQLITE)))
    return await _postgres().status(url)


async def open_existing(url: str) -> Database:
    """The database at *url* as it is: beside a running bot, nobody else makes or changes its tables.

    `StoreMissing` if there is none, `StoreUnusable` if it is behind us, `StoreTooNew` if it is ahead.
    """
    found = await status(url)
    if not found.version:
        raise StoreMissing(f"there is no database yet at {place(url)} (`darkroom run` or `darkroom migrate` makes it)")
    versions = f"the database has version {found.version}, this Darkroom"
    if found.version > found.newest:
        raise StoreTooNew(f"{versions} knows {found.newest}: update Darkroom")
    if found.version < found.newest:
        raise StoreUnusable(f"{versions} needs {found.newest}: stop the bot, run `darkroom migrate`, start the bot")
    return await open_database(url)


def database_files(url: str) -> list[Path]:
    """The files of the database at *url*, there or not; none for a server's."""
    return family(Path(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else []


def place(url: str) -> str:
    """Where the database at *url* is: the whole path of a file, or a server's address."""
    return str(Path(url.removeprefix(SQLITE)).absolute()) if url.startswith(SQLITE) else shown(url)


def _postgres() -> "type[PostgresDatabase]":
    try:
        from bot.store.postgres import PostgresDatabase  # noqa: PLC0415 - asyncpg is an extra
    except ModuleNotFoundError as exc:
        raise StoreUnusable(f"PostgreSQL needs the package {exc.name}: install darkroom[postgres]") from exc
    return PostgresDatabase

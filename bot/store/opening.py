"""Opens the database that an address names, whichever engine it is."""

from pathlib import Path

from bot.store.database import Database, StoreUnusable
from bot.store.sqlite import SqliteDatabase

SQLITE = "sqlite:///"


async def open_database(url: str, *, running: bool = False) -> Database:
    """The database at *url*, made if need be and up to date; *running* as the one process that runs on it.

    `StoreBusy` if another one runs, `StoreTooNew` if it is ahead of us, `StoreUnusable` if it cannot be used.
    """
    if url.startswith(SQLITE):
        return await SqliteDatabase.open(Path(url.removeprefix(SQLITE)), running=running)
    try:
        from bot.store.postgres import PostgresDatabase  # noqa: PLC0415 - asyncpg is an extra
    except ModuleNotFoundError as exc:
        raise StoreUnusable(f"PostgreSQL needs the package {exc.name}: install darkroom[postgres]") from exc
    return await PostgresDatabase.open(url, running=running)

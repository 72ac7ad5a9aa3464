"""Alternative ways to run the store's transactions with the same statements, as bots commonly do.

All of them commit each unit by itself, on disk before its caller goes on.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiosqlite
import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bot.store.database import Row, Unit
from bot.store.postgres import _PostgresTx
from bot.store.sqlite import _by_position

T = TypeVar("T")
TIMEOUT = 600.0  # seconds; long enough that no caller fails by waiting
NAME = {"application_name": "darkroom run bench"}  # as the running bot: its writes send no notifications


class Writes(Protocol):
    """The one method of a `Database` that a reservation needs."""

    async def write(self, unit: Unit[T]) -> T: ...


class _AioTx:
    """Statement by statement through aiosqlite: a hop to its thread for each."""

    host_shards = 1

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, *args: object) -> None:
        await self._connection.execute(*_positional(sql, args))

    async def fetch(self, sql: str, *args: object) -> Sequence[Row]:
        rows: Any = await self._connection.execute_fetchall(*_positional(sql, args))
        return list(rows)

    async def one(self, sql: str, *args: object) -> Row | None:
        rows = await self.fetch(sql, *args)
        return rows[0] if rows else None


class _AlchemyTx:
    """The same statements through SQLAlchemy, which passes them to the driver unchanged."""

    host_shards = 1

    def __init__(self, connection: Any, *, positions: bool) -> None:
        self._connection = connection
        self._positions = positions

    async def run(self, sql: str, *args: object) -> None:
        await self._execute(sql, args)

    async def fetch(self, sql: str, *args: object) -> Sequence[Row]:
        rows: Sequence[Row] = (await self._execute(sql, args)).mappings().all()
        return rows

    async def one(self, sql: str, *args: object) -> Row | None:
        row: Row | None = (await self._execute(sql, args)).mappings().first()
        return row

    async def _execute(self, sql: str, args: tuple[object, ...]) -> Any:
        if self._positions:
            sql, args = _positional(sql, args)
        return await self._connection.exec_driver_sql(sql, args or None)


def _positional(sql: str, args: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
    text, order = _by_position(sql)
    return text, args if order is None else tuple(args[n] for n in order)


class SqlitePerCall:
    """`async with aiosqlite.connect(...)` around each command: what most bots on GitHub do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, unit: Unit[T]) -> T:
        async with _sqlite(self._path) as connection:
            return await _in_transaction(connection, unit)


class SqliteLocked:
    """One connection for the whole bot, and a lock so that only one command is in a transaction."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def write(self, unit: Unit[T]) -> T:
        async with self._lock:
            return await _in_transaction(self._connection, unit)


class Alchemy:
    """An async engine with its default pool, `engine.begin()` around each command."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, unit: Unit[T]) -> T:
        async with self._engine.begin() as connection:
            return await unit(_AlchemyTx(connection, positions=self._engine.dialect.name == "sqlite"))


class PostgresPerCall:
    """`asyncpg.connect(...)` around each command, as many at once as the server lets in."""

    def __init__(self, url: str, *, at_once: int) -> None:
        self._url = url
        self._room = asyncio.Semaphore(at_once)

    async def write(self, unit: Unit[T]) -> T:
        async with self._room:
            connection = await asyncpg.connect(self._url, server_settings=NAME)
            try:
                async with connection.transaction():
                    return await unit(_PostgresTx(connection))
            finally:
                await connection.close()


class PostgresLocked:
    """One connection for the whole bot behind a lock."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def write(self, unit: Unit[T]) -> T:
        async with self._lock, self._connection.transaction():
            return await unit(_PostgresTx(self._connection))


@asynccontextmanager
async def sqlite_per_call(path: Path, *, journal: str) -> AsyncIterator[Writes]:
    _set_journal(path, journal)
    yield SqlitePerCall(path)


@asynccontextmanager
async def sqlite_locked(path: Path) -> AsyncIterator[Writes]:
    _set_journal(path, "wal")
    async with _sqlite(path) as connection:
        yield SqliteLocked(connection)


@asynccontextmanager
async def sqlite_alchemy(path: Path) -> AsyncIterator[Writes]:
    _set_journal(path, "wal")
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", connect_args={"timeout": TIMEOUT}, pool_timeout=TIMEOUT
    )  # fmt: skip
    try:
        yield Alchemy(engine)
    finally:
        await engine.dispose()


@asynccontextmanager
async def postgres_per_call(url: str) -> AsyncIterator[Writes]:
    connection = await asyncpg.connect(url)
    most = int(await connection.fetchval("SHOW max_connections"))
    await connection.close()
    yield PostgresPerCall(url, at_once=most - 10)  # some are kept for superusers, some are still closing


@asynccontextmanager
async def postgres_locked(url: str) -> AsyncIterator[Writes]:
    connection = await asyncpg.connect(url, server_settings=NAME)
    try:
        yield PostgresLocked(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def postgres_alchemy(url: str) -> AsyncIterator[Writes]:
    async def connect(*_args: object, **_options: object) -> Any:
        return await asyncpg.connect(url, server_settings=NAME)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_timeout=TIMEOUT)
    try:
        yield Alchemy(engine)
    finally:
        await engine.dispose()


def _set_journal(path: Path, mode: str) -> None:
    connection = sqlite3.connect(path)
    (now,) = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    connection.close()
    if (now, synchronous) != (mode, 2):  # FULL, SQLite's own default
        raise RuntimeError(f"journal {now}, synchronous {synchronous}")


@asynccontextmanager
async def _sqlite(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(path, timeout=TIMEOUT, isolation_level=None) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


async def _in_transaction(connection: aiosqlite.Connection, unit: Unit[T]) -> T:
    await connection.execute("BEGIN IMMEDIATE")
    try:
        result = await unit(_AioTx(connection))
    except BaseException:
        await connection.rollback()
        raise
    await connection.commit()
    return result

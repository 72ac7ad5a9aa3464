"""The interface of the database engines: units of work in transactions.

A unit is `async def unit(tx)` that awaits only methods of *tx*. Statements use `$1, $2, …`. An engine may run a unit
more than once, and returns the result of the run that was committed. The unit of a cancelled caller may still be
committed. SQLite runs units one after another, PostgreSQL concurrently: a unit locks the rows that it decides by before
it reads them.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# Errors of a database that may be temporary: a full disk, another writer, a lost connection.
DATABASE_ERRORS: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
# Errors of a lost connection: the next call uses another one.
CONNECTION_LOST: tuple[type[Exception], ...] = (ConnectionError,)
with suppress(ModuleNotFoundError):  # an extra
    import asyncpg

    DATABASE_ERRORS += (asyncpg.PostgresError, asyncpg.InterfaceError)
    CONNECTION_LOST += (asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
Row = Mapping[str, Any]


class Tx(Protocol):
    """One transaction."""

    host_shards: int  # how many rows each total of the scope `host` is divided into: 1 where units do not run at once

    async def run(self, sql: str, *args: object) -> None: ...

    async def fetch(self, sql: str, *args: object) -> Sequence[Row]: ...

    async def one(self, sql: str, *args: object) -> Row | None: ...


Unit = Callable[[Tx], Awaitable[T]]


async def insert(tx: Tx, table: str, row: Mapping[str, object]) -> None:
    """Insert *row*, whose keys are the names of columns."""
    await tx.run(_insert(table, tuple(row)), *row.values())


@cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{each}"' for each in columns)
    values = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - names of our tables and columns


class Database(Protocol):
    unavailable_because: BaseException | None  # why units are waiting for the server; None while it answers
    shared: bool  # whether other processes may run on it at the same time

    async def write(self, unit: Unit[T], *, on_commit: Callable[[T], None] | None = None) -> T:
        """Run *unit* in a transaction of its own and return when it is on disk.

        *on_commit* is called with the unit's result once it is on disk, before the caller goes on, and also where the
        caller was cancelled. The units of one SQLite file call in the order of their commits.
        """
        ...

    async def run_statements(self, unit: Unit[T]) -> T:
        """Run *unit* with each of its statements in a transaction of its own; only on a shared database.

        Where the connection is lost, or transactions conflict, the whole unit is run again: it has to find out which of
        its statements were committed.
        """
        ...

    def abandon(self, work: "asyncio.Task[Any]") -> None:
        """Let `wait_for_abandoned` wait for *work* also; only on a shared database."""
        ...

    async def read(self, unit: Unit[T]) -> T:
        """Run *unit* on one consistent snapshot, without waiting for writers."""
        ...

    async def scan(self, unit: Unit[T]) -> T:
        """Like `read`, on a connection of its own, for a query that may take minutes."""
        ...

    async def external_changes(self) -> int:
        """A number that changes whenever rows of jobs or replies may have changed unnoticed.

        A command of the operator has changed them, or messages of other processes may have been missed. For running
        processes only: on PostgreSQL, others are not notified of their writes.
        """
        ...

    async def now(self) -> int:
        """UTC milliseconds by the clock of the server, or of this machine on a database that is not shared."""
        ...

    async def publish(self, messages: Sequence[str]) -> None:
        """Send texts to all running processes, this one included; nothing on a database that is not shared."""
        ...

    def on_message(self, listener: Callable[[str], None]) -> None:
        """Call *listener* with each text that a running process sends."""
        ...

    async def try_lock(self, name: str) -> bool:
        """Whether this process is the one that holds the lock *name*, until it unlocks it or closes the database.

        Where the connection to the server was lost, another process may have it now.
        """
        ...

    async def unlock(self, name: str) -> None:
        """Let another process have the lock *name*, if this one holds it."""
        ...

    async def wait_for_abandoned(self) -> None:
        """Wait for all units whose callers were cancelled, so that later writes come after them."""
        ...

    async def purge_deleted(self, *, thoroughly: bool = False) -> bool:
        """Remove deleted and overwritten data from the engine's files.

        False where other connections prevented it: call it again. *thoroughly*, for members' text, costs more.
        """
        ...

    async def writable(self) -> bool:
        """Whether a write currently reaches the disk."""
        ...

    async def aclose(self) -> None: ...


def display_url(url: str) -> str:
    """The URL of a database for printing: without password and options."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite":
        return url
    account, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{account.partition(':')[0]}{at}{place.partition('?')[0]}"


class StoreUnusable(Exception):
    """The database cannot be opened; the text says which one and why."""


class StoreMissing(StoreUnusable):
    """The database does not exist."""


class StoreTooNew(Exception):
    """The database was written by a newer version of Darkroom."""


class StoreBusy(Exception):
    """Another process already runs on this database."""

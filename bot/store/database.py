"""The port between the store's statements and an engine: units of work in transactions.

A unit is `async def unit(tx)` that awaits nothing but *tx*. Statements use `$1, $2, …`. An engine may run one again,
but answers with what was decided by the run that was committed. A caller that gave up waiting may still have its unit
committed.
SQLite runs units one after another, PostgreSQL side by side: what a unit decides by, it locks before it reads.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# What a database raises that may pass by itself: a full disk, another writer, a lost connection.
DATABASE_ERRORS: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
# And what it raises when its connection was cut: the next one is as good as new.
CONNECTION_LOST: tuple[type[Exception], ...] = (ConnectionError,)
with suppress(ModuleNotFoundError):  # an extra
    import asyncpg

    DATABASE_ERRORS += (asyncpg.PostgresError, asyncpg.InterfaceError)
    CONNECTION_LOST += (asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
Row = Mapping[str, Any]


class Tx(Protocol):
    """One transaction. None of its methods waits for anything but the database."""

    async def run(self, sql: str, *args: object) -> None: ...

    async def fetch(self, sql: str, *args: object) -> Sequence[Row]: ...

    async def one(self, sql: str, *args: object) -> Row | None: ...


Unit = Callable[[Tx], Awaitable[T]]


class Database(Protocol):
    away_because: BaseException | None  # why units wait for the database at the moment; None where none does

    async def write(self, unit: Unit[T]) -> T:
        """Run *unit* in a transaction of its own and return when it is on disk."""
        ...

    async def read(self, unit: Unit[T]) -> T:
        """Run *unit* on one consistent snapshot, without ever waiting for writers."""
        ...

    async def scan(self, unit: Unit[T]) -> T:
        """Like `read`, for a look that may take a minute: nobody else waits for it."""
        ...

    async def outside_changes(self) -> int:
        """A number that differs whenever another process has set a job's or a reply's clock since the last call.

        Only the running process needs to ask; on PostgreSQL the others hear nothing of what it writes.
        """
        ...

    async def given_up_ended(self) -> None:
        """Wait for all units that callers gave up on: whatever is written after this comes after them."""
        ...

    async def purge_deleted(self, *, thoroughly: bool = False) -> bool:
        """See to it that what was deleted or overwritten is not left anywhere in the engine's files.

        False where others were in the way: ask again. *thoroughly* is for words of members: it costs more.
        """
        ...

    async def writable(self) -> bool:
        """Whether a write reaches the disk at the moment."""
        ...

    async def aclose(self) -> None: ...


def shown(url: str) -> str:
    """The address of a database as it may be printed: without password and options."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite":
        return url
    account, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{account.partition(':')[0]}{at}{place.partition('?')[0]}"


class StoreUnusable(Exception):
    """The database cannot be opened; the text says which and why."""


class StoreMissing(StoreUnusable):
    """There is no database there yet."""


class StoreTooNew(Exception):
    """The database was written by a newer Darkroom than this one."""


class StoreBusy(Exception):
    """Another Darkroom already runs on this database."""

"""The embedded database: one writer that commits many callers' units at once, and one reader.

aiosqlite runs a connection's calls in a thread of its own. Our connection's `commit()` works through a
mailbox of units there, so a whole batch costs one hop and one fsync, and `synchronous=FULL` is nearly free
(docs/decisions/0001-group-commit.md has the numbers).

Longer than other files: that every caller is answered, whatever breaks, is a promise of all its parts together.
"""

import asyncio
import fcntl
import functools
import logging
import os
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from bot.files.modes import make_file, make_folder, open_private
from bot.store.database import Row, StoreBusy, StoreUnusable, Tx, Unit
from bot.store.secure_deletion import SecureDeletion
from bot.store.versions import missing

log = logging.getLogger(__name__)

T = TypeVar("T")
BATCH = 256  # units a commit carries at most; more only makes the first wait longer
PROBE_TIMEOUT = 5.0  # seconds
BUSY_TIMEOUT = 5000  # milliseconds to wait for another process that writes
THREAD_LOOK = 1.0  # seconds between looks whether a connection's thread still lives
BROKEN = (sqlite3.Error, RuntimeError, ValueError, MemoryError)  # what working through a mailbox may come to
NUMBERED = re.compile(r"\$(\d+)")


class _SqliteTx:
    """The statements of one unit. Nothing here suspends, so a unit cannot be interleaved with another."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, *args: object) -> None:
        self._execute(sql, args)

    async def fetch(self, sql: str, *args: object) -> Sequence[Row]:
        return self._execute(sql, args).fetchall()

    async def one(self, sql: str, *args: object) -> Row | None:
        rows = self._execute(sql, args).fetchall()
        return rows[0] if rows else None

    def _execute(self, sql: str, args: tuple[object, ...]) -> sqlite3.Cursor:
        text, order = _by_position(sql)
        return self._connection.execute(text, args if order is None else [args[n] for n in order])


@functools.cache
def _by_position(sql: str) -> tuple[str, Sequence[int] | None]:
    """*sql* with a plain `?` for each `$n`, and which argument stands at each; None where they stand as given.

    SQLite would take `$n` for a name and bind a tuple in order of first use, which `$2 … $1` gets silently wrong.
    """
    order = [int(each) - 1 for each in NUMBERED.findall(sql)]
    return NUMBERED.sub("?", sql), None if order == list(range(len(order))) else order


@dataclass(slots=True)
class _Pending:
    unit: Unit[Any]
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    committed: bool = False  # what is above is its answer


class _Connection(sqlite3.Connection):
    """A connection whose `commit()` runs a mailbox of units in one transaction, in savepoints if one of them fails."""

    begin = "BEGIN IMMEDIATE"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row_factory = sqlite3.Row
        self.thread = threading.current_thread()
        self.mailbox: deque[_Pending] = deque()
        self.batch: list[_Pending] = []

    def commit(self) -> None:
        """Whatever this raises, the connection is of no more use."""
        self.batch = [self.mailbox.popleft() for _ in range(min(BATCH, len(self.mailbox)))]
        failed = self._together(self.batch, apart=False)
        if failed is not None and not _is_busy(failed):  # somebody's unit failed, which is rare: find out whose
            failed = self._together(self.batch, apart=True)
        if failed is not None and not _is_busy(failed):
            for letter in self.batch:  # one unit must not spoil its neighbours', as a full disk does
                self._together([letter], apart=True)

    def _together(self, letters: Sequence[_Pending], *, apart: bool) -> sqlite3.Error | None:
        """Run *letters* in one transaction; *apart*, each in a savepoint of its own, so that it fails alone."""
        for letter in letters:
            letter.result = letter.error = None
        try:
            self.execute(self.begin)
            for letter in letters:
                self._open(letter, apart=apart)
            self.execute("COMMIT")
        except sqlite3.Error as exc:
            for letter in letters:
                letter.error = exc
            if self.in_transaction:
                self.execute("ROLLBACK")
            return exc
        for letter in letters:
            letter.committed = True
        return None

    def _open(self, letter: _Pending, *, apart: bool) -> None:
        if letter.answer.cancelled():
            return
        if apart:
            self.execute("SAVEPOINT unit")
        try:
            letter.result = _drive(letter.unit, _SqliteTx(self))
        except BaseException as exc:
            if not apart or not self.in_transaction:  # a full disk ends the whole transaction by itself
                raise _as_sqlite(exc) from exc
            letter.error = exc  # it belongs to the caller and is raised there
            self.execute("ROLLBACK TO unit")
        if apart:
            self.execute("RELEASE unit")


def _is_busy(exc: sqlite3.Error) -> bool:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # the low byte, beside what kind of busy


def _as_sqlite(exc: BaseException) -> sqlite3.Error:
    return exc if isinstance(exc, sqlite3.Error) else sqlite3.OperationalError(f"the transaction ended: {exc!r}")


class _Reader(_Connection):
    begin = "BEGIN"


def _drive(unit: Unit[T], tx: Tx) -> T:
    """Run *unit* to its end without an event loop; one that waits for anything else is an error."""
    work = unit(tx).__await__()
    try:
        next(work)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        close = getattr(work, "close", None)
        if close is not None:
            close()
    raise RuntimeError("a unit of work may await nothing but its transaction")


@dataclass(slots=True)
class _Writer:
    """One connection with the task that empties its mailbox; a connection that breaks is replaced."""

    path: Path
    connection: aiosqlite.Connection
    raw: _Connection
    mailbox: deque[_Pending]
    file: tuple[int, int]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by whoever uses the connection
    closing: bool = False
    broken: bool = False
    task: asyncio.Task[None] | None = None

    async def call(self, unit: Unit[T]) -> T:
        if self.closing:
            raise RuntimeError("the store is closed")
        letter = _Pending(unit, asyncio.get_running_loop().create_future())
        self.mailbox.append(letter)
        self.wake.set()
        return await letter.answer  # type: ignore[no-any-return]

    async def aside(self, *statements: str) -> list[bool]:
        """Run *statements* between two transactions, waiting for no other connection; which of them were done.

        A checkpoint answers with a row that begins with 1 where others were in its way.
        """
        async with self.turn:
            if self.broken or self.closing:
                return [False for _ in statements]
            try:
                await self._ran("PRAGMA busy_timeout = 0")
                return [await self._ran(each) for each in statements]
            except BROKEN:  # the next batch finds that out as well, and opens another connection
                return [False for _ in statements]
            finally:
                with suppress(*BROKEN):
                    await self._ran(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

    async def _ran(self, statement: str) -> bool:
        try:
            rows = list(await self._in_thread(self.connection.execute_fetchall(statement)))
        except sqlite3.Error:  # somebody writes, or the disk is full
            return False
        return not (rows and rows[0][0])

    async def deliver(self) -> None:
        try:
            while not (self.closing and not self.mailbox):
                await self.wake.wait()
                self.wake.clear()
                while self.mailbox:
                    async with self.turn:
                        await self._deliver_some()
        finally:  # whatever ended this, nobody is left waiting
            self.closing = True
            for letter in (*self.raw.batch, *self.mailbox):
                _answer(letter, RuntimeError("the store is closed"))

    async def _deliver_some(self) -> None:
        try:
            if self.broken:
                await self._open_anew()
            await self._commit()
        except BROKEN as exc:
            if not self.broken:
                log.warning("A connection to the database broke: %r", exc, extra={"event": "store_broken"})
            self.broken = True
            for letter in self.raw.batch or [self.mailbox.popleft() for _ in range(len(self.mailbox))]:
                _answer(letter, _as_sqlite(exc))
        else:
            for letter in self.raw.batch:
                _answer(letter)
        self.raw.batch = []

    async def _commit(self) -> None:
        """Work through a part of the mailbox; raises where the connection, or its thread, did not outlive that."""
        await self._in_thread(self.connection.commit())

    async def _in_thread(self, call: Awaitable[T]) -> T:
        work = asyncio.ensure_future(call)
        while not work.done():
            await asyncio.wait((work,), timeout=THREAD_LOOK)
            if not self.raw.thread.is_alive():
                work.cancel()
                raise RuntimeError("the thread of a connection has ended")
        return work.result()

    async def _open_anew(self) -> None:
        """Another connection to the same file; an error where there is none, or another file is in its place."""
        await self._close()
        try:
            same = _identity(self.path) == self.file
        except OSError as exc:
            raise sqlite3.OperationalError(f"the file {self.path} cannot be reached: {exc}") from exc
        if not same:
            raise sqlite3.OperationalError(f"another file has taken the place of {self.path}: start Darkroom anew")
        self.connection, self.raw = await _connected(self.path, type(self.raw), self.mailbox)
        self.broken = False
        log.info("The database is connected again", extra={"event": "store_back"})

    async def _close(self) -> None:
        if self.raw.thread.is_alive():
            await self.connection.close()
        else:
            self.raw.close()
            self.connection._connection = None  # noqa: SLF001 - it warns, when it is collected, that it was not closed

    async def aclose(self) -> None:
        self.closing = True
        self.wake.set()
        if self.task is not None:
            await self.task
        await self._close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _answer(letter: _Pending, broken: BaseException | None = None) -> None:
    """Notify the caller; *broken* is why what has not been committed never will be."""
    error = letter.error if letter.committed else letter.error or broken
    if letter.answer.done():  # the caller gave up meanwhile; what was written stays written
        return
    if error is None:
        letter.answer.set_result(letter.result)
    elif isinstance(error, StopIteration):  # a future refuses to carry one
        letter.answer.set_exception(RuntimeError("a unit of work raised StopIteration"))
    else:
        letter.answer.set_exception(error)


class SqliteDatabase:
    """A `Database` in one file. Only one process may run on it; others may open it to look and to write rows."""

    def __init__(self, path: Path, writer: _Writer, reader: _Writer, *, lock: "RunningLock | None") -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._lock = lock
        self._outside = 0
        self._forgetting = SecureDeletion(path, run=writer.aside)
        self.away_because: BaseException | None = None

    @classmethod
    async def open(cls, path: Path, *, running: bool = False) -> Self:
        """Open or create the file at *path* and bring it up to date; *running* as the one process that runs on it.

        `StoreBusy` if another one runs, `StoreTooNew` if the file is ahead of us, `StoreUnusable` if it is no
        database or cannot be written.
        """
        lock = RunningLock(path) if running else None
        try:
            make_folder(path.parent)
            make_file(path)  # SQLite gives what lies beside it the same mode
            return await cls._open(path, lock)
        except BaseException as exc:
            if lock is not None:
                lock.release()
            if isinstance(exc, sqlite3.Error | OSError):
                raise StoreUnusable(f"the database {path} cannot be used: {exc}") from exc
            raise

    @classmethod
    async def _open(cls, path: Path, lock: "RunningLock | None") -> Self:
        writer = await _lane(path, _Connection)
        try:
            await writer.call(migrate)
            reader = await _lane(path, _Reader)
        except BaseException:
            await writer.aclose()
            raise
        return cls(path, writer, reader, lock=lock)

    async def write(self, unit: Unit[T]) -> T:
        return await self._writer.call(unit)

    async def read(self, unit: Unit[T]) -> T:
        return await self._reader.call(unit)

    async def scan(self, unit: Unit[T]) -> T:
        lane = await _lane(self._path, _Reader)
        try:
            return await lane.call(unit)
        finally:
            await lane.aclose()

    async def outside_changes(self) -> int:
        async def unit(tx: Tx) -> int:  # on the writer's connection, where our own commits do not count
            row = await tx.one("PRAGMA data_version")
            return int(row["data_version"]) if row else 0

        try:
            self._outside = await self._writer.call(unit)
        except sqlite3.OperationalError:  # another process is writing right now: the next call will tell
            log.debug("The database is busy", exc_info=True)
        return self._outside

    async def purge_deleted(self, *, thoroughly: bool = False) -> bool:
        return await self._forgetting(thoroughly=thoroughly)

    async def given_up_ended(self) -> None:
        """Units are run in the order they came: what is written later comes later."""

    async def writable(self) -> bool:
        async def unit(tx: Tx) -> None:
            await tx.run(
                "INSERT INTO notes (key, value) VALUES ('probe', '1') "
                "ON CONFLICT (key) DO UPDATE SET value = CASE notes.value WHEN '1' THEN '2' ELSE '1' END"
            )

        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self._writer.call(unit)
        except (sqlite3.Error, TimeoutError):
            return False
        return True

    async def aclose(self) -> None:
        await self._forgetting.aclose()
        await self._reader.aclose()
        await self._writer.aclose()
        if self._lock is not None:
            self._lock.release()


async def _lane(path: Path, factory: type[_Connection]) -> _Writer:
    mailbox: deque[_Pending] = deque()
    connection, raw = await _connected(path, factory, mailbox)
    lane = _Writer(path, connection, raw, mailbox, _identity(path))
    lane.task = asyncio.create_task(lane.deliver(), name=f"store {factory.__name__}")
    return lane


async def _connected(
    path: Path, factory: type[_Connection], mailbox: deque[_Pending]
) -> tuple[aiosqlite.Connection, _Connection]:
    raw: list[_Connection] = []

    def connect(*args: Any, **kwargs: Any) -> _Connection:
        raw.append(factory(*args, **kwargs))
        raw[0].mailbox = mailbox
        return raw[0]

    # Only its own thread uses it, but where that has ended, somebody else has to close it.
    connection = await aiosqlite.connect(path, factory=connect, isolation_level=None, check_same_thread=False)
    pragmas = [
        f"busy_timeout = {BUSY_TIMEOUT}",
        "synchronous = FULL",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "secure_delete = ON",
    ]
    pragmas.append("query_only = ON" if issubclass(factory, _Reader) else "journal_mode = WAL")
    try:
        for pragma in pragmas:
            await connection.execute_fetchall(f"PRAGMA {pragma}")
    except sqlite3.Error:  # not a database, say; its thread would keep the process alive
        await connection.close()
        raise
    return connection, raw[0]


async def migrate(tx: Tx) -> None:
    """Apply what is missing; with the version number, all of it is one transaction."""
    row = await tx.one("PRAGMA user_version")
    for number, text in missing("sqlite", version=int(row["user_version"]) if row else 0):
        for statement in statements(text):
            await tx.run(statement)
        await tx.run(f"PRAGMA user_version = {number}")


def statements(text: str) -> Sequence[str]:
    """*text* cut into single statements; `executescript` would commit the open transaction."""
    found, lines = [], ""
    for line in text.splitlines():
        lines += line + "\n"
        if sqlite3.complete_statement(lines):
            found.append(lines.strip())
            lines = ""
    return found


class RunningLock:
    """Held by the one process that runs on a database file; the system lets go when it dies."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._file = open_private(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._file)
            raise StoreBusy(f"another Darkroom is running on {path}") from exc

    def release(self) -> None:
        os.close(self._file)

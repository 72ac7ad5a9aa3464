"""SQLite through aiosqlite: one writing connection that commits the units of many callers together, and one reader.

aiosqlite runs the calls of a connection in a thread. Our connection's `commit()` runs a queue of units there, so that a
batch costs one change of threads and one fsync, and `synchronous=FULL` costs little (numbers in
docs/decisions/0001-group-commit.md).

Longer than other files: that every caller gets an answer, whatever fails, depends on all parts together.
"""

import asyncio
import fcntl
import functools
import logging
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from bot.files.modes import make_file, make_folder, open_private
from bot.store.database import Row, StoreBusy, StoreUnusable, Tx, Unit
from bot.store.secure_deletion import SecureDeletion
from bot.store.versions import pending_migrations

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_BATCH = 256  # units in one commit; more make the first one wait longer and save little
PROBE_TIMEOUT = 5.0  # seconds
BUSY_TIMEOUT = 5000  # milliseconds to wait for another process that writes
THREAD_CHECK_INTERVAL = 1.0  # seconds between checks that a connection's thread is alive
CONNECTION_ERRORS = (sqlite3.Error, RuntimeError, ValueError, MemoryError)  # raised where a whole batch fails
PLACEHOLDER = re.compile(r"\$(\d+)")


class _SqliteTx:
    """The statements of one unit. Nothing here suspends, so a unit cannot be interleaved with another."""

    host_shards = 1

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
    """*sql* with `?` for each `$n`, and the index of the argument of each; None where that is their own order.

    SQLite would read `$n` as a name and bind a tuple in the order of first use, which is wrong for `$2 … $1`.
    """
    order = [int(each) - 1 for each in PLACEHOLDER.findall(sql)]
    return PLACEHOLDER.sub("?", sql), None if order == list(range(len(order))) else order


@dataclass(slots=True)
class _Pending:
    unit: Unit[Any]
    answer: asyncio.Future[Any]
    on_commit: Callable[[Any], None] | None = None
    result: Any = None
    error: BaseException | None = None
    ran: bool = False  # its caller had not given up before
    committed: bool = False  # *result* or *error* is final


class _Connection(sqlite3.Connection):
    """A connection whose `commit()` runs queued units in one transaction, with savepoints if one of them fails."""

    begin = "BEGIN IMMEDIATE"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row_factory = sqlite3.Row
        self.thread = threading.current_thread()
        self.queue: deque[_Pending] = deque()
        self.batch: list[_Pending] = []

    def commit(self) -> None:
        """Run and commit the next batch. After an exception the connection must be replaced."""
        self.batch = [self.queue.popleft() for _ in range(min(MAX_BATCH, len(self.queue)))]
        failed = self._commit_batch(self.batch, savepoints=False)
        if failed is not None and not _is_busy(failed):  # a unit failed, which is rare: run them again to find it
            failed = self._commit_batch(self.batch, savepoints=True)
        if failed is not None and not _is_busy(failed):
            for pending in self.batch:  # alone, because a full disk rolls back all units of a transaction
                self._commit_batch([pending], savepoints=True)

    def _commit_batch(self, units: Sequence[_Pending], *, savepoints: bool) -> sqlite3.Error | None:
        """Run *units* in one transaction; with *savepoints*, a unit that fails is rolled back alone.

        Returns the error where the transaction was rolled back.
        """
        for pending in units:
            pending.result, pending.error, pending.ran = None, None, False
        try:
            self.execute(self.begin)
            for pending in units:
                self._run_unit(pending, savepoints=savepoints)
            self.execute("COMMIT")
        except sqlite3.Error as exc:
            for pending in units:
                pending.error = exc
            if self.in_transaction:
                self.execute("ROLLBACK")
            return exc
        for pending in units:
            pending.committed = True
        return None

    def _run_unit(self, pending: _Pending, *, savepoints: bool) -> None:
        if pending.answer.cancelled():
            return
        pending.ran = True
        if savepoints:
            self.execute("SAVEPOINT unit")
        try:
            pending.result = _drive(pending.unit, _SqliteTx(self))
        except BaseException as exc:
            if not savepoints or not self.in_transaction:  # a full disk rolls back the whole transaction
                raise _as_sqlite(exc) from exc
            pending.error = exc  # raised in the caller
            self.execute("ROLLBACK TO unit")
        if savepoints:
            self.execute("RELEASE unit")


def _is_busy(exc: sqlite3.Error) -> bool:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # the primary code of an extended one


def _as_sqlite(exc: BaseException) -> sqlite3.Error:
    return exc if isinstance(exc, sqlite3.Error) else sqlite3.OperationalError(f"the transaction ended: {exc!r}")


class _Reader(_Connection):
    begin = "BEGIN"


def _drive(unit: Unit[T], tx: Tx) -> T:
    """Run *unit* without an event loop; `RuntimeError` if it awaits anything but its transaction."""
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
class _Worker:
    """One connection and the task that runs its queued units; a broken connection is replaced."""

    path: Path
    connection: aiosqlite.Connection
    raw: _Connection
    queue: deque[_Pending]
    file: tuple[int, int]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # for the connection
    closing: bool = False
    broken: bool = False
    task: asyncio.Task[None] | None = None

    async def call(self, unit: Unit[T], *, on_commit: Callable[[T], None] | None = None) -> T:
        if self.closing:
            raise RuntimeError("the store is closed")
        pending = _Pending(unit, asyncio.get_running_loop().create_future(), on_commit)
        self.queue.append(pending)
        self.wake.set()
        return await pending.answer  # type: ignore[no-any-return]

    async def run_statements(self, *statements: str) -> list[bool]:
        """Run *statements* between two transactions, without waiting for other connections; which of them succeeded.

        A checkpoint returns a row that starts with 1 where other connections prevented it.
        """
        async with self.lock:
            if self.broken or self.closing:
                return [False for _ in statements]
            try:
                await self._run_statement("PRAGMA busy_timeout = 0")
                return [await self._run_statement(each) for each in statements]
            except CONNECTION_ERRORS:  # the next batch fails as well, and reconnects
                return [False for _ in statements]
            finally:
                with suppress(*CONNECTION_ERRORS):
                    await self._run_statement(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

    async def _run_statement(self, statement: str) -> bool:
        try:
            rows = list(await self._in_thread(self.connection.execute_fetchall(statement)))
        except sqlite3.Error:  # another process writes, or the disk is full
            return False
        return not (rows and rows[0][0])

    async def run(self) -> None:
        try:
            while not (self.closing and not self.queue):
                await self.wake.wait()
                self.wake.clear()
                while self.queue:
                    async with self.lock:
                        await self._process_batch()
        finally:  # answer every caller, whatever ended the task
            self.closing = True
            for pending in (*self.raw.batch, *self.queue):
                _answer(pending, RuntimeError("the store is closed"))

    async def _process_batch(self) -> None:
        try:
            if self.broken:
                await self._reconnect()
            await self._commit()
        except CONNECTION_ERRORS as exc:
            if not self.broken:
                log.warning("A database connection failed: %r", exc, extra={"event": "store_broken"})
            self.broken = True
            for pending in self.raw.batch or [self.queue.popleft() for _ in range(len(self.queue))]:
                _answer(pending, _as_sqlite(exc))
        else:
            for pending in self.raw.batch:
                _answer(pending)
        self.raw.batch = []

    async def _commit(self) -> None:
        """Run and commit the next batch; raises where the connection or its thread failed."""
        await self._in_thread(self.connection.commit())

    async def _in_thread(self, call: Awaitable[T]) -> T:
        work = asyncio.ensure_future(call)
        while not work.done():
            await asyncio.wait((work,), timeout=THREAD_CHECK_INTERVAL)
            if not self.raw.thread.is_alive():
                work.cancel()
                raise RuntimeError("the thread of a connection has ended")
        return work.result()

    async def _reconnect(self) -> None:
        """Open a new connection to the same file; `OperationalError` if the file is missing or was replaced."""
        await self._close()
        try:
            same = _identity(self.path) == self.file
        except OSError as exc:
            raise sqlite3.OperationalError(f"the file {self.path} cannot be reached: {exc}") from exc
        if not same:
            raise sqlite3.OperationalError(f"{self.path} was replaced by another file: restart Darkroom")
        self.connection, self.raw = await _connect(self.path, type(self.raw), self.queue)
        self.broken = False
        log.info("The database is connected again", extra={"event": "store_back"})

    async def _close(self) -> None:
        if self.raw.thread.is_alive():
            await self.connection.close()
        else:
            self.raw.close()
            self.connection._connection = None  # noqa: SLF001 - otherwise aiosqlite warns that it was not closed

    async def aclose(self) -> None:
        self.closing = True
        self.wake.set()
        if self.task is not None:
            await self.task
        await self._close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _answer(pending: _Pending, broken: BaseException | None = None) -> None:
    """Set the caller's result or error; *broken* is the error of a unit that was not committed and has none."""
    error = pending.error if pending.committed else pending.error or broken
    if pending.committed and pending.ran and error is None and pending.on_commit is not None:
        pending.on_commit(pending.result)
    if pending.answer.done():  # the caller was cancelled; its writes stay
        return
    if error is None:
        pending.answer.set_result(pending.result)
    elif isinstance(error, StopIteration):  # a future refuses to carry one
        pending.answer.set_exception(RuntimeError("a unit of work raised StopIteration"))
    else:
        pending.answer.set_exception(error)


class SqliteDatabase:
    """A `Database` in one file. One process may run on it; others may open it to read and write rows."""

    shared = False

    def __init__(self, path: Path, writer: _Worker, reader: _Worker, *, lock: "RunningLock | None") -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._lock = lock
        self._external_changes = 0
        self._secure_deletion = SecureDeletion(path, run=writer.run_statements)
        self.unavailable_because: BaseException | None = None

    @classmethod
    async def open(cls, path: Path, *, running: bool = False) -> Self:
        """Open or create the file at *path* and migrate it; *running*: as the one process that runs on it.

        Raises `StoreBusy` if another process runs, `StoreTooNew` if a newer version has written the file, and
        `StoreUnusable` if it is not a database or cannot be written.
        """
        lock = RunningLock(path) if running else None
        try:
            make_folder(path.parent)
            make_file(path)  # SQLite creates its other files with the same mode
            return await cls._open(path, lock)
        except BaseException as exc:
            if lock is not None:
                lock.release()
            if isinstance(exc, sqlite3.Error | OSError):
                raise StoreUnusable(f"the database {path} cannot be used: {exc}") from exc
            raise

    @classmethod
    async def _open(cls, path: Path, lock: "RunningLock | None") -> Self:
        writer = await _start_worker(path, _Connection)
        try:
            await writer.call(migrate)
            reader = await _start_worker(path, _Reader)
        except BaseException:
            await writer.aclose()
            raise
        return cls(path, writer, reader, lock=lock)

    async def write(self, unit: Unit[T], *, on_commit: Callable[[T], None] | None = None) -> T:
        return await self._writer.call(unit, on_commit=on_commit)

    async def read(self, unit: Unit[T]) -> T:
        return await self._reader.call(unit)

    async def scan(self, unit: Unit[T]) -> T:
        worker = await _start_worker(self._path, _Reader)
        try:
            return await worker.call(unit)
        finally:
            await worker.aclose()

    async def external_changes(self) -> int:
        async def unit(tx: Tx) -> int:  # on the writing connection, whose own commits do not change data_version
            row = await tx.one("PRAGMA data_version")
            return int(row["data_version"]) if row else 0

        try:
            self._external_changes = await self._writer.call(unit)
        except sqlite3.OperationalError:  # another process is writing: the next call notices the change
            log.debug("The database is busy", exc_info=True)
        return self._external_changes

    async def purge_deleted(self, *, thoroughly: bool = False) -> bool:
        return await self._secure_deletion(thoroughly=thoroughly)

    async def run_statements(self, unit: Unit[T]) -> T:
        raise NotImplementedError

    def abandon(self, work: "asyncio.Task[Any]") -> None:
        raise NotImplementedError

    async def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def publish(self, messages: Sequence[str]) -> None:
        """Nobody else runs."""

    def on_message(self, listener: Callable[[str], None]) -> None:
        """Nobody else runs."""

    async def try_lock(self, name: str) -> bool:  # noqa: ARG002 - as the port has it
        return True  # there is no other process

    async def unlock(self, name: str) -> None:
        """Nobody else runs."""

    async def wait_for_abandoned(self) -> None:
        """Nothing to wait for: units run in the order of their calls."""

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
        await self._secure_deletion.aclose()
        await self._reader.aclose()
        await self._writer.aclose()
        if self._lock is not None:
            self._lock.release()


async def _start_worker(path: Path, factory: type[_Connection]) -> _Worker:
    queue: deque[_Pending] = deque()
    connection, raw = await _connect(path, factory, queue)
    worker = _Worker(path, connection, raw, queue, _identity(path))
    worker.task = asyncio.create_task(worker.run(), name=f"store {factory.__name__}")
    return worker


async def _connect(
    path: Path, factory: type[_Connection], queue: deque[_Pending]
) -> tuple[aiosqlite.Connection, _Connection]:
    raw: list[_Connection] = []

    def connect(*args: Any, **kwargs: Any) -> _Connection:
        raw.append(factory(*args, **kwargs))
        raw[0].queue = queue
        return raw[0]

    # Only the connection's thread uses it, but where that thread has ended, another one must close it.
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
    except sqlite3.Error:  # for example not a database; an open connection's thread would keep the process alive
        await connection.close()
        raise
    return connection, raw[0]


async def migrate(tx: Tx) -> None:
    """Apply pending migrations and set the version number, all in one transaction."""
    row = await tx.one("PRAGMA user_version")
    for number, text in pending_migrations("sqlite", version=int(row["user_version"]) if row else 0):
        for statement in statements(text):
            await tx.run(statement)
        await tx.run(f"PRAGMA user_version = {number}")


def statements(text: str) -> Sequence[str]:
    """Split *text* into single statements, since `executescript` would commit the open transaction."""
    complete, lines = [], ""
    for line in text.splitlines():
        lines += line + "\n"
        if sqlite3.complete_statement(lines):
            complete.append(lines.strip())
            lines = ""
    return complete


class RunningLock:
    """The lock of the process that runs on a database file; the system releases it when the process ends."""

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

"""PostgreSQL through asyncpg: a connection pool, and one transaction for each unit.

While the server does not answer, units wait for it. Where the answer to a COMMIT is lost, the server is asked for the
status of the transaction. docs/decisions/0008-postgresql.md has the reasons.

Behind a pooler in transaction mode, each transaction may be on another session of the server: then our connections keep
no prepared statements, and what needs a session has a connection to the server itself.

Longer than other files: that a unit is committed once, whatever happens to its connection, is decided in one place.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import asyncpg

from bot.store.database import Row, Tx, Unit
from bot.store.database_status import Status
from bot.store.postgres_status import status_of, unusable
from bot.store.versions import pending_migrations

log = logging.getLogger(__name__)

T = TypeVar("T")
POOL_SIZE = (2, 10)  # connections: minimum and maximum
MAX_ATTEMPTS = 8  # of a unit that conflicts with others
RETRY_DELAY = 0.5  # seconds between attempts while the server does not answer
STATEMENT_TIMEOUT = 30.0  # seconds
SCAN_TIMEOUT = 600.0  # seconds for a statement of a scan
CONNECT_TIMEOUT = 10.0  # seconds
RELEASE_TIMEOUT = 5.0  # seconds for rolling back and releasing a connection
PROBE_TIMEOUT = 5.0  # seconds
CLOSE_TIMEOUT = 10.0  # seconds for active units to end when the database is closed
MIGRATION_LOCK = int.from_bytes(b"darkroom") + 1  # the key of an advisory lock
CHANNEL = "darkroom"  # changes by commands of the operator
MESSAGES = "darkroom_messages"  # of running processes

HOST_SHARDS = 8  # as in migration 0008

CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
SERVER_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
READ_ONLY = asyncpg.ReadOnlySQLTransactionError  # a primary has become a standby
SERVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

# A standby that takes over counts on from the last id that it knows, on another timeline.
TIMELINE = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
CURRENT_XID = f"SELECT {TIMELINE} || ' ' || pg_current_xact_id_if_assigned()::text"  # NULL if nothing was written
XID_STATUS = f"SELECT pg_xact_status($2::text::xid8) WHERE {TIMELINE} = $1"
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now"
# Nothing is lost that the rows do not have, so it need not wait for the disk.
PUBLISH = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, each) FROM unnest($2::text[]) AS each"
# A backend that has not noticed that its client disconnected keeps its locks. One that is committing may finish.
TERMINATE_IDLE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_xid = $1::text::xid8::xid AND state = 'idle in transaction'
"""


class _PostgresTx:
    host_shards = HOST_SHARDS

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, sql: str, *args: object) -> None:
        await self._connection.execute(sql, *args)

    async def fetch(self, sql: str, *args: object) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(sql, *args)
        return rows

    async def one(self, sql: str, *args: object) -> Row | None:
        row: Row | None = await self._connection.fetchrow(sql, *args)
        return row


@dataclass(slots=True)
class _Call:
    """The state of one unit. *xid*: its transaction's timeline and id, set before the COMMIT if it wrote something."""

    committing: bool = False
    xid: str | None = None
    abandoned: bool = False  # its caller was cancelled


class _Listener:
    """A connection that counts changes by commands of the operator, and receives messages of running processes."""

    def __init__(self, url: str, *, name: str, running: bool) -> None:
        self._url = url
        self._name = name
        self._running = running
        self.connection: Any = None
        self.changes = 0
        self._listeners: list[Callable[[str], None]] = []
        self._locks: set[str] = set()  # that this connection holds
        self._busy = asyncio.Lock()  # a connection runs one statement at a time

    def on_message(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    async def connect(self) -> None:
        self.connection = await asyncpg.connect(self._url, **_connect_options(self._url, self._name))

    async def listen(self) -> None:
        await self.connection.add_listener(CHANNEL, self._on_notify)
        if self._running:
            await self.connection.add_listener(MESSAGES, self._on_message)

    async def check(self) -> None:
        """Reconnect if the connection is broken, and count one change for notifications that may have been missed."""
        async with self._busy:
            try:
                await self.connection.execute("SELECT 1")
            except SERVER_ERRORS as exc:
                if not _is_away(exc):
                    raise
                self.connection.terminate()
                self._locks.clear()
                with suppress(*SERVER_UNAVAILABLE, asyncpg.InterfaceError):
                    await self.connect()
                    await self.listen()
                    self.changes += 1

    async def try_lock(self, name: str) -> bool:
        """Whether this connection holds the lock *name*, or has just got it."""
        async with self._busy:
            if name not in self._locks and await self._locking("pg_try_advisory_lock", name):
                self._locks.add(name)
            return name in self._locks

    async def unlock(self, name: str) -> None:
        async with self._busy:
            if name in self._locks:
                self._locks.discard(name)
                await self._locking("pg_advisory_unlock", name)

    async def _locking(self, function: str, name: str) -> bool:
        """What PostgreSQL's *function* says; False where the connection is lost, and its locks with it."""
        try:
            return bool(await self.connection.fetchval(f"SELECT {function}(hashtextextended($1, 0))", name))
        except SERVER_ERRORS as exc:
            if not _is_away(exc):
                raise
            return False

    def _on_message(self, _connection: Any, _process: int, _channel: str, message: str) -> None:
        for each in self._listeners:
            each(message)

    def _on_notify(self, _connection: Any, _process: int, _channel: str, who: str) -> None:
        if who != self._name:
            self.changes += 1


class PostgresDatabase:
    """A `Database` on a PostgreSQL server. Several processes may run on it."""

    shared = True

    def __init__(self, direct_url: str, pool: Any, listener: _Listener, *, name: str) -> None:
        self._direct_url = direct_url
        self._name = name
        self._pool = pool
        self._listener = listener
        self._active: set[asyncio.Task[Any]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._closing = False
        self.unavailable_because: BaseException | None = None

    @classmethod
    async def open(cls, url: str, *, direct_url: str = "", running: bool = False) -> Self:
        """Connect to *url* and migrate the database; *running*: as one of the processes that run jobs on it.

        *direct_url* is the address of the server itself where *url* is a pooler's. Raises `StoreUnusable` if it cannot
        be used, and `StoreTooNew` if a newer version has written it.
        """
        name = f"darkroom {'run' if running else 'beside'} {secrets.token_hex(4)}"  # triggers of the migrations use it
        listener = _Listener(direct_url or url, name=name, running=running)
        with _named(direct_url or url):
            await listener.connect()
        try:
            with _named(direct_url or url):
                await _migrate(listener.connection)
                await listener.listen()
            min_size, max_size = POOL_SIZE
            options = _connect_options(url, name, pooled=bool(direct_url))
            with _named(url):
                pool = await asyncpg.create_pool(
                    url, min_size=min_size, max_size=max_size, reset=_keep_session, **options
                )
        except BaseException:
            listener.connection.terminate()
            raise
        return cls(direct_url or url, pool, listener, name=name)

    @classmethod
    async def status(cls, url: str, *, pooled: bool = False) -> Status:
        """The status of the database at *url*, without changing it; raises `StoreUnusable` if it cannot be reached."""
        with _named(url):
            connection = await asyncpg.connect(url, **_connect_options(url, "darkroom doctor", pooled=pooled))
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    return await status_of(connection)
            finally:
                await connection.close()

    async def write(self, unit: Unit[T], *, on_commit: Callable[[T], None] | None = None) -> T:
        return await self._call(unit, on_commit, isolation="read_committed")

    async def read(self, unit: Unit[T]) -> T:
        return await self._call(unit, isolation="repeatable_read", readonly=True)

    async def run_statements(self, unit: Unit[T]) -> T:
        return await self._call(unit)

    def abandon(self, work: "asyncio.Task[Any]") -> None:
        self._abandoned.add(work)
        work.add_done_callback(self._on_abandoned_done)

    async def scan(self, unit: Unit[T]) -> T:
        connection = await asyncpg.connect(
            self._direct_url, **_connect_options(self._direct_url, self._name) | {"command_timeout": SCAN_TIMEOUT}
        )
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await unit(_PostgresTx(connection))
        finally:
            await connection.close()

    async def external_changes(self) -> int:
        await self._listener.check()
        return self._listener.changes

    async def publish(self, messages: Sequence[str]) -> None:
        try:
            async with self._acquired() as connection:
                await connection.execute(PUBLISH, MESSAGES, list(messages))
        except SERVER_ERRORS as exc:
            if _is_away(exc):  # one kind for all that asyncpg and the system raise then
                raise asyncpg.ConnectionFailureError(str(exc)) from exc
            raise

    async def now(self) -> int:
        async def unit(tx: Tx) -> int:
            row = await tx.one(NOW)
            assert row is not None
            return int(row["now"])

        return await self.read(unit)

    def on_message(self, listener: Callable[[str], None]) -> None:
        self._listener.on_message(listener)

    async def try_lock(self, name: str) -> bool:
        return await self._listener.try_lock(name)

    async def unlock(self, name: str) -> None:
        await self._listener.unlock(name)

    async def purge_deleted(self, *, thoroughly: bool = False) -> bool:  # noqa: ARG002 - as the port has it
        return True  # autovacuum does it

    async def wait_for_abandoned(self) -> None:
        while self._abandoned:
            await asyncio.wait(self._abandoned)

    async def writable(self) -> bool:
        async def unit(tx: Tx) -> None:
            await tx.run(
                "INSERT INTO notes (key, value) VALUES ('probe', '1') "
                "ON CONFLICT (key) DO UPDATE SET value = CASE notes.value WHEN '1' THEN '2' ELSE '1' END"
            )

        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self.write(unit)
        except SERVER_ERRORS:
            return False
        return True

    async def aclose(self) -> None:
        self._closing = True
        if self._active:
            await asyncio.wait(self._active, timeout=CLOSE_TIMEOUT)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._pool.close()
                await self._listener.connection.close()
        except SERVER_ERRORS:  # the server is away
            self._pool.terminate()
            self._listener.connection.terminate()

    async def _call(self, unit: Unit[T], on_commit: Callable[[T], None] | None = None, **options: Any) -> T:
        if self._closing:
            raise RuntimeError("the store is closed")
        call = _Call()
        work = asyncio.create_task(
            self._until_committed(unit, call, on_commit, options=options)
        )  # it outlives a cancelled caller
        self._active.add(work)
        work.add_done_callback(self._active.discard)
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            self._abandon(call, work)
            raise
        return work.result()

    def _abandon(self, call: _Call, work: "asyncio.Task[Any]") -> None:
        """Let the unit of a cancelled caller end: rolled back, unless it is committing."""
        call.abandoned = True
        if not call.committing:
            work.cancel()
        self.abandon(work)

    def _on_abandoned_done(self, work: "asyncio.Task[Any]") -> None:
        self._abandoned.discard(work)
        if not work.cancelled() and (exc := work.exception()) is not None:
            log.info("A unit of a cancelled caller failed: %s", type(exc).__name__, extra={"event": "unit_alone"})

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        """A connection of the pool; terminated where it cannot write, or asyncpg has lost track of its protocol."""
        connection = await self._pool.acquire()
        try:
            yield connection
        except (asyncpg.InternalClientError, READ_ONLY):
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection, timeout=RELEASE_TIMEOUT)

    async def _until_committed(
        self, unit: Unit[T], call: _Call, on_commit: Callable[[T], None] | None, *, options: dict[str, Any]
    ) -> T:
        result = await self._until_done(unit, call, options=options)
        if on_commit is not None:
            on_commit(result)
        return result

    async def _until_done(self, unit: Unit[T], call: _Call, *, options: dict[str, Any]) -> T:
        conflicts, writes = 0, "readonly" not in options
        while True:
            call.committing, call.xid = False, None
            try:
                async with self._acquired() as connection:
                    transaction = connection.transaction(**options) if options else None
                    result = await _run(unit, connection, call, transaction=transaction, writes=writes)
                    if transaction is not None:
                        call.committing = True
                        await transaction.commit()
            except SERVER_ERRORS as exc:
                if call.committing and (call.xid is None or await self._was_committed(call.xid, exc)):
                    return result
                if isinstance(exc, CONFLICTS):
                    conflicts += 1
                    if conflicts == MAX_ATTEMPTS:
                        raise
                    await asyncio.sleep(random.uniform(0, 0.01 * 2**conflicts))
                elif self._closing or call.abandoned or not (_is_away(exc) or (writes and isinstance(exc, READ_ONLY))):
                    raise
                elif not call.committing:
                    self._set_unavailable(exc)
                    await asyncio.sleep(RETRY_DELAY)
            else:
                self._set_unavailable(None)
                return result

    async def _was_committed(self, xid: str, exc: Exception) -> bool:
        """Ask the server whether a transaction was committed, after its COMMIT raised *exc*.

        Raises *exc* where the server cannot say. A connection of its own is used, because all connections of the pool
        may be waiting for locks that the transaction still holds.
        """
        delay = RETRY_DELAY / 64
        while True:
            try:
                status = await self._status(xid)
            except SERVER_ERRORS as error:
                if self._closing or not _is_away(error):  # a server restored from a backup does not know the id
                    raise exc from error
                self._set_unavailable(error)
            else:
                self._set_unavailable(None)
                if status is None:  # too old, or before a standby took over: the server does not have it
                    raise exc
                if status != "in progress":
                    return status == "committed"
            delay = min(RETRY_DELAY, delay * 2)
            await asyncio.sleep(delay)

    async def _status(self, xid: str) -> str | None:
        connection = await asyncpg.connect(self._direct_url, **_connect_options(self._direct_url, self._name))
        try:
            timeline, number = xid.split()
            status: str | None = await connection.fetchval(XID_STATUS, timeline, number)
            if status == "in progress":
                await connection.execute(TERMINATE_IDLE, number)
            return status
        finally:
            connection.terminate()

    def _set_unavailable(self, unavailable_because: BaseException | None) -> None:
        before, self.unavailable_because = self.unavailable_because, unavailable_because
        if unavailable_because is not None and before is None:
            log.warning("The database does not answer; its units wait", extra={"event": "store_away"})
        elif unavailable_because is None and before is not None:
            log.info("The database answers again", extra={"event": "store_back"})


async def _run(unit: Unit[T], connection: Any, call: _Call, *, transaction: Any, writes: bool) -> T:
    """Run *unit* in *transaction*; for None, each of its statements in one of its own."""
    if transaction is None:
        return await unit(_PostgresTx(connection))
    await transaction.start()
    async with _rollback_on_error(connection, transaction):
        result = await unit(_PostgresTx(connection))
        if writes:
            call.xid = await connection.fetchval(CURRENT_XID)
    return result


@asynccontextmanager
async def _rollback_on_error(connection: Any, transaction: Any) -> AsyncIterator[None]:
    """Roll back if the body raises; terminate the connection if the rollback does not end in time."""
    try:
        yield
    except BaseException:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await transaction.rollback()
        except TimeoutError:
            connection.terminate()
            raise
        raise


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Raise `StoreUnusable`, which names *url* without its password, where the block fails at the server."""
    try:
        yield
    except (ValueError, *SERVER_ERRORS) as exc:  # asyncpg quotes an address that it does not understand
        raise unusable(url, exc, timeout=CONNECT_TIMEOUT) from None


def _is_away(exc: BaseException) -> bool:
    # For a connection that breaks during or before a call, asyncpg raises InternalClientError, or InterfaceError, which
    # it also raises for wrong use: only the text tells the two apart.
    if isinstance(exc, asyncpg.InterfaceError):
        return "is closed" in str(exc)
    return isinstance(exc, (*SERVER_UNAVAILABLE, asyncpg.InternalClientError))


def _connect_options(url: str, name: str, *, pooled: bool = False) -> dict[str, Any]:
    """Arguments for `asyncpg.connect`, which connects to a primary.

    With keepalives, a lost machine's locks are released within a minute; a pooler (*pooled*) sets its own.
    """
    keepalives = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
    options = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": STATEMENT_TIMEOUT,
        "server_settings": {"application_name": name} | ({} if pooled else keepalives),
    }
    if pooled:  # asyncpg then parses each statement again where it binds it, so that both are on one session
        options["statement_cache_size"] = 0
    if "target_session_attrs" not in url:
        options["target_session_attrs"] = "primary"
    return options


async def _keep_session(_connection: Any) -> None:
    """Do not reset a connection on release: units change no session state, and a reset costs a round trip."""


async def _migrate(connection: Any) -> None:
    """Apply pending migrations in one transaction, one process at a time."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        known = await connection.fetchval("SELECT to_regclass('darkroom_version') IS NOT NULL")
        version = await connection.fetchval("SELECT version FROM darkroom_version") if known else 0
        steps = pending_migrations("postgres", version=version)
        if not known:
            await connection.execute("CREATE TABLE darkroom_version (version BIGINT NOT NULL)")
            await connection.execute("INSERT INTO darkroom_version VALUES (0)")
        for number, text in steps:
            await connection.execute(text)
            await connection.execute("UPDATE darkroom_version SET version = $1", number)

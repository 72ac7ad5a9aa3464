"""The shared database: PostgreSQL through asyncpg, a pool, and a transaction of its own for each unit.

While the server does not answer, units wait for it. Where the answer to a COMMIT is lost, the server is asked what
became of the transaction. docs/decisions/0008-postgresql.md has the reasons.

Longer than other files: that a unit is done once, whatever becomes of its connection, is read in one place.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import asyncpg

from bot.store.database import Row, StoreBusy, Tx, Unit, shown
from bot.store.database_status import Status
from bot.store.postgres_status import status_of, unusable
from bot.store.versions import missing

log = logging.getLogger(__name__)

T = TypeVar("T")
POOL = (2, 10)  # connections, at least and at most
TRIES = 8  # of a unit that clashes with others
AGAIN = 0.5  # seconds between attempts at a server that does not answer
ANSWER = 30.0  # seconds for one statement
SCAN = 600.0  # seconds for one that goes through everything
CONNECT = 10.0  # seconds
LETTING_GO = 5.0  # seconds in which a connection must be free of what was broken off on it
PROBE_TIMEOUT = 5.0  # seconds
PLACE_TIMEOUT = 1000  # milliseconds in which the server should notice that whoever held the place was killed
LAST_WORDS = 10.0  # seconds that units under way get when we close
RUNNING = int.from_bytes(b"darkroom")  # the advisory lock of the process that runs
MIGRATING = RUNNING + 1
CHANNEL = "darkroom"

CLASH = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
SERVER_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
SERVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

XID = "SELECT pg_current_xact_id_if_assigned()::text"  # NULL where nothing was written
STATUS = "SELECT pg_xact_status($1::text::xid8)"
# A backend that has not noticed that we are gone keeps its locks; one that is at its COMMIT is left to finish it.
END_IDLE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_xid = $1::text::xid8::xid AND state = 'idle in transaction'
"""
# An old connection that broke on our side only would hold the place for long.
FREE_PLACE = """
    SELECT pg_terminate_backend(pid, 1000) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND database = datid AND (classid::bigint << 32) | objid::bigint = $1
      AND application_name = $2 AND pid <> pg_backend_pid()
"""


class _PostgresTx:
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
    """One unit on its way. *xid* is its transaction's, known when it comes to the COMMIT, if it wrote something."""

    committing: bool = False
    xid: str | None = None
    given_up: bool = False  # nobody waits for its result


class _Listener:
    """A connection of its own that hears of others' changes and holds the place of the one running process."""

    def __init__(self, url: str, *, name: str, running: bool) -> None:
        self._url = url
        self._name = name
        self._running = running
        self.connection: Any = None
        self.heard = 0

    async def connect(self) -> None:
        self.connection = await asyncpg.connect(self._url, **_connect_options(self._name))
        try:
            await self._take_place()
        except BaseException:
            self.connection.terminate()
            raise

    async def listen(self) -> None:
        await self.connection.add_listener(CHANNEL, self._on_notify)

    async def look(self) -> None:
        """Make sure that we still hear; what was missed counts as heard."""
        try:
            await self.connection.execute("SELECT 1")
        except SERVER_ERRORS as exc:
            if not _is_away(exc):
                raise
            self.connection.terminate()
            with suppress(*SERVER_UNAVAILABLE, asyncpg.InterfaceError):
                await self.connect()
                await self.listen()
                self.heard += 1

    async def _take_place(self) -> None:
        if not self._running:
            return
        await self.connection.execute(FREE_PLACE, RUNNING, self._name)
        try:
            async with self.connection.transaction():  # for the timeout: the lock outlives it
                await self.connection.execute(f"SET LOCAL lock_timeout = {PLACE_TIMEOUT}")
                await self.connection.execute("SELECT pg_advisory_lock($1)", RUNNING)
        except asyncpg.LockNotAvailableError:
            raise StoreBusy(f"another Darkroom is running on {shown(self._url)}") from None

    def _on_notify(self, _connection: Any, _process: int, _channel: str, who: str) -> None:
        if who != self._name:
            self.heard += 1


class PostgresDatabase:
    """A `Database` on a server. Several processes may open it; one of them runs."""

    def __init__(self, url: str, pool: Any, ear: _Listener, *, name: str) -> None:
        self._url = url
        self._name = name
        self._pool = pool
        self._ear = ear
        self._under_way: set[asyncio.Task[Any]] = set()
        self._given_up: set[asyncio.Task[Any]] = set()
        self._closing = False
        self.away_because: BaseException | None = None

    @classmethod
    async def open(cls, url: str, *, running: bool = False) -> Self:
        """Connect to *url* and bring the database up to date; *running* takes the place of the one that runs.

        `StoreUnusable` if it cannot be used, `StoreTooNew` if it is ahead of us, `StoreBusy` if the place is taken.
        """
        try:
            return await cls._open(url, running=running)
        except (ValueError, *SERVER_ERRORS) as exc:
            raise unusable(
                url, exc, patience=CONNECT
            ) from None  # asyncpg quotes an address that it does not understand

    @classmethod
    async def status(cls, url: str) -> Status:
        """What there is at *url*, without changing it; `StoreUnusable` if it cannot be reached."""
        try:
            connection = await asyncpg.connect(url, **_connect_options("darkroom doctor"))
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    return await status_of(connection)
            finally:
                await connection.close()
        except (ValueError, *SERVER_ERRORS) as exc:
            raise unusable(url, exc, patience=CONNECT) from None

    @classmethod
    async def _open(cls, url: str, *, running: bool) -> Self:
        name = f"darkroom {'run' if running else 'beside'} {secrets.token_hex(4)}"  # the migrations know these words
        ear = _Listener(url, name=name, running=running)
        await ear.connect()
        try:
            await _migrate(ear.connection)
            await ear.listen()
            least, most = POOL
            pool = await asyncpg.create_pool(url, min_size=least, max_size=most, reset=_leave, **_connect_options(name))
        except BaseException:
            ear.connection.terminate()
            raise
        return cls(url, pool, ear, name=name)

    async def write(self, unit: Unit[T]) -> T:
        return await self._call(unit, isolation="read_committed")

    async def read(self, unit: Unit[T]) -> T:
        return await self._call(unit, isolation="repeatable_read", readonly=True)

    async def scan(self, unit: Unit[T]) -> T:
        connection = await asyncpg.connect(self._url, **_connect_options(self._name) | {"command_timeout": SCAN})
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await unit(_PostgresTx(connection))
        finally:
            await connection.close()

    async def outside_changes(self) -> int:
        await self._ear.look()
        return self._ear.heard

    async def purge_deleted(self, *, thoroughly: bool = False) -> bool:  # noqa: ARG002 - as the port has it
        return True  # the server's vacuum sees to that by itself

    async def given_up_ended(self) -> None:
        while self._given_up:
            await asyncio.wait(self._given_up)

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
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=LAST_WORDS)
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._pool.close()
                await self._ear.connection.close()
        except SERVER_ERRORS:  # the server is away: there is nobody to take leave of
            self._pool.terminate()
            self._ear.connection.terminate()

    async def _call(self, unit: Unit[T], **options: Any) -> T:
        if self._closing:
            raise RuntimeError("the store is closed")
        call = _Call()
        work = asyncio.create_task(self._until_done(unit, call, options=options))  # outlives a caller that gives up
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            self._give_up(call, work)
            raise
        return work.result()

    def _give_up(self, call: _Call, work: "asyncio.Task[Any]") -> None:
        """Let a unit whose caller is gone come to its end: rolled back, unless its COMMIT is under way."""
        call.given_up = True
        if not call.committing:
            work.cancel()
        self._given_up.add(work)
        work.add_done_callback(self._ended_alone)

    def _ended_alone(self, work: "asyncio.Task[Any]") -> None:
        self._given_up.discard(work)
        if not work.cancelled() and (exc := work.exception()) is not None:
            log.info("A unit failed after its caller had gone: %s", type(exc).__name__, extra={"event": "unit_alone"})

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        """A connection of the pool's; one that does not know any more where it stands is given up."""
        connection = await self._pool.acquire()
        try:
            yield connection
        except asyncpg.InternalClientError:
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection, timeout=LETTING_GO)

    async def _until_done(self, unit: Unit[T], call: _Call, *, options: dict[str, Any]) -> T:
        clashes = 0
        while True:
            call.committing, call.xid = False, None
            try:
                async with self._acquired() as connection:
                    transaction = connection.transaction(**options)
                    await transaction.start()
                    async with _rolled_back(connection, transaction):
                        result = await unit(_PostgresTx(connection))
                        if not options.get("readonly"):
                            call.xid = await connection.fetchval(XID)
                    call.committing = True
                    await transaction.commit()
            except SERVER_ERRORS as exc:
                if call.committing and (call.xid is None or await self._was_committed(call.xid, exc)):
                    return result
                if isinstance(exc, CLASH):
                    clashes += 1
                    if clashes == TRIES:
                        raise
                    await asyncio.sleep(random.uniform(0, 0.01 * 2**clashes))
                elif self._closing or call.given_up or not _is_away(exc):
                    raise
                elif not call.committing:
                    self._tell(exc)
                    await asyncio.sleep(AGAIN)
            else:
                self._tell(None)
                return result

    async def _was_committed(self, xid: str, exc: Exception) -> bool:
        """Ask what became of a transaction whose COMMIT came to *exc*, which is raised where nobody can say.

        On a connection of its own: those of the pool may all wait for what the transaction still holds.
        """
        pause = AGAIN / 64
        while True:
            try:
                status = await self._status(xid)
            except SERVER_ERRORS as trouble:
                if self._closing or not _is_away(trouble):  # a server that was put back knows of no such transaction
                    raise exc from trouble
                self._tell(trouble)
            else:
                self._tell(None)
                if status is None:  # so long ago that the server has forgotten
                    raise exc
                if status != "in progress":
                    return status == "committed"
            pause = min(AGAIN, pause * 2)
            await asyncio.sleep(pause)

    async def _status(self, xid: str) -> str | None:
        connection = await asyncpg.connect(self._url, **_connect_options(self._name))
        try:
            status: str | None = await connection.fetchval(STATUS, xid)
            if status == "in progress":
                await connection.execute(END_IDLE, xid)
            return status
        finally:
            connection.terminate()

    def _tell(self, away_because: BaseException | None) -> None:
        before, self.away_because = self.away_because, away_because
        if away_because is not None and before is None:
            log.warning("The database does not answer; waiting for it", extra={"event": "store_away"})
        elif away_because is None and before is not None:
            log.info("The database answers again", extra={"event": "store_back"})


@asynccontextmanager
async def _rolled_back(connection: Any, transaction: Any) -> AsyncIterator[None]:
    """Roll back where what is inside fails; a line on which that hangs, too, is given up."""
    try:
        yield
    except BaseException:
        try:
            async with asyncio.timeout(LETTING_GO):
                await transaction.rollback()
        except TimeoutError:
            connection.terminate()
            raise
        raise


def _is_away(exc: BaseException) -> bool:
    # What is called on a connection that breaks, or has broken, is to asyncpg an error of its own state, or of use; the
    # latter is told apart by its words only.
    if isinstance(exc, asyncpg.InterfaceError):
        return "is closed" in str(exc)
    return isinstance(exc, (*SERVER_UNAVAILABLE, asyncpg.InternalClientError))


def _connect_options(name: str) -> dict[str, Any]:
    """How we connect. Keepalives free the place of a process whose machine has vanished within a minute."""
    alive = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
    return {"timeout": CONNECT, "command_timeout": ANSWER, "server_settings": {"application_name": name, **alive}}


async def _leave(_connection: Any) -> None:
    """Units change nothing in a session, so that nothing is to be put back: it saves a round trip each."""


async def _migrate(connection: Any) -> None:
    """Apply what is missing, in one transaction, one process at a time."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATING)
        known = await connection.fetchval("SELECT to_regclass('darkroom_version') IS NOT NULL")
        version = await connection.fetchval("SELECT version FROM darkroom_version") if known else 0
        steps = missing("postgres", version=version)
        if not known:
            await connection.execute("CREATE TABLE darkroom_version (version BIGINT NOT NULL)")
            await connection.execute("INSERT INTO darkroom_version VALUES (0)")
        for number, text in steps:
            await connection.execute(text)
            await connection.execute("UPDATE darkroom_version SET version = $1", number)

"""Tells which outage an error comes from, whatever it was wrapped in."""

import errno
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import suppress

from bot.core.outages import Outage
from bot.store.database import Tx

DEEPEST = 10  # errors that are the cause of another one
NOT_YET_VALID = 9  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID

SQLITE = {
    sqlite3.SQLITE_FULL: Outage.DISK_FULL,
    sqlite3.SQLITE_READONLY: Outage.NOT_WRITABLE,
    sqlite3.SQLITE_PERM: Outage.NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: Outage.NOT_WRITABLE,
    sqlite3.SQLITE_IOERR: Outage.DISK_ERROR,
    sqlite3.SQLITE_CORRUPT: Outage.DATABASE_DAMAGED,
    sqlite3.SQLITE_NOTADB: Outage.DATABASE_DAMAGED,
    sqlite3.SQLITE_BUSY: Outage.DATABASE_AWAY,
    sqlite3.SQLITE_LOCKED: Outage.DATABASE_AWAY,
}
SYSTEM = {
    errno.ENOSPC: Outage.DISK_FULL,
    errno.EDQUOT: Outage.DISK_FULL,
    errno.EFBIG: Outage.DISK_FULL,  # a limit on the size of files
    errno.EROFS: Outage.NOT_WRITABLE,
    errno.EIO: Outage.DISK_ERROR,
    errno.EMFILE: Outage.OPEN_FILES,
    errno.ENFILE: Outage.OPEN_FILES,
}
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})  # a firewall says so of connections, which have no file name
POSTGRES: dict[type[Exception], Outage] = {}
with suppress(ModuleNotFoundError):  # an extra
    import asyncpg

    POSTGRES = {
        asyncpg.DiskFullError: Outage.DISK_FULL,
        asyncpg.ReadOnlySQLTransactionError: Outage.NOT_WRITABLE,
        asyncpg.InsufficientPrivilegeError: Outage.NOT_WRITABLE,
        asyncpg.PostgresIOError: Outage.DISK_ERROR,
        asyncpg.DataCorruptedError: Outage.DATABASE_DAMAGED,
        asyncpg.IndexCorruptedError: Outage.DATABASE_DAMAGED,
        asyncpg.InvalidAuthorizationSpecificationError: Outage.DATABASE_REFUSED,  # a wrong password is one
        asyncpg.InvalidCatalogNameError: Outage.DATABASE_REFUSED,
        asyncpg.TooManyConnectionsError: Outage.DATABASE_REFUSED,
        asyncpg.PostgresConnectionError: Outage.DATABASE_AWAY,
        asyncpg.CannotConnectNowError: Outage.DATABASE_AWAY,
        asyncpg.AdminShutdownError: Outage.DATABASE_AWAY,
        asyncpg.CrashShutdownError: Outage.DATABASE_AWAY,
    }


async def probe(tx: Tx) -> None:
    """A write that changes nothing anybody reads."""
    await tx.run(
        "INSERT INTO notes (key, value) VALUES ('probe', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CASE notes.value WHEN '1' THEN '2' ELSE '1' END"
    )


def outage_of(exc: BaseException) -> Outage | None:
    """The outage that *exc* or one of its causes comes from; None for anything else, which may be a defect."""
    return next((found for each in _chain(exc) if (found := _named(each)) is not None), None)


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    for _ in range(DEEPEST):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def _named(exc: BaseException) -> Outage | None:
    match exc:
        case sqlite3.Error():
            return SQLITE.get(getattr(exc, "sqlite_errorcode", 0) & 0xFF)  # the low byte; the others say what kind
        case ssl.SSLCertVerificationError():
            return Outage.CLOCK if getattr(exc, "verify_code", 0) == NOT_YET_VALID else None
        case OSError():
            if exc.errno in FORBIDDEN and exc.filename is not None:
                return Outage.NOT_WRITABLE
            return SYSTEM.get(exc.errno or 0)
    return next((outage for kind, outage in POSTGRES.items() if isinstance(exc, kind)), None)

"""Maps an error, or one of its causes, to the outage that it comes from."""

import errno
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import suppress

from bot.core.system_outages import Outage
from bot.files.storage import StorageRefused, StorageUnavailable
from bot.store.database import Tx

MAX_CAUSES = 10  # in a chain of errors
NOT_YET_VALID = 9  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID

SQLITE_CODES = {
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
SYSTEM_CODES = {
    errno.ENOSPC: Outage.DISK_FULL,
    errno.EDQUOT: Outage.DISK_FULL,
    errno.EFBIG: Outage.DISK_FULL,  # a limit on the file size
    errno.EROFS: Outage.NOT_WRITABLE,
    errno.EIO: Outage.DISK_ERROR,
    errno.EMFILE: Outage.OPEN_FILES,
    errno.ENFILE: Outage.OPEN_FILES,
}
PERMISSION_CODES = frozenset({errno.EACCES, errno.EPERM})  # with a file name: without one, a firewall raised it
POSTGRES_ERRORS: dict[type[Exception], Outage] = {}
with suppress(ModuleNotFoundError):  # an extra
    import asyncpg

    POSTGRES_ERRORS = {
        asyncpg.DiskFullError: Outage.DISK_FULL,
        asyncpg.ReadOnlySQLTransactionError: Outage.NOT_WRITABLE,
        asyncpg.InsufficientPrivilegeError: Outage.NOT_WRITABLE,
        asyncpg.PostgresIOError: Outage.DISK_ERROR,
        asyncpg.DataCorruptedError: Outage.DATABASE_DAMAGED,
        asyncpg.IndexCorruptedError: Outage.DATABASE_DAMAGED,
        asyncpg.InvalidAuthorizationSpecificationError: Outage.DATABASE_REFUSED,  # includes a wrong password
        asyncpg.InvalidCatalogNameError: Outage.DATABASE_REFUSED,
        asyncpg.TooManyConnectionsError: Outage.DATABASE_REFUSED,
        asyncpg.PostgresConnectionError: Outage.DATABASE_AWAY,
        asyncpg.CannotConnectNowError: Outage.DATABASE_AWAY,
        asyncpg.AdminShutdownError: Outage.DATABASE_AWAY,
        asyncpg.CrashShutdownError: Outage.DATABASE_AWAY,
    }


async def probe(tx: Tx) -> None:
    """A write of a note that nothing reads."""
    await tx.run(
        "INSERT INTO notes (key, value) VALUES ('probe', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CASE notes.value WHEN '1' THEN '2' ELSE '1' END"
    )


def outage_of(exc: BaseException) -> Outage | None:
    """The outage that *exc* or one of its causes comes from; None for other errors, which may be defects."""
    return next((outage for each in _with_causes(exc) if (outage := _outage_of_one(each)) is not None), None)


def _with_causes(exc: BaseException | None) -> Iterator[BaseException]:
    for _ in range(MAX_CAUSES):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def _outage_of_one(exc: BaseException) -> Outage | None:
    match exc:
        case sqlite3.Error():
            return SQLITE_CODES.get(getattr(exc, "sqlite_errorcode", 0) & 0xFF)  # the primary code of an extended one
        case ssl.SSLCertVerificationError():
            return Outage.CLOCK if getattr(exc, "verify_code", 0) == NOT_YET_VALID else None
        case StorageUnavailable():
            return Outage.STORAGE_AWAY
        case StorageRefused():
            return Outage.STORAGE_REFUSED
        case OSError():
            if exc.errno in PERMISSION_CODES and exc.filename is not None:
                return Outage.NOT_WRITABLE
            return SYSTEM_CODES.get(exc.errno or 0)
    return next((outage for kind, outage in POSTGRES_ERRORS.items() if isinstance(exc, kind)), None)

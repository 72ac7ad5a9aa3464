"""The status of a PostgreSQL database, and messages for the operator when it cannot be used."""

import os
import socket
from typing import Any

import asyncpg

from bot.store.database import StoreUnusable, display_url
from bot.store.database_status import Status
from bot.store.versions import migrations


async def status_of(connection: Any) -> Status:
    """Read the status in the caller's transaction, which writes nothing."""
    known = await connection.fetchval("SELECT to_regclass('darkroom_version') IS NOT NULL")
    version = await connection.fetchval("SELECT version FROM darkroom_version") if known else 0
    newest, obstacle = len(migrations("postgres")), ""
    if await connection.fetchval(
        "SELECT pg_is_in_recovery() OR reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only'"
    ):
        obstacle = "the server is read-only"
    elif version < newest and not await connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        obstacle = "this user may not create tables"
    return Status(version, newest, obstacle=obstacle)


def unusable(url: str, exc: BaseException, *, timeout: float) -> StoreUnusable:
    """The error for the operator: why the database cannot be used, and what to check. *timeout* is in seconds."""
    match exc:
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            reason = " ".join(str(exc).split())
        case ValueError():
            reason = "its URL cannot be parsed"
        case TimeoutError():
            reason = f"nothing answers there within {timeout:.0f} seconds"
        case _:
            reason = f"nothing answers there ({_reason(exc)})"
    match exc:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            advice = "check user and password in DARKROOM_DATABASE__URL"
        case asyncpg.InvalidCatalogNameError():
            advice = "create it with createdb, or check the name at the end of DARKROOM_DATABASE__URL"
        case asyncpg.InsufficientPrivilegeError():
            advice = "make its user the owner of the database"
        case asyncpg.PostgresError():
            advice = "check the server's log"
        case _:
            advice = "check that PostgreSQL runs there, and host and port in DARKROOM_DATABASE__URL"
    return StoreUnusable(f"the database {display_url(url)} cannot be used: {reason}; {advice}")


def _reason(exc: BaseException) -> str:
    number = getattr(exc, "errno", None)  # asyncio's own text lists the error of every address that it tried
    return "no such host" if isinstance(exc, socket.gaierror) else os.strerror(number) if number else str(exc)

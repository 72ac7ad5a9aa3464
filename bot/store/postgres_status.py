"""What a PostgreSQL server says of a database of ours, and what it means for the operator when it cannot be used."""

import os
import socket
from typing import Any

import asyncpg

from bot.store.database import StoreUnusable, shown
from bot.store.database_status import Status
from bot.store.versions import migrations


async def status_of(connection: Any) -> Status:
    """Which tables are there, asked in a transaction of the caller's that writes nothing."""
    known = await connection.fetchval("SELECT to_regclass('darkroom_version') IS NOT NULL")
    version = await connection.fetchval("SELECT version FROM darkroom_version") if known else 0
    newest, obstacle = len(migrations("postgres")), ""
    if await connection.fetchval(
        "SELECT pg_is_in_recovery() OR reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only'"
    ):
        obstacle = "the server takes no writes"
    elif version < newest and not await connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        obstacle = "this user may not make tables"
    return Status(version, newest, obstacle=obstacle)


def unusable(url: str, exc: BaseException, *, patience: float) -> StoreUnusable:
    """One sentence for the operator: what PostgreSQL, or the way to it, is missing."""
    match exc:
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            why = " ".join(str(exc).split())
        case ValueError():
            why = "its address is not understood"
        case TimeoutError():
            why = f"nothing answers there within {patience:.0f} seconds"
        case _:
            why = f"nothing answers there ({_told(exc)})"
    match exc:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            check = "check user and password in DARKROOM_DATABASE__URL"
        case asyncpg.InvalidCatalogNameError():
            check = "make it with createdb, or check the name at the end of DARKROOM_DATABASE__URL"
        case asyncpg.InsufficientPrivilegeError():
            check = "make its user the owner of the database"
        case asyncpg.PostgresError():
            check = "look into the server's log"
        case _:
            check = "check that PostgreSQL runs there, and host and port in DARKROOM_DATABASE__URL"
    return StoreUnusable(f"the database {shown(url)} cannot be used: {why}; {check}")


def _told(exc: BaseException) -> str:
    number = getattr(exc, "errno", None)  # asyncio's own words name an address for each try
    return "no such host" if isinstance(exc, socket.gaierror) else os.strerror(number) if number else str(exc)

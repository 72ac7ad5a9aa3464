"""Restores the logging and the Discord address that commands run in this process have changed."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import discord
import pytest

from bot.observability.logging import Redactor
from tests import databases


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for each in [each for each in root.handlers if any(isinstance(one, Redactor) for one in each.filters)]:
        root.removeHandler(each)


@pytest.fixture(autouse=True)
def _discord_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = discord.gateway.DiscordWebSocket
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY)


@pytest.fixture(params=databases.POSTGRES_IN_PROVE)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with databases.empty(request, tmp_path) as database_url:
        yield database_url

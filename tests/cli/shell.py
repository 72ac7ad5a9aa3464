"""Runs commands as the operator does: each with its own connections and event loop."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bot.cli.main import main
from bot.core.jobs import State
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, walk

FIRST = "01KAF0000000000000000000AA"
SECOND = "01KAF1111100000000000000BB"
THIRD = "01KAF1111122222222222222CC"


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    def sentence(self, code: int) -> str:
        """The one sentence of a command that changed nothing."""
        assert (self.code, self.out, self.err.count("\n")) == (code, "", 1)
        assert self.err.startswith("darkroom: ")
        return self.err


Run = Callable[..., Awaitable[Ended]]


def shell(command: str, url: str, *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`darkroom command …` on the database at *url*, which other processes may have open."""
    monkeypatch.setenv("DARKROOM_DATABASE__URL", url)

    async def run(*arguments: str) -> Ended:
        code = await asyncio.to_thread(main, [*command.split(), *arguments])
        return Ended(code, *capsys.readouterr())

    return run


async def three(store: Store) -> None:
    """A job of user 1 in server 5 that was cancelled, one of user 2 there, and one of user 1 in direct messages."""
    first = await accept(store, a_job(FIRST))
    await walk(store, first, [State.CANCELLED], now=NOON + 1000)
    await accept(store, a_job(SECOND, user=2, now=NOON + 2000))
    await accept(store, a_job(THIRD, guild=None, now=NOON + 3000))

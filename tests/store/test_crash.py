"""After SIGKILL at any moment, the store has everything that it answered, and the ledger is consistent."""

import asyncio
import random
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import closing
from pathlib import Path

import pytest

from bot.core.jobs import State
from bot.store.housekeeping import Housekeeping
from tests.store.ledger_model import faults, opened, rows


@pytest.fixture
def url(blank_url: str) -> str:
    return blank_url


async def run_and_kill(url: str, *, seed: str, after: int) -> list[tuple[State, str]]:
    """Start a process on *url* and SIGKILL it after *after* lines of output; returns its output."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.store.crashing", url, seed, stdout=PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        lines = [await process.stdout.readline() for _ in range(after)]
        process.kill()
        rest, _ = await process.communicate()
    assert process.returncode == -9
    printed = b"".join([*lines, rest]).decode()
    whole = printed[: printed.rfind("\n") + 1].splitlines()
    return [(State(state), job_id) for state, job_id in (each.split() for each in whole)]


@pytest.mark.parametrize(("seed", "kills"), [(11, 2), pytest.param(12, 8, marks=pytest.mark.prove)])
async def test_sigkill_loses_nothing_that_was_answered_and_ends_nothing_twice(
    url: str, path: Path, seed: int, kills: int
) -> None:
    source = random.Random(seed)
    printed: list[tuple[State, str]] = []
    for n in range(kills):
        printed += await run_and_kill(url, seed=f"{seed}{n}", after=source.randint(1, 500))
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(path)) as look:
                assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert look.execute("PRAGMA foreign_key_check").fetchall() == []

        async with opened(url) as store:
            entered = {(row["after"], row["job"]) for row in await rows(store, "SELECT after, job FROM job_events")}
            assert [each for each in printed if each not in entered] == []
            ended = await rows(
                store,
                """
                SELECT jobs.id, (SELECT count(*) FROM ledger WHERE job = jobs.id AND kind <> 'reserve') AS ends
                FROM jobs WHERE ended_at IS NOT NULL
                """,
            )
            assert {row["ends"] for row in ended} <= {1}
            assert await faults(store) == []
            assert await Housekeeping(store.database).end_orphaned_reservations(now=0) == []
    assert len(printed) > 200

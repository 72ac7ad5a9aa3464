"""Several processes on one database: together they accept no more than one alone."""

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from bot.core.jobs import State
from bot.store.store import Store
from tests.store.ledger_model import NOON, faults, opened, rows, walk, way_to

PROCESSES, EACH = 4, 50


@dataclass(frozen=True, slots=True)
class Answer:
    job: str
    price: int
    count: int
    outcome: str

    @property
    def micro_usd(self) -> int:
        return self.price * self.count


async def process(url: str, name: str, **limits: int) -> Process:
    """A process that has opened the database and waits for the start signal."""
    found = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.store.reserving", url, name, str(EACH), json.dumps(limits)),
        stdin=PIPE,
        stdout=PIPE,
    )
    assert found.stdout is not None
    assert await found.stdout.readline() == b"ready\n"
    return found


async def all_ask(url: str, **limits: int) -> Sequence[Answer]:
    """The results of two hundred reservations of one member, by four processes at the same moment."""
    async with asyncio.timeout(60):
        waiting = await asyncio.gather(*(process(url, f"p{n}", **limits) for n in range(PROCESSES)))
        for each in waiting:
            assert each.stdin is not None
            each.stdin.write(b"\n")
        outputs = await asyncio.gather(*(each.communicate() for each in waiting))
    answers = [Answer(*each) for out, _ in outputs for each in json.loads(out)]
    assert len(answers) == PROCESSES * EACH
    return answers


def sorted_out(answers: Sequence[Answer], refusal: str) -> tuple[list[Answer], list[Answer]]:
    taken = [each for each in answers if each.outcome == "accepted"]
    refused = [each for each in answers if each.outcome == refusal]
    assert [each for each in answers if each not in (*taken, *refused)] == []  # and no caller met with an error
    return taken, refused


async def end_all(store: Store, source: random.Random) -> int:
    """End all jobs at once, each with some pictures; returns what they cost."""
    reserved = {row["job"]: row for row in await rows(store, "SELECT * FROM ledger WHERE kind = 'reserve'")}

    async def end(job_id: str, pictures: int) -> None:
        job = await store.job(job_id)
        assert job is not None
        job = await walk(store, job, way_to(State.COLLECTING))
        await store.move(job, State.SUCCEEDED, now=NOON, images=pictures)

    made = {job: source.randint(0, row["images"] + 1) for job, row in reserved.items()}
    await asyncio.gather(*(end(job, pictures) for job, pictures in made.items()))
    return sum(min(made[job], row["images"]) * row["micro_usd"] // row["images"] for job, row in reserved.items())


async def settled(store: Store) -> int:
    return sum(row["micro_usd"] for row in await rows(store, "SELECT micro_usd FROM ledger WHERE kind = 'settle'"))


async def test_of_two_hundred_requests_of_four_processes_ten_are_accepted_and_the_ledger_is_consistent(
    blank_url: str,
) -> None:
    """They also create the database at once."""
    taken, refused = sorted_out(await all_ask(blank_url, user_day_images=10), "quota.user_day_images")
    assert (len(taken), len(refused)) == (10, 190)
    async with opened(blank_url) as store:
        assert await faults(store) == []

        delivered = await end_all(store, random.Random(1))
        assert await settled(store) == delivered
        assert await faults(store) == []


@pytest.mark.prove
@pytest.mark.parametrize(
    ("limit", "name"), [("user_day_micro_usd", "user_day_usd"), ("host_month_micro_usd", "host_month_usd")]
)
async def test_four_processes_spend_a_budget_until_nothing_more_fits(url: str, limit: str, name: str) -> None:
    async with opened(url) as store:
        taken, refused = sorted_out(await all_ask(url, **{limit: 2_000_000}), f"quota.{name}")
        left = 2_000_000 - sum(each.micro_usd for each in taken)
        assert 0 <= left < min(each.micro_usd for each in refused)
        delivered = await end_all(store, random.Random(2))
        assert await settled(store) == delivered
        assert await faults(store) == []

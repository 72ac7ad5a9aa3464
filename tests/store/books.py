"""Jobs made from a few words, and the books computed again from their rows."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

from bot.core.cards import Reply
from bot.core.jobs import NEXT, ImageRequest, Job, Place, State, Verb
from bot.core.quota import Amount, Limits, day_of, month_of
from bot.store.database import Row, Tx, Unit
from bot.store.opening import open_database
from bot.store.store import Accepted, Store

NOON = 1_795_176_000_000  # 2026-11-20 12:00 UTC
DAY = 24 * 60 * 60 * 1000
FREE = Limits(None, None, None, None, None, None, None)
Totals = dict[tuple[str, int, str], tuple[int, int, int, int]]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    database = await open_database(url)
    try:
        yield Store(database)
    finally:
        await database.aclose()


def a_job(job_id: str, *, user: int = 1, guild: int | None = 5, now: int = NOON, count: int = 1, **changes: Any) -> Job:
    job = Job(
        id=job_id,
        place=Place(user_id=user, channel_id=6, guild_id=guild),
        request=ImageRequest(model="m", verb=Verb.IMAGINE, prompt="a boat", options={"count": count}),
        provider="runcomfy",
        route="a/b",
        state=State.ACCEPTED,
        created_at=now,
        changed_at=now,
        due_at=now,
        give_up_after=1000,
    )
    return replace(job, **changes)


def a_reply(job: Job) -> Reply:
    return Reply(
        job_id=job.id,
        application_id=42,
        channel_id=job.place.channel_id,
        guild_id=job.place.guild_id,
        message_id=None,
        ephemeral=False,
        bot_can_edit=True,
        bot_can_post=True,
        filesize_limit=1000,
        locale="en-US",
        wanted=1,
        delivered=1,
        token="token",
        token_expires_at=job.created_at + 900_000,
    )


async def accept(
    store: Store, job: Job, *, price: int = 80_000, limits: Limits = FREE, interaction: int | None = None
) -> Accepted:
    """Take *job* on at *price* a picture."""
    return await store.accept(
        _number(job.id) if interaction is None else interaction,
        job,
        reply=a_reply(job),
        amount=Amount(job.request.count, price * job.request.count),
        price_version="2026-11",
        limits=limits,
    )


def _number(job_id: str) -> int:
    return int.from_bytes(sha256(job_id.encode()).digest()[:7])


def way_to(state: State) -> Sequence[State]:
    """The shortest way from acceptance to *state*, itself included."""
    ways: list[list[State]] = [[State.ACCEPTED]]
    for way in ways:
        if way[-1] is state:
            return way[1:]
        ways += [[*way, each] for each in NEXT[way[-1]] if each not in way]
    raise AssertionError(state)


async def walk(store: Store, job: Job, states: Sequence[State], *, now: int = NOON) -> Job:
    for state in states:
        moved = await store.move(job, state, now=now)
        assert moved is not None
        job = moved
    return job


async def rows(store: Store, sql: str, *args: object) -> Sequence[Row]:
    async def unit(tx: Tx) -> Sequence[Row]:
        return await tx.fetch(sql, *args)

    return await store.database.read(unit)


async def execute(store: Store, *statements: str) -> None:
    """Do by hand what no verb of the store does."""

    async def unit(tx: Tx) -> None:
        for each in statements:
            await tx.run(each)

    await store.database.write(unit)


async def totals(store: Store) -> Totals:
    """The kept totals, without those that have come back to nothing."""
    found = await rows(store, "SELECT * FROM totals")
    kept = {(row["scope"], row["subject"], row["bucket"]): _amounts(row) for row in found}
    return {key: amounts for key, amounts in kept.items() if any(amounts)}


async def rebuilt(store: Store) -> Totals:
    """What the totals must be, from the rows of both books alone."""
    sums: Counter[tuple[tuple[str, int, str], int]] = Counter()
    ledger = await rows(store, "SELECT * FROM ledger")
    ends = {row["job"]: row for row in ledger if row["kind"] in {"settle", "release"}}
    for row in ledger:
        if row["kind"] != "reserve":
            continue
        for key in _windows(row):
            end = ends.get(row["job"])
            if end is None:
                _add(sums, key, column=0, row=row)
            elif end["kind"] == "settle" and key[0] != "host":
                _add(sums, key, column=2, row=end)
    for row in await rows(store, "SELECT * FROM host_cost"):
        sums[(("host", 0, month_of(row["at"])), 3)] += row["micro_usd"]
    keys = {key for key, _ in sums}
    built = {key: (sums[(key, 0)], sums[(key, 1)], sums[(key, 2)], sums[(key, 3)]) for key in keys}
    return {key: amounts for key, amounts in built.items() if any(amounts)}


def _windows(row: Row) -> list[tuple[str, int, str]]:
    windows = [("user", row["user"], day_of(row["at"])), ("host", 0, month_of(row["at"]))]
    return windows if row["guild"] is None else [*windows, ("guild", row["guild"], month_of(row["at"]))]


def _add(
    sums: "Counter[tuple[tuple[str, int, str], int]]", key: tuple[str, int, str], *, column: int, row: Row
) -> None:
    sums[(key, column)] += row["images"]
    sums[(key, column + 1)] += row["micro_usd"]


async def faults(store: Store) -> list[str]:
    """Everything about the books that must never be so."""
    checks = {
        "an ended job holds money": """
            SELECT jobs.id FROM jobs WHERE ended_at IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM ledger WHERE job = jobs.id AND kind IN ('settle', 'release'))""",
        "an open job has been settled": """
            SELECT jobs.id FROM jobs WHERE ended_at IS NULL
            AND EXISTS (SELECT 1 FROM ledger WHERE job = jobs.id AND kind IN ('settle', 'release'))""",
        "a job was never reserved for": """
            SELECT jobs.id FROM jobs
            WHERE NOT EXISTS (SELECT 1 FROM ledger WHERE job = jobs.id AND kind = 'reserve')""",
        "a row of the ledger has no job": "SELECT job FROM ledger WHERE job NOT IN (SELECT jobs.id FROM jobs)",
        "a reservation ended twice": """
            SELECT job FROM ledger WHERE kind IN ('settle', 'release') GROUP BY job HAVING count(*) > 1""",
        "more was settled than reserved": """
            SELECT ended.job FROM ledger ended JOIN ledger held ON held.job = ended.job AND held.kind = 'reserve'
            WHERE ended.kind = 'settle' AND (ended.micro_usd > held.micro_usd OR ended.images > held.images)""",
        "paid without pictures": """
            SELECT jobs.id FROM jobs JOIN ledger ON job = jobs.id AND kind = 'settle' WHERE state <> 'succeeded'""",
        "ended without an ending": """
            SELECT jobs.id FROM jobs WHERE (ended_at IS NOT NULL)
            <> (state IN ('succeeded', 'failed', 'refused', 'cancelled'))""",
        "a job has no reply": "SELECT jobs.id FROM jobs WHERE jobs.id NOT IN (SELECT job FROM replies)",
    }
    found = [f"{what}: {tuple(row)}" for what, sql in checks.items() for row in await rows(store, sql)]
    if (await totals(store)) != (await rebuilt(store)):
        found.append(f"totals {await totals(store)} are not the sum of the rows {await rebuilt(store)}")
    return found


def _amounts(row: Row) -> tuple[int, int, int, int]:
    return row["reserved_images"], row["reserved_micro_usd"], row["spent_images"], row["spent_micro_usd"]


def put(key: str, value: str = "1") -> Unit[str]:
    async def unit(tx: Tx) -> str:
        await tx.run("INSERT INTO notes (key, value) VALUES ($1, $2)", key, value)
        return key

    return unit


async def all_keys(tx: Tx) -> set[str]:
    return {row["key"] for row in await tx.fetch("SELECT key FROM notes WHERE key <> 'probe'")}

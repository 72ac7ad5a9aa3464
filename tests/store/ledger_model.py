"""Jobs for tests, and the ledger's totals and invariants computed independently from its rows."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, tzinfo
from hashlib import sha256
from typing import Any, TypeVar

from bot.core.cards import Reply
from bot.core.jobs import NEXT, ImageRequest, Job, Place, State, Verb
from bot.core.quota import Amount, Limits, Scope
from bot.core.windows import Calendar, Window, moment, moment_on_day
from bot.store.connect import open_database
from bot.store.database import Row, Tx, Unit
from bot.store.store import Store

T = TypeVar("T")
NOON = 1_795_176_000_000  # 2026-11-20 12:00 UTC
DAY = 24 * 60 * 60 * 1000
FREE = Limits(*[None] * 11)
Key = tuple[str, int, int, str]  # scope, server, subject, bucket
Totals = dict[Key, tuple[int, ...]]
COLUMNS = ("jobs", "reserved_images", "reserved_micro_usd", "spent_images", "spent_micro_usd", "aside_images",
           "aside_micro_usd")  # fmt: skip


@asynccontextmanager
async def opened(url: str, *, direct_url: str = "", running: bool = False) -> AsyncIterator[Store]:
    """A store on the database at *url*; the options are those of `open_database`."""
    database = await open_database(url, direct_url=direct_url, running=running)
    try:
        yield Store(database)
    finally:
        await database.aclose()


class TwoProcesses:
    """Two stores on one database, for tests that are not asynchronous."""

    def __init__(self, place: AbstractAsyncContextManager[str]) -> None:
        """*place* yields the URL of the database."""
        self._place = place
        self._runner = asyncio.Runner()
        self._url = self.do(place.__aenter__())
        self.stores = self._open()

    def _open(self) -> Sequence[Store]:
        return [Store(self.do(open_database(self._url))) for _ in range(2)]

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def restart(self) -> None:
        """Close both databases and open them again."""
        self._close_stores()
        self.stores = self._open()

    def close(self) -> None:
        self._close_stores()
        self.do(self._place.__aexit__(None, None, None))
        self._runner.close()

    def _close_stores(self) -> None:
        for each in self.stores:
            self.do(each.database.aclose())


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
    store: Store,
    job: Job,
    *,
    price: int = 80_000,
    limits: Limits = FREE,
    interaction: int | None = None,
    zone: tzinfo = UTC,
    calendar: Calendar | None = None,
) -> Job:
    """Accept *job* at *price* a picture, with the *calendar* of its server, or one of *zone*."""
    await store.accept(
        _number(job.id) if interaction is None else interaction,
        job,
        reply=a_reply(job),
        amount=Amount(job.request.count, price * job.request.count),
        price_version="2026-11",
        limits=limits,
        calendar=calendar or Calendar(zone),
    )
    return job


def _number(job_id: str) -> int:
    return int.from_bytes(sha256(job_id.encode()).digest()[:7])


def way_to(state: State) -> Sequence[State]:
    """The shortest path from acceptance to *state*, including it."""
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
    """Execute SQL that no method of the store executes."""

    async def unit(tx: Tx) -> None:
        for each in statements:
            await tx.run(each)

    await store.database.write(unit)


@dataclass(frozen=True, slots=True)
class Seen:
    """Usage that counts against the limits of one place; images and money, reserved or spent."""

    user_day: Amount
    guild_month: Amount
    host_month: Amount
    user_in_flight: int
    guild_in_flight: int
    host_in_flight: int


async def seen(store: Store, place: Place, *, now: int) -> Seen:
    used = (await store.quota_status(place, limits=FREE, now=now)).used
    return Seen(
        user_day=used.tally(Scope.USER, Window.DAY).counts,
        guild_month=used.tally(Scope.GUILD, Window.MONTH).counts,
        host_month=used.tally(Scope.HOST, Window.MONTH).counts,
        user_in_flight=used.tally(Scope.USER, None).jobs,
        guild_in_flight=used.tally(Scope.GUILD, None).jobs,
        host_in_flight=used.tally(Scope.HOST, None).jobs,
    )


async def totals(store: Store) -> Totals:
    """The stored totals, without those that are zero; of the host, the sums of its shards."""
    sums: Counter[tuple[Key, str]] = Counter()
    for row in await rows(store, "SELECT * FROM totals"):
        scope, guild, subject, bucket = _key(row)
        key = (scope, guild, 0 if scope == "host" else subject, bucket)
        sums.update({(key, column): row[column] for column in COLUMNS})
    return _without_nothing({key: tuple(sums[(key, column)] for column in COLUMNS) for key, _ in sums})


async def rebuilt(store: Store) -> Totals:
    """What the totals must be, from the rows of the ledger and of the costs."""
    sums: Counter[tuple[Key, str]] = Counter()
    ledger = await rows(store, "SELECT * FROM ledger")
    ends = {row["job"]: row for row in ledger if row["kind"] in {"settle", "release"}}
    for row in ledger:
        if row["kind"] == "reserve":
            _count(sums, row, ends.get(row["job"]))
        elif row["kind"] == "adjust" and row["bucket"] is not None:
            scope, subject = ("user", row["user"]) if row["user"] else ("channel", row["channel"])
            key = (scope if subject else "guild", row["guild"], subject, row["bucket"])
            _add(sums, [key], "aside", images=-row["images"], micro_usd=-row["micro_usd"])
    for row in await rows(store, "SELECT * FROM host_cost"):
        keys = [("host", 0, 0, each) for each in moment(row["at"]).buckets.values()]
        _add(sums, keys, "spent", images=0, micro_usd=row["micro_usd"])
    return _without_nothing({key: tuple(sums[(key, column)] for column in COLUMNS) for key, _ in sums})


def _without_nothing(stored: Totals) -> Totals:
    return {key: amounts for key, amounts in stored.items() if any(amounts)}


def _count(sums: "Counter[tuple[Key, str]]", reservation: Row, end: Row | None) -> None:
    local = moment_on_day(date.fromisoformat(reservation["day"]), reservation["at"]).buckets.values()
    utc = moment(reservation["at"]).buckets.values()
    member = [("user", reservation["guild"], reservation["user"], each) for each in local]
    others = [("channel", reservation["guild"], reservation["channel"], each) for each in local]
    others += [("guild", reservation["guild"], 0, each) for each in local]
    others += [("cap", reservation["guild"], 0, each) for each in utc]
    host = [("host", 0, 0, each) for each in utc]
    if end is None:
        for key in (*member, *others, *host):
            sums[(key, "jobs")] += 1
        _add(
            sums,
            [*member, *others, *host],
            "reserved",
            images=reservation["images"],
            micro_usd=reservation["micro_usd"],
        )
        _add(sums, member, "aside", images=reservation["bonus_images"], micro_usd=reservation["bonus_micro_usd"])
    elif end["kind"] == "settle":
        _add(sums, [*member, *others], "spent", images=end["images"], micro_usd=end["micro_usd"])
        _add(sums, host, "spent", images=end["images"], micro_usd=0)
        _add(sums, member, "aside", images=end["bonus_images"], micro_usd=end["bonus_micro_usd"])


def _add(
    sums: "Counter[tuple[Key, str]]", keys: Sequence[Key], column: str, *, images: int, micro_usd: int
) -> None:  # fmt: skip
    for key in keys:
        sums[(key, f"{column}_images")] += images
        sums[(key, f"{column}_micro_usd")] += micro_usd


def _key(row: Row) -> Key:
    return row["scope"], row["guild"], row["subject"], row["bucket"]


async def faults(store: Store) -> list[str]:
    """Violated invariants of the ledger."""
    checks = {
        "an ended job holds money": """
            SELECT jobs.id AS it FROM jobs WHERE ended_at IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM ledger WHERE job = jobs.id AND kind IN ('settle', 'release'))""",
        "an open job has been settled": """
            SELECT jobs.id AS it FROM jobs WHERE ended_at IS NULL
            AND EXISTS (SELECT 1 FROM ledger WHERE job = jobs.id AND kind IN ('settle', 'release'))""",
        "a job was never reserved for": """
            SELECT jobs.id AS it FROM jobs
            WHERE NOT EXISTS (SELECT 1 FROM ledger WHERE job = jobs.id AND kind = 'reserve')""",
        "a row of the ledger has no job": """
            SELECT job AS it FROM ledger WHERE kind NOT IN ('grant', 'adjust')
            AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = ledger.job)""",
        "a bonus is not what was granted less what was drawn": """
            SELECT id AS it FROM grants WHERE remaining < 0
            OR remaining <> amount - (SELECT coalesce(sum(taken), 0) FROM draws WHERE grant_id = grants.id)""",
        "a job drew more or less than a bonus pays for it": """
            SELECT held.job AS it FROM ledger held
            LEFT JOIN ledger ended ON ended.job = held.job AND ended.kind IN ('settle', 'release')
            WHERE held.kind = 'reserve' AND coalesce(ended.bonus_images, held.bonus_images)
            <> (SELECT coalesce(sum(pictures), 0) FROM draws WHERE draws.job = held.job)""",
        "a reservation ended twice": """
            SELECT job AS it FROM ledger WHERE kind IN ('settle', 'release') GROUP BY job HAVING count(*) > 1""",
        "more was settled than reserved": """
            SELECT ended.job AS it FROM ledger ended JOIN ledger held ON held.job = ended.job AND held.kind = 'reserve'
            WHERE ended.kind = 'settle' AND (ended.micro_usd > held.micro_usd OR ended.images > held.images)""",
        "paid without pictures": """
            SELECT jobs.id AS it FROM jobs JOIN ledger ON job = jobs.id AND kind = 'settle'
            WHERE state <> 'succeeded'""",
        "ended without an ending": """
            SELECT jobs.id AS it FROM jobs WHERE (ended_at IS NOT NULL)
            <> (state IN ('succeeded', 'failed', 'refused', 'cancelled'))""",
        "a job has no reply": "SELECT jobs.id AS it FROM jobs WHERE jobs.id NOT IN (SELECT job FROM replies)",
    }
    each_of_them = (f"SELECT '{what}', CAST(it AS TEXT) FROM ({sql}) found" for what, sql in checks.items())  # noqa: S608
    every = " UNION ALL ".join(each_of_them)
    found = [": ".join(map(str, row)) for row in await rows(store, every)]
    sums, view = await rebuilt(store), await rows(store, "SELECT * FROM rebuilt")
    if (stored := await totals(store)) != sums:
        found.append(f"totals {stored} are not the sum of the rows {sums}")
    if _without_nothing({_key(row): tuple(row[each] for each in COLUMNS) for row in view}) != sums:
        found.append("the audit's view does not see the sum of the rows")
    return found


def put(key: str, value: str = "1") -> Unit[str]:
    async def unit(tx: Tx) -> str:
        await tx.run("INSERT INTO notes (key, value) VALUES ($1, $2)", key, value)
        return key

    return unit


async def all_keys(tx: Tx) -> set[str]:
    return {row["key"] for row in await tx.fetch("SELECT key FROM notes WHERE key <> 'probe'")}

"""The cost of accepting a job does not grow with the tables: every statement uses an index."""

import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.jobs import Place, State
from bot.core.quota import Grant, Holder, Limits, Rule, Unit
from bot.core.windows import Window
from bot.store import statistics
from bot.store.housekeeping import Housekeeping
from bot.store.quotas import By, Quotas
from bot.store.sqlite import SqliteDatabase
from bot.store.store import Store
from bot.store.threads import Threads
from tests.store.ledger_model import FREE, NOON, a_job, accept, walk, way_to

GROWING = ("ledger", "held", "ended", "totals", "limits", "grants", "draws", "houses", "host_cost", "alerts", "changes",
           "interactions", "jobs", "replies", "pictures", "job_events", "strikes", "reports", "gallery")  # fmt: skip
LIMITS = replace(FREE, user_day_images=1, guild_month_micro_usd=10**9)
STATEMENT = re.compile(r"^(SELECT|INSERT|UPDATE|DELETE|WITH)", re.IGNORECASE)


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@asynccontextmanager
async def recording(store: Store) -> AsyncIterator[list[str]]:
    """Collects every statement that reaches the database."""
    database = store.database
    assert isinstance(database, SqliteDatabase)
    recorded: list[str] = []
    for lane in (database._writer, database._reader):
        await lane.connection.set_trace_callback(lambda text: recorded.append(text.strip()))
    yield recorded
    for lane in (database._writer, database._reader):
        await lane.connection.set_trace_callback(None)  # type: ignore[arg-type]


def scans(path: Path, recorded: Sequence[str]) -> list[tuple[str, str]]:
    """The steps of the query plans of *recorded* that scan a whole table."""
    full_scans = []
    with closing(sqlite3.connect(path)) as look:
        for text in recorded:
            if STATEMENT.match(text):
                steps = [row[3] for row in look.execute(f"EXPLAIN QUERY PLAN {text}")]
                full_scans += [(step, text) for step in steps if step.startswith("SCAN") and step.split()[1] in GROWING]
    return full_scans


async def furnish(store: Store) -> None:
    quotas = Quotas(store.database)
    await quotas.grant(By("g", 5, 9, NOON), 1, Grant(0, Unit.IMAGES, 50))
    await quotas.set_rule(By("r", 5, 9, NOON), Rule(Holder.CHANNEL, 6, Unit.IMAGES, Window.DAY, 1000))
    await quotas.set_rule(By("h", 0, 0, NOON), Rule(Holder.HOST, 0, Unit.IMAGES, Window.DAY, 1000))


@pytest.mark.parametrize("limits", [LIMITS, replace(LIMITS, guild_in_flight=0)], ids=["taken", "refused"])
async def test_a_reservation_scans_no_table(store: Store, path: Path, limits: Limits) -> None:
    await furnish(store)
    async with recording(store) as recorded:
        try:
            await accept(store, a_job("j", count=4), limits=limits)
        except Exception:  # noqa: BLE001 - a refusal costs no more than an acceptance
            assert limits.guild_in_flight == 0
    assert sum(" totals " in each for each in recorded) >= 2
    assert any("FROM limits" in each for each in recorded)
    assert any("FROM grants" in each for each in recorded)
    assert scans(path, recorded) == []


@pytest.mark.parametrize("pictures", [4, 2, 0])
async def test_an_ending_scans_no_table(store: Store, path: Path, pictures: int) -> None:
    await furnish(store)
    job = await walk(store, await accept(store, a_job("j", count=4), limits=LIMITS), way_to(State.COLLECTING))
    async with recording(store) as recorded:
        await store.move(job, State.SUCCEEDED, now=NOON, images=pictures, cost_micro_usd=7)
    assert any("INTO ledger" in each for each in recorded)
    assert scans(path, recorded) == []


async def test_a_quota_status_scans_no_table(store: Store, path: Path) -> None:
    await furnish(store)
    async with recording(store) as recorded:
        await store.quota_status(Place(1, 6, 5, roles=(5, 701)), limits=LIMITS, now=NOON)
        await store.server_settings(5)
    assert any("FROM totals" in each for each in recorded)
    assert scans(path, recorded) == []


async def test_the_statistics_scan_no_table(store: Store, path: Path) -> None:
    await furnish(store)
    async with recording(store) as recorded:
        await statistics.collect(store.database, LIMITS, now=NOON)
    assert any("FROM servers" in each for each in recorded)
    assert any("host_cost" in each for each in recorded)
    assert [step for step, _ in scans(path, recorded)] == ["SCAN jobs USING INDEX jobs_open"]  # unfinished ones only


async def test_due_jobs_are_found_without_scanning_a_table(store: Store, path: Path) -> None:
    async with recording(store) as recorded:
        await store.due_before(NOON)
    assert any("due_at <" in each for each in recorded)
    assert scans(path, recorded) == []


async def test_deleting_expired_rows_and_listing_open_jobs_scan_no_table(store: Store, path: Path) -> None:
    async with recording(store) as recorded:
        await Housekeeping(store.database).delete_expired_pictures(before=NOON, unseen_before=NOON)
        await store.open_jobs(1, since=NOON)
    assert any("DELETE FROM pictures" in each for each in recorded)
    assert any("of_all" in each for each in recorded)
    assert scans(path, recorded) == []


async def test_what_is_edited_next_in_a_thread_is_found_without_scanning_or_sorting(store: Store, path: Path) -> None:
    await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=77, ephemeral=False, now=NOON)
    async with recording(store) as recorded:
        assert await Threads(store.database).state(77) is not None
    assert any("FROM threads" in each for each in recorded)
    assert scans(path, recorded) == []
    (newest,) = [each for each in recorded if "ORDER BY jobs.id DESC" in each]
    with closing(sqlite3.connect(path)) as look:
        steps = [row[3] for row in look.execute(f"EXPLAIN QUERY PLAN {newest}")]
    assert steps[0].startswith("SEARCH jobs USING INDEX jobs_results_of_channel"), steps
    assert not any("SORT" in each or "B-TREE" in each for each in steps), steps


async def test_a_scan_would_be_noticed(store: Store, path: Path) -> None:
    assert scans(path, ["SELECT sum(images) FROM ledger", "SELECT 1 FROM totals WHERE scope = 'user'"]) == [
        ("SCAN ledger", "SELECT sum(images) FROM ledger")
    ]


async def test_a_reservation_takes_as_many_steps_in_a_large_ledger_as_in_a_small_one(store: Store, path: Path) -> None:
    """Steps of SQLite's virtual machine, which do not depend on the load of the computer."""
    await steps_of(store, "first")  # inserts the rows of its windows
    small = await steps_of(store, "small")
    fill(path)
    large = await steps_of(store, "large")
    assert 0 < large <= small * 1.05


FILLED = (  # with rows of others, in every table that an acceptance reads or writes
    ("INSERT INTO totals", "SELECT 'user', 5, 'total', i + 100, 0, 0, 0, 0, 0, 0, 0"),
    ("INSERT INTO limits", "SELECT i + 100, 'guild', 0, 'images', 'day', 9"),
    ("INSERT INTO limits", "SELECT 5, 'user', i + 100, 'images', 'day', 9"),
    ("INSERT INTO limits", "SELECT 5, 'channel', i + 100, 'images', 'day', 9"),
    ('INSERT INTO grants (id, guild, "user", unit, amount, remaining)', "SELECT i, 5, i + 100, 'images', 9, 9"),
    (
        'INSERT INTO ledger (at, kind, job, actor, guild, channel, "user", images, micro_usd)',
        "SELECT 1, 'reserve', 'old-' || i, 0, 5, 6, i + 100, 1, 1",
    ),
    ("INSERT INTO interactions", "SELECT i + 100, 1, NULL, NULL"),
)


def fill(path: Path) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    with closing(sqlite3.connect(path)) as file:
        for into, select in FILLED:
            file.execute(f"{into} {numbers} {select} FROM n")
        file.commit()


async def steps_of(store: Store, job_id: str) -> int:
    database = store.database
    assert isinstance(database, SqliteDatabase)
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    await database._writer.connection.set_progress_handler(count, 1)
    await accept(store, a_job(job_id), limits=replace(LIMITS, user_day_images=100))
    await database._writer.connection.set_progress_handler(None, 0)  # type: ignore[arg-type]
    return taken

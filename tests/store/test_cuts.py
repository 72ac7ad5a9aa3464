"""PostgreSQL COMMITs that are lost, or whose answer is: every write still has its result.

Longer than other files: it lists every writing method of the store.
"""

import asyncio
import importlib
import inspect
import json
import pkgutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import pytest

import bot.store
from bot.core.budgets import Pace
from bot.core.cards import Picture
from bot.core.jobs import Job, Reference, State
from bot.core.preferences import Preferences
from bot.core.processes import EVERY_ROLE, Process
from bot.core.quota import Block, Grant, Holder, Limits, Rule, Scope, Unit
from bot.core.windows import Window
from bot.store import postgres
from bot.store.alerts import Alerts
from bot.store.budgets import Budgets
from bot.store.complaints import Complaint
from bot.store.database import Tx
from bot.store.drafts import Drafts
from bot.store.favorites import Favorites
from bot.store.gallery import GalleryCopies
from bot.store.housekeeping import Housekeeping
from bot.store.ledger_audit import Audit, Mismatch
from bot.store.members import Members
from bot.store.moderation import Moderation
from bot.store.notes import Notes
from bot.store.postgres import PostgresDatabase
from bot.store.preferences import MemberPreferences
from bot.store.processes import Processes
from bot.store.provider_health import ProviderHealthRows
from bot.store.provider_outages import ProviderOutages
from bot.store.quotas import By, Quotas
from bot.store.store import Store
from bot.store.strikes import StrikeReason
from bot.store.threads import Threads
from bot.store.tray import Trays
from tests.jobs.commit_proxy import Cut, Line, line_to
from tests.postgres import by_hand, fresh
from tests.store.ledger_model import COLUMNS, FREE, NOON, a_job, accept, all_keys, faults, put

ENGINES = {"bot.store.sqlite", "bot.store.postgres"}
NUMBERED = {("ledger", "id"), ("host_cost", "id"), ("changes", "n"), ("grants", "id"), ("draws", "grant_id"),
            ("processes", "id"), ("budgets", "next_at")}  # fmt: skip
SUBJECT = "CASE WHEN scope = 'host' THEN 0 ELSE subject END"
SUMS = ", ".join(f"sum({each}) AS {each}" for each in COLUMNS)
LATER = NOON + 1000


@dataclass
class Ground:
    """The store that the methods are called on, one after the other."""

    database: PostgresDatabase
    jobs: dict[str, Job] = field(default_factory=dict)
    bonus: int = 0
    process: int = 0

    def __post_init__(self) -> None:
        self.store, self.quotas = Store(self.database), Quotas(self.database)
        self.drafts, self.notes = Drafts(self.database), Notes(self.database)
        self.favorites, self.trays = Favorites(self.database), Trays(self.database)
        self.preferences, self.members = MemberPreferences(self.database), Members(self.database)
        self.gallery = GalleryCopies(self.database)
        self.moderation = Moderation(self.database)
        self.threads = Threads(self.database)
        self.outages, self.processes = ProviderOutages(self.database), Processes(self.database)
        self.health = ProviderHealthRows(self.database)
        self.rows, self.alerts, self.audit = Housekeeping(self.database), Alerts(self.database), Audit(self.database)

    async def accepted(self, name: str, *, limits: Limits = FREE, **changes: Any) -> Job:
        self.jobs[name] = a_job(name, **changes)
        return await accept(self.store, self.jobs[name], limits=limits)

    async def moved(self, name: str, to: State, **changes: Any) -> Job | None:
        found = await self.store.move(self.jobs[name], to, now=LATER, **changes)
        self.jobs[name] = found or self.jobs[name]
        return found

    async def entered(self) -> str:
        self.process = await self.processes.add(PROCESS)
        return "a number"

    async def begun(self, name: str) -> Job | None:
        found = await self.store.begin_submit(self.jobs[name], slots=4, now=LATER, due_at=LATER)
        self.jobs[name] = found or self.jobs[name]
        return found

    async def taken(self) -> str:
        await Budgets(self.database).budget("a limit", Pace(0.1, late=0.1)).take(1)
        return "a time"

    async def granted(self) -> str:
        number = await self.quotas.grant(by("grant"), 1, Grant(0, Unit.IMAGES, 5))
        assert number is not None
        self.bonus = number
        return "a number"


def by(name: str) -> By:
    return By(name, 5, 9, LATER)


PICTURE = Picture(1, "a-1.png", "png", 8, 8, 99)
PUT_ASIDE = Reference("https://cdn.discordapp.com/a.png", "a.png")
RULE = Rule(Holder.USER, 1, Unit.IMAGES, Window.DAY, 50)
BLOCK = Block(Holder.USER, 77)
PROCESS = Process(0, EVERY_ROLE, "here", "", 1, "0", NOON)
TIGHT = replace(FREE, user_day_images=1)
LIFE: Sequence[tuple[str, Callable[[Ground], Awaitable[object]]]] = [
    ("Store.accept", lambda on: on.accepted("a")),
    ("Store.accept", lambda on: on.accepted("refused", limits=TIGHT, count=2)),
    ("Store.accept", lambda on: on.accepted("cancelled")),
    ("Store.accept", lambda on: on.accepted("withdrawn")),
    ("Store.accept", lambda on: on.accepted("forgotten")),
    ("Store.accept", lambda on: on.accepted("forgotten too")),
    ("Store.acknowledge", lambda on: on.store.acknowledge("a", message_id=8, ephemeral=False, now=LATER)),
    ("Threads.step_back", lambda on: on.threads.step_back(8, a_job("a", parent_id="cancelled"), now=LATER)),
    ("Store.begin_submit", lambda on: on.begun("a")),
    ("Store.move", lambda on: on.moved("a", State.QUEUED, run_id="r", due_at=LATER)),
    ("Store.cancel", lambda on: on.store.cancel("cancelled", now=LATER)),
    ("Store.cancel", lambda on: on.store.cancel("a", now=LATER)),
    ("Store.withdraw", lambda on: on.store.withdraw("withdrawn", now=LATER)),
    ("Store.hide", lambda on: on.store.hide("a", now=LATER)),
    ("Store.show", lambda on: on.store.show("a", now=LATER)),
    ("Store.update", lambda on: on.store.update(on.jobs["a"], now=LATER, show=True, position=3)),
    (
        "Moderation.add_strike",
        lambda on: on.moderation.add_strike("s", server=5, user=1, reason=StrikeReason.WORDS, now=LATER),
    ),
    ("Store.update_ended", lambda on: on.store.update_ended(on.jobs["a"], due_at=LATER)),
    ("Store.retry_waiting", lambda on: on.store.retry_waiting("runcomfy", now=LATER)),
    ("Store.move", lambda on: on.moved("a", State.COLLECTING)),
    ("Store.add_picture", lambda on: on.store.add_picture(on.jobs["a"], PICTURE, now=LATER)),
    ("Store.move", lambda on: on.moved("a", State.SUCCEEDED, images=1, may_be_billed=True)),
    ("Store.record_cost", lambda on: on.store.record_cost(on.jobs["a"], now=LATER, micro_usd=9)),
    ("Store.request_redraw", lambda on: on.store.request_redraw(["a", "cancelled"], now=LATER)),
    ("Store.mark_delivered", lambda on: on.store.mark_delivered("a", version=2, message_id=8, now=NOON)),
    ("Store.postpone_delivery", lambda on: on.store.postpone_delivery("cancelled", due_at=LATER + 9)),
    ("Store.refresh_token", lambda on: on.store.refresh_token("a", "new", received_at=LATER, message_id=8)),
    ("Store.drop_token", lambda on: on.store.drop_token("a", "new")),
    (
        "Store.mark_text_shown",
        lambda on: on.store.mark_text_shown("cancelled", version=3, message_id=8, due_at=LATER + 9),
    ),
    ("Store.mark_thread_opened", lambda on: on.store.mark_thread_opened("cancelled")),
    ("Store.mark_notified", lambda on: on.store.mark_notified("cancelled")),
    ("Store.mark_delivered_privately", lambda on: on.store.mark_delivered_privately("cancelled", version=3)),
    ("Store.mark_reply_gone", lambda on: on.store.mark_reply_gone("cancelled")),
    ("Store.claim", lambda on: on.store.claim(1, now=LATER)),
    ("Store.release", lambda on: on.store.release(1, ended=False)),
    ("Processes.add", lambda on: on.entered()),
    ("Processes.renew", lambda on: on.processes.renew(on.process, now=LATER + 1)),
    ("Processes.leave", lambda on: on.processes.leave(on.process)),
    ("Store.release", lambda on: on.store.release(on.process, ended=True)),
    ("Processes.add", lambda on: on.entered()),
    ("Processes.forget", lambda on: on.processes.forget(before=LATER)),
    ("Quotas.set_rule", lambda on: on.quotas.set_rule(by("set"), RULE)),
    ("Quotas.clear_rules", lambda on: on.quotas.clear_rules(by("clear"), [RULE])),
    ("Quotas.block", lambda on: on.quotas.block(by("block"), BLOCK)),
    ("Quotas.unblock", lambda on: on.quotas.unblock(by("unblock"), BLOCK)),
    ("Quotas.grant", lambda on: on.granted()),
    ("Quotas.revoke", lambda on: _without_number(on.quotas.revoke(by("revoke"), on.bonus))),
    ("Quotas.reset", lambda on: on.quotas.reset(by("reset"), Holder.USER, 1)),
    (
        "Quotas.change_server_settings",
        lambda on: on.quotas.change_server_settings(by("house"), _denies, body={"setting": "x"}),
    ),
    ("Drafts.keep", lambda on: on.drafts.keep("d", {"x": 1}, user_id=1, expires_at=LATER)),
    ("ProviderOutages.begin", lambda on: on.outages.begin("runcomfy", "down", now=LATER)),
    ("ProviderOutages.end", lambda on: on.outages.end("runcomfy")),
    ("Notes.set", lambda on: on.notes.set("k", "v")),
    ("Store.claim_delivery", lambda on: on.store.claim_delivery(77, now=LATER)),
    ("_SharedBudget.take", lambda on: on.taken()),
    ("Notes.change", lambda on: on.notes.change("k", lambda value: f"{value}!")),
    ("ProviderHealthRows.change", lambda on: on.health.change("runcomfy", lambda body: f"{body}!")),
    ("Alerts.mark_notified", lambda on: on.alerts.mark_notified("an alert", now=LATER)),
    ("Audit.repair", lambda on: on.audit.repair(Mismatch(Scope.USER, 5, "total", 1, {}))),
    ("Housekeeping.clamp_future_times", lambda on: on.rows.clamp_future_times(now=LATER)),
    ("Housekeeping.end_orphaned_reservations", lambda on: on.rows.end_orphaned_reservations(now=LATER)),
    (
        "Housekeeping.delete_expired_pictures",
        lambda on: on.rows.delete_expired_pictures(before=LATER + 9, unseen_before=LATER + 9),
    ),
    ("Store.add_picture", lambda on: on.store.add_picture(on.jobs["a"], PICTURE, now=LATER)),
    ("Store.set_spoiler", lambda on: on.store.set_spoiler("a", spoiler=True, now=LATER)),
    ("Moderation.report", lambda on: on.moderation.report("r", on.jobs["a"], Complaint(2, LATER, "why"))),
    ("Moderation.report", lambda on: on.moderation.report("s", on.jobs["a"], Complaint(3, LATER, "why"))),
    ("Moderation.withdraw_report", lambda on: on.moderation.withdraw_report("s")),
    ("Moderation.dismiss", lambda on: on.moderation.dismiss(by("dismiss"), on.jobs["a"])),
    ("Moderation.clear_strikes", lambda on: on.moderation.clear_strikes(by("strikes"), 1)),
    ("Favorites.put", lambda on: on.favorites.put(1, "a", favorite=True, now=LATER)),
    ("Trays.add", lambda on: on.trays.add(1, [PUT_ASIDE], limit=3, now=LATER)),
    ("Trays.move_first", lambda on: on.trays.move_first(1, 1)),
    ("Trays.remove", lambda on: on.trays.remove(1, [0])),
    ("MemberPreferences.put", lambda on: on.preferences.put(1, Preferences(resolution="2K"))),
    ("GalleryCopies.claim", lambda on: on.gallery.claim("a", guild=5, channel=6, now=LATER)),
    ("GalleryCopies.posted", lambda on: on.gallery.posted("a", message=7)),
    ("GalleryCopies.forget", lambda on: on.gallery.forget("a")),
    ("Store.delete_picture", lambda on: on.store.delete_picture(on.jobs["a"], 1, now=LATER)),
    ("Store.take_down", lambda on: on.store.take_down(by("takedown"), "a", strike=True)),
    ("Store.delete_pictures", lambda on: on.store.delete_pictures(on.jobs["a"], now=LATER)),
    ("Store.delete_all_pictures", lambda on: on.store.delete_all_pictures(1, now=LATER)),
    ("Members.erase_own", lambda on: on.members.erase_own(1)),
    ("Housekeeping.erase_prompts", lambda on: on.rows.erase_prompts(before=LATER + 9)),
    ("Housekeeping.delete_expired", lambda on: on.rows.delete_expired(now=LATER + 10**9)),
]
BY_HAND = {  # rows that only a defect, or a reservation near its limit, leaves
    "Alerts.mark_notified": ["INSERT INTO alerts (id, guild, at, body) VALUES ('an alert', 5, 1, '{}')"],
    "Audit.repair": ["UPDATE totals SET spent_images = spent_images + 7 WHERE scope = 'user' AND bucket = 'total'"],
    "Housekeeping.end_orphaned_reservations": [
        "UPDATE jobs SET state = 'failed', ended_at = 5 WHERE id LIKE 'forgotten%'"
    ],
}


def _denies(server_settings: Any) -> Any:
    return server_settings.model_copy(update={"denied": (9,)})


async def _without_number(revoking: Awaitable[Any]) -> object:
    revoked = await revoking
    return revoked and (revoked.user, revoked.grant.unit, revoked.grant.left)


def writing_verbs() -> Iterator[str]:
    """Every public method of the store that writes."""
    for found in pkgutil.iter_modules(bot.store.__path__, "bot.store."):
        module = importlib.import_module(found.name)
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != found.name or found.name in ENGINES:
                continue
            for verb, work in vars(kind).items():
                public = inspect.iscoroutinefunction(work) and not verb.startswith("_")
                if public and ("database.write(" in (source := inspect.getsource(work)) or "self._write(" in source):
                    yield f"{name}.{verb}"


@asynccontextmanager
async def opened_through(address: str) -> AsyncIterator[tuple[Line, PostgresDatabase]]:
    async with line_to(address) as line:
        database = await PostgresDatabase.open(line.url)
        try:
            yield line, database
        finally:
            await database.aclose()


async def lived(address: str, how: Cut | None) -> Sequence[object]:
    """Each method's result and the content of the database afterwards; *how* its first COMMIT is cut."""
    compared = []
    async with fresh(address) as url, opened_through(url) as (line, database):
        ground, look = Ground(database), await asyncpg.connect(url)
        try:
            for name, verb in LIFE:
                for statement in BY_HAND.get(name, ()):
                    await look.execute(statement)
                if how is not None:
                    line.cut(how)
                try:
                    answer = await verb(ground)
                except Exception as exc:  # noqa: BLE001 - the answer may be a refusal
                    answer = repr(exc)
                assert not line.waits_for_cut, (name, answer)
                compared.append((name, answer, await _content(look)))
        finally:
            await look.close()
        assert await faults(ground.store) == []
    return compared


async def _content(look: Any) -> object:
    """All rows, without sequence numbers, which a transaction uses up even if it is rolled back.

    The totals of the host are summed, because their shards depend on the connection.
    """
    names = [row[0] for row in await look.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    sources = {"totals": f"(SELECT scope, guild, bucket, {SUBJECT} AS subject, {SUMS} FROM totals GROUP BY 1, 2, 3, 4)"}  # noqa: S608
    parts = ", ".join(f"'{each}', (SELECT json_agg(one) FROM {sources.get(each, each)} one)" for each in names)  # noqa: S608 - our tables
    content = json.loads(await look.fetchval(f"SELECT json_build_object({parts})"))
    return {table: sorted(_comparable(table, row) for row in table_rows or ()) for table, table_rows in content.items()}


def _comparable(table: str, row: dict[str, Any]) -> str:
    comparable = {key: value for key, value in row.items() if (table, key) not in NUMBERED}
    if table == "changes":
        comparable["body"] = json.loads(comparable["body"]) | {"grant": None}
    return repr(comparable)


@pytest.fixture(scope="session")
def uncut() -> list[Sequence[object]]:
    return []


def test_every_writing_method_is_tested() -> None:
    assert {name for name, _ in LIFE} == set(writing_verbs())


@pytest.mark.parametrize("how", [Cut.UNANSWERED, Cut.LOST])
async def test_every_write_has_the_same_result_whatever_happens_to_its_commit(
    postgres_server: str, uncut: list[Sequence[object]], how: Cut
) -> None:
    if not uncut:
        uncut.append(await lived(postgres_server, None))
    for expected, found in zip(uncut[0], await lived(postgres_server, how), strict=True):
        assert found == expected


# --- what the server says of it


async def at_commit(url: str, work: str) -> None:
    """Have the server execute *work* at the COMMIT of a transaction that inserts a note."""
    await by_hand(
        url,
        f"CREATE FUNCTION work() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {work}; RETURN NULL; END$$",
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION work()",
    )


async def test_a_commit_in_progress_is_waited_for(postgres_url: str) -> None:
    async with opened_through(postgres_url) as (line, database):
        await at_commit(postgres_url, "PERFORM pg_sleep(0.3)")
        line.late.set()
        line.cut(Cut.LATE)
        assert await database.write(put("k")) == "k"


async def test_a_transaction_whose_commit_has_not_arrived_is_ended_and_run_again(postgres_url: str) -> None:
    async with opened_through(postgres_url) as (line, database):
        line.cut(Cut.LATE)
        assert await database.write(put("k")) == "k"  # twice would be an error
        line.late.set()


@pytest.mark.prove
async def test_a_connection_that_hangs_at_the_commit_is_dropped_and_the_server_asked(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_TIMEOUT", 2.0)
    monkeypatch.setattr(postgres, "RELEASE_TIMEOUT", 0.1)
    async with opened_through(postgres_url) as (line, database):
        line.cut(Cut.SILENT)
        assert await database.write(put("k")) == "k"


async def test_a_commit_that_the_server_refuses_is_an_error_and_nothing_is_written(postgres_url: str) -> None:
    async with opened_through(postgres_url) as (_, database):
        await at_commit(postgres_url, "RAISE EXCEPTION 'not so'")
        with pytest.raises(asyncpg.RaiseError, match="not so"):
            await database.write(put("k"))
        assert await database.read(all_keys) == set()


async def test_an_unknown_transaction_is_an_error_and_not_run_again(postgres_url: str) -> None:
    """For example a server restored from a backup."""
    async with opened_through(postgres_url) as (_, database):
        with pytest.raises(ConnectionResetError):
            await database._was_committed(f"00000001 {2**40}", ConnectionResetError())


# --- callers that give up


async def test_a_caller_cancelled_during_a_slow_commit_returns_at_once_and_later_reads_find_it_done(
    postgres_url: str,
) -> None:
    async with opened_through(postgres_url) as (_, database):
        await at_commit(postgres_url, "PERFORM pg_sleep(0.4)")
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.write(put("k"))
        assert time.monotonic() - began < 0.3
        await database.wait_for_abandoned()
        assert await database.read(all_keys) == {"k"}


async def test_a_caller_cancelled_before_the_commit_has_written_nothing(postgres_url: str) -> None:
    async def stuck(tx: Tx) -> None:
        await put("k")(tx)
        await tx.run("SELECT pg_sleep(30)")

    async with opened_through(postgres_url) as (_, database):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.write(stuck)
        await database.wait_for_abandoned()
        assert await database.read(all_keys) == set()


async def test_a_lost_commit_of_a_cancelled_caller_is_not_run_again(postgres_url: str) -> None:
    async with opened_through(postgres_url) as (line, database):
        line.cut(Cut.LATE)
        writing = asyncio.create_task(database.write(put("k")))
        await line.seen.wait()
        writing.cancel()
        await database.wait_for_abandoned()
        assert await database.read(all_keys) == set()


# --- beside the units


async def test_a_migration_whose_commit_answer_is_lost_is_found_done(postgres_url: str) -> None:
    async with line_to(postgres_url) as line:
        line.cut(Cut.UNANSWERED)
        with pytest.raises(bot.store.database.StoreUnusable):
            await PostgresDatabase.open(line.url)
        database = await PostgresDatabase.open(line.url)
        await accept(Store(database), a_job("now"))
        await database.aclose()

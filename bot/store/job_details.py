"""Reads for the operator's command line: lists of jobs, and everything about one job.

A record includes the member's prompt, which the command line leaves out, but no interaction token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.jobs import Job, State
from bot.core.quota import Amount
from bot.store import jobs
from bot.store.database import Database, Row, Tx

ID_LENGTH = 26  # characters of a ULID
MAX_ID_CHARACTER = "Z"


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job in a list. *delivered*: its newest card is shown."""

    id: str
    state: State
    reason: str | None
    created_at: int
    ended_at: int | None
    user_id: int
    guild_id: int | None
    model: str
    provider: str
    images: int
    delivered: bool


@dataclass(frozen=True, slots=True)
class Event:
    at: int
    before: State | None
    after: State
    reason: str | None
    provider: str | None  # after the transition; not recorded before database version 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the members' ledger for a job: reserve, settle or release."""

    at: int
    kind: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class HostCost:
    at: int
    micro_usd: int
    basis: str  # known | assumed


@dataclass(frozen=True, slots=True)
class ReplyStatus:
    """The delivery status of a job's card. *gone*: its message or its pictures were deleted."""

    message_id: int | None
    private: bool
    wanted: int
    delivered: int
    due_at: int | None
    attempts: int
    gone: bool

    @property
    def is_delivered(self) -> bool:
        return _is_delivered(wanted=self.wanted, delivered=self.delivered, gone=self.gone)


@dataclass(frozen=True, slots=True)
class Record:
    """Everything stored about one job, from one snapshot."""

    job: Job
    events: Sequence[Event]
    entries: Sequence[Entry]
    host_cost: HostCost | None
    reply: ReplyStatus | None


class JobDetails:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(
        self,
        *,
        limit: int,
        state: State | None = None,
        user_id: int | None = None,
        guild_id: int | None = None,
        unfinished: bool = False,
    ) -> list[JobSummary]:
        """The *limit* newest jobs that match all given filters, newest first."""
        filters = {"state": state, "user_id": user_id, "guild_id": guild_id}
        values = {name: value for name, value in filters.items() if value is not None}
        conditions = [f"jobs.{name} = ${n}" for n, name in enumerate(values, start=2)]
        conditions += ["jobs.ended_at IS NULL"] if unfinished else []
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""

        async def unit(tx: Tx) -> list[JobSummary]:
            rows = await tx.fetch(
                f"""
                SELECT jobs.id AS id, jobs.state AS state, jobs.reason AS reason, jobs.created_at AS created_at,
                       jobs.ended_at AS ended_at, jobs.user_id AS user_id, jobs.guild_id AS guild_id,
                       jobs.model AS model, jobs.provider AS provider, jobs.images AS images,
                       replies.wanted AS wanted, replies.delivered AS delivered, replies.gone AS gone
                FROM jobs LEFT JOIN replies ON replies.job = jobs.id {where}
                ORDER BY jobs.id DESC LIMIT $1
                """,  # noqa: S608 - fixed column names; ids sort by time, so the newest are at the index's end
                limit,
                *values.values(),
            )
            return [_summary(row) for row in rows]

        return await self._database.read(unit)

    async def ids_starting_with(self, start: str, *, limit: int) -> list[str]:
        """At most *limit* job ids that start with *start*, newest first."""
        end = start.ljust(ID_LENGTH, MAX_ID_CHARACTER)

        async def unit(tx: Tx) -> list[str]:
            rows = await tx.fetch(
                "SELECT id FROM jobs WHERE id BETWEEN $1 AND $2 ORDER BY id DESC LIMIT $3", start, end, limit
            )
            return [row["id"] for row in rows]

        return await self._database.read(unit)

    async def full(self, job_id: str) -> Record | None:
        async def unit(tx: Tx) -> Record | None:
            job = await jobs.get(tx, job_id)
            if job is None:
                return None
            return Record(
                job,
                events=await _events(tx, job_id),
                entries=await _entries(tx, job_id),
                host_cost=await _host_cost(tx, job_id),
                reply=await _reply_status(tx, job_id),
            )

        return await self._database.read(unit)


def _summary(row: Row) -> JobSummary:
    return JobSummary(
        id=row["id"],
        state=State(row["state"]),
        reason=row["reason"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        user_id=row["user_id"],
        guild_id=row["guild_id"],
        model=row["model"],
        provider=row["provider"],
        images=row["images"],
        delivered=_is_delivered(wanted=row["wanted"] or 0, delivered=row["delivered"] or 0, gone=bool(row["gone"])),
    )


def _is_delivered(*, wanted: int, delivered: int, gone: bool) -> bool:
    return not gone and 0 < wanted <= delivered


async def _events(tx: Tx, job_id: str) -> list[Event]:
    rows = await tx.fetch(
        "SELECT at, before, after, reason, provider FROM job_events WHERE job = $1 ORDER BY at", job_id
    )
    return [
        Event(
            row["at"],
            State(row["before"]) if row["before"] else None,
            State(row["after"]),
            row["reason"],
            row["provider"],
        )
        for row in rows
    ]


async def _entries(tx: Tx, job_id: str) -> list[Entry]:
    rows = await tx.fetch(  # in two queries, each with a unique index
        """
        SELECT at, kind, images, micro_usd FROM ledger WHERE job = $1 AND kind = 'reserve'
        UNION ALL
        SELECT at, kind, images, micro_usd FROM ledger WHERE job = $1 AND kind IN ('settle', 'release')
        """,
        job_id,
    )
    entries = [Entry(row["at"], row["kind"], Amount(row["images"], row["micro_usd"])) for row in rows]
    return sorted(entries, key=lambda each: (each.kind != "reserve", each.at))


async def _host_cost(tx: Tx, job_id: str) -> HostCost | None:
    row = await tx.one("SELECT at, micro_usd, basis FROM host_cost WHERE job = $1", job_id)
    return HostCost(row["at"], row["micro_usd"], row["basis"]) if row else None


async def _reply_status(tx: Tx, job_id: str) -> ReplyStatus | None:
    row = await tx.one(
        """
        SELECT message_id, ephemeral, wanted, delivered, due_at, attempts, gone FROM replies WHERE job = $1
        """,
        job_id,
    )
    if row is None:
        return None
    return ReplyStatus(
        message_id=row["message_id"],
        private=bool(row["ephemeral"]),
        wanted=row["wanted"],
        delivered=row["delivered"],
        due_at=row["due_at"],
        attempts=row["attempts"],
        gone=bool(row["gone"]),
    )

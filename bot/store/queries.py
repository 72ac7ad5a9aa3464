"""Queries that read several tables, or many jobs.

The functions are parts of units: they take the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.cards import Charge, Picture, Reply
from bot.core.jobs import Job, JobSummary, Place, State
from bot.core.quota import NO_SERVER, Grant, Limit, Limits, Scope, Used
from bot.core.server_settings import ServerSettings
from bot.core.zones import calendar_of
from bot.store import grants, jobs, ledger, replies, rules
from bot.store.database import Row, Tx


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job with its reply, charge and pictures, from one snapshot: what a card is drawn from."""

    job: Job
    reply: Reply
    charge: Charge
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class CardRecord:
    """What a card is drawn from, from one snapshot: a job's record, and what its member alone uses in its place."""

    record: JobRecord
    quota: "QuotaStatus"


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """A member's limits, usage and bonuses in one place, from one snapshot."""

    server_settings: ServerSettings
    used: Used
    limits: Sequence[Limit]
    grants: Sequence[Grant]


async def job_record(tx: Tx, job_id: str) -> JobRecord | None:
    job, reply = await jobs.get(tx, job_id), await replies.get(tx, job_id)
    if job is None or reply is None:
        return None
    return JobRecord(job, reply, await ledger.charge(tx, job_id), await replies.pictures(tx, job_id))


async def card_record(tx: Tx, job_id: str, *, limits: Limits, now: int) -> CardRecord | None:
    record = await job_record(tx, job_id)
    if record is None:
        return None
    return CardRecord(record, await _own_quota(tx, record.job.place, limits=limits, now=now))


async def _own_quota(tx: Tx, place: Place, *, limits: Limits, now: int) -> QuotaStatus:
    """The quota of one member, without the limits that they share with others, which no card shows."""
    server_settings = await rules.server_settings(tx, place.server)
    used = await ledger.used_by_member(tx, place, now=now, calendar=calendar_of(server_settings))
    own = [each for each in await ledger.applying(tx, place, limits=limits) if each.scope is Scope.USER]
    return QuotaStatus(server_settings, used, own, await grants.remaining(tx, place.server, place.user_id, now=now))


async def job_of_run(tx: Tx, provider: str, run_id: str) -> Job | None:
    row = await tx.one("SELECT * FROM jobs WHERE provider = $1 AND run_id = $2", provider, run_id)
    return jobs.load(row) if row else None


_SUMMARY = """
    SELECT id, version, worker, provider, state, acked_at, due_at, user_id, created_at,
        CASE WHEN installed = 0 THEN NULL ELSE guild_id END AS server
    FROM jobs
"""


async def due_jobs(tx: Tx, *, worker: int | None) -> dict[str, JobSummary]:
    """Every job that has a due time, by job id; of one process, or for None of all."""
    rows = await tx.fetch(
        f"{_SUMMARY} WHERE due_at IS NOT NULL AND worker = coalesce(CAST($1 AS BIGINT), worker)", worker
    )
    return {row["id"]: _summary(row) for row in rows}


async def due_before(tx: Tx, at: int, *, worker: int | None) -> dict[str, int]:
    """`due_at` (UTC milliseconds) of the jobs that were due before *at*, by job id; *worker* as for `due_jobs`."""
    rows = await tx.fetch(
        "SELECT id, due_at FROM jobs WHERE due_at < $1 AND worker = coalesce(CAST($2 AS BIGINT), worker)", at, worker
    )
    return {row["id"]: row["due_at"] for row in rows}


async def queued_jobs(tx: Tx) -> dict[str, JobSummary]:
    """The jobs that wait for a slot or have one, by job id."""
    rows = await tx.fetch(
        f"""
        {_SUMMARY} WHERE ended_at IS NULL
          AND (state IN ('submitting', 'queued', 'running') OR (state = 'accepted' AND acked_at IS NOT NULL))
        """
    )
    return {row["id"]: _summary(row) for row in rows}


def _summary(row: Row) -> JobSummary:
    return JobSummary(
        job_id=row["id"],
        version=row["version"],
        worker=row["worker"],
        provider=row["provider"],
        state=State(row["state"]),
        acknowledged=row["acked_at"] is not None,
        due_at=row["due_at"],
        user_id=row["user_id"],
        server=row["server"] or NO_SERVER,
        created_at=row["created_at"],
    )


async def quota_status(tx: Tx, place: Place, *, limits: Limits, now: int) -> QuotaStatus:
    server_settings = await rules.server_settings(tx, place.server)
    used = await ledger.used(tx, place, now=now, calendar=calendar_of(server_settings))
    applying = await ledger.applying(tx, place, limits=limits)
    return QuotaStatus(
        server_settings, used, applying, await grants.remaining(tx, place.server, place.user_id, now=now)
    )


# Of a row of `jobs`: its server withholds the pictures, because the provider flagged them. The body is JSON as pydantic
# writes it, in which a quotation mark inside of a text is escaped.
WITHHELD = """(jobs.flagged <> 0 AND jobs.installed <> 0 AND EXISTS (
    SELECT 1 FROM houses WHERE houses.guild = jobs.guild_id AND houses.body LIKE '%"flagged":"withhold"%'))"""


async def open_jobs(tx: Tx, user_id: int, *, since: int, limit: int) -> tuple[list[JobRecord], int]:
    """A member's unfinished jobs, and jobs ended after *since* that are hidden, withheld or were not delivered.

    At most *limit* of them, and how many more there are. Unfinished jobs come first, then undelivered ones, both newest
    first; then hidden jobs, first those that /jobs will stop listing first.
    """
    rows = await tx.fetch(
        f"""
        SELECT jobs.id AS id, count(*) OVER () AS of_all FROM jobs JOIN replies ON replies.job = jobs.id
        WHERE jobs.user_id = $1 AND jobs.deleted_at IS NULL AND jobs.acked_at IS NOT NULL
          AND (jobs.ended_at IS NULL
               OR (jobs.ended_at >= $2 AND (replies.delivered < replies.wanted OR jobs.hidden_at IS NOT NULL
                                               OR (replies.ephemeral = 0 AND {WITHHELD}))))
        ORDER BY CASE WHEN jobs.ended_at IS NULL THEN 0 WHEN jobs.hidden_at IS NULL THEN 1
                      WHEN jobs.images > 0 THEN 2 ELSE 3 END,
                 CASE WHEN jobs.ended_at IS NOT NULL AND jobs.hidden_at IS NOT NULL THEN jobs.ended_at END,
                 jobs.created_at DESC
        LIMIT $3
        """,  # noqa: S608 - a fixed string
        user_id,
        since,
        limit,
    )
    records = [await job_record(tx, row["id"]) for row in rows]
    more = rows[0]["of_all"] - len(rows) if rows else 0
    return [each for each in records if each is not None], more

"""Rows of members' reports about results (table `reports`).

The functions are parts of units: they take the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.store.database import Row, Tx


class Outcome(StrEnum):
    TAKEN_DOWN = "taken_down"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Complaint:
    """A member's report about a result. *settled_by* is the moderator, None while it is open."""

    reporter: int
    at: int
    reason: str
    settled_by: int | None = None
    outcome: Outcome | None = None


async def add(tx: Tx, complaint_id: str, job_id: str, complaint: Complaint, *, server: int) -> bool:
    """Add a report; False if the member has reported the job before."""
    row = await tx.one(
        """
        INSERT INTO reports (id, job, guild, reporter, at, reason) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        complaint_id, job_id, server, complaint.reporter, complaint.at, complaint.reason,
    )  # fmt: skip
    return row is not None


async def of_job(tx: Tx, job_id: str) -> Sequence[Complaint]:
    """The reports about a job, oldest first."""
    rows = await tx.fetch(
        "SELECT reporter, at, reason, settled_by, outcome FROM reports WHERE job = $1 ORDER BY at, id", job_id
    )
    return [_load(row) for row in rows]


async def settle(tx: Tx, job_id: str, outcome: Outcome, *, by: int, now: int) -> bool:
    """Settle the open reports about a job; False if there were none."""
    rows = await tx.fetch(
        """
        UPDATE reports SET settled_at = $2, settled_by = $3, outcome = $4 WHERE job = $1 AND settled_at IS NULL
        RETURNING id
        """,
        job_id,
        now,
        by,
        outcome,
    )
    return bool(rows)


def _load(row: Row) -> Complaint:
    outcome = Outcome(row["outcome"]) if row["outcome"] else None
    return Complaint(row["reporter"], row["at"], row["reason"], row["settled_by"], outcome)

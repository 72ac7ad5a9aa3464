"""Rows of what is left of each bonus, and of what jobs have taken from it.

The functions here are parts of units that hold the member's account: nobody else changes these rows meanwhile.
"""

from collections.abc import Sequence

from bot.core.quota import Draw, Grant, Unit
from bot.store.database import Tx


async def open_grant(tx: Tx, grant_id: int, grant: Grant, *, server: int, user: int) -> None:
    await tx.run(
        """
        INSERT INTO grants (id, guild, "user", unit, amount, remaining, expires_at)
        VALUES ($1, $2, $3, $4, $5, $5, $6)
        """,
        grant_id, server, user, grant.unit, grant.left, grant.expires_at,
    )  # fmt: skip


async def of(tx: Tx, server: int, user: int, *, now: int) -> Sequence[Grant]:
    """What is left to a member and has not expired, first to expire first."""
    rows = await tx.fetch(
        """
        SELECT id, unit, remaining, expires_at FROM grants
        WHERE guild = $1 AND "user" = $2 AND remaining > 0 AND (expires_at IS NULL OR expires_at > $3)
        ORDER BY expires_at IS NULL, expires_at, id
        """,
        server,
        user,
        now,
    )
    return [Grant(row["id"], Unit(row["unit"]), row["remaining"], row["expires_at"]) for row in rows]


async def take(tx: Tx, job_id: str, draws: Sequence[Draw]) -> None:
    for n, each in enumerate(draws):
        await tx.run(
            "INSERT INTO draws (job, n, grant_id, pictures, taken) VALUES ($1, $2, $3, $4, $5)",
            job_id, n, each.grant, each.pictures, each.taken,
        )  # fmt: skip
        await tx.run("UPDATE grants SET remaining = remaining - $2 WHERE id = $1", each.grant, each.taken)


async def refund(tx: Tx, job_id: str, *, pictures: int) -> None:
    """Return *pictures* that a job did not need, to what was drawn last first; a grant may have expired since."""
    rows = await tx.fetch("SELECT n, grant_id, pictures, taken FROM draws WHERE job = $1 ORDER BY n DESC", job_id)
    for row in rows:
        back = min(pictures, row["pictures"])
        if not back:
            return
        taken = row["taken"] * back // row["pictures"]
        await tx.run(
            "UPDATE draws SET pictures = pictures - $3, taken = taken - $4 WHERE job = $1 AND n = $2",
            job_id, row["n"], back, taken,
        )  # fmt: skip
        await tx.run("UPDATE grants SET remaining = remaining + $2 WHERE id = $1", row["grant_id"], taken)
        pictures -= back


async def one(tx: Tx, grant_id: int) -> Grant | None:
    row = await tx.one("SELECT id, unit, remaining, expires_at FROM grants WHERE id = $1", grant_id)
    return None if row is None else Grant(row["id"], Unit(row["unit"]), row["remaining"], row["expires_at"])


async def close(tx: Tx, grant_id: int, *, now: int) -> None:
    """Leave nothing of a bonus; what running jobs give back to it later is over, too."""
    await tx.run(
        "UPDATE grants SET remaining = 0, amount = amount - remaining, expires_at = $2 WHERE id = $1", grant_id, now
    )

"""Rows of bonuses (table `grants`), and of what jobs have taken from them (table `draws`).

The functions are parts of units that have locked the member's account.
"""

from collections.abc import Sequence

from bot.core.quota import Draw, Grant, Unit
from bot.store.database import Row, Tx


async def open_grant(tx: Tx, grant_id: int, grant: Grant, *, server: int, user: int) -> None:
    await tx.run(
        """
        INSERT INTO grants (id, guild, "user", unit, amount, remaining, expires_at)
        VALUES ($1, $2, $3, $4, $5, $5, $6)
        """,
        grant_id, server, user, grant.unit, grant.left, grant.expires_at,
    )  # fmt: skip


async def remaining(tx: Tx, server: int, user: int, *, now: int) -> Sequence[Grant]:
    """A member's unexpired bonuses that are not used up, first to expire first."""
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
    return [load(row) for row in rows]


def unexpired(grants: Sequence[Grant], *, now: int) -> Sequence[Grant]:
    """Those of *grants* that have not expired at *now*, first to expire first."""
    left = (each for each in grants if each.expires_at is None or each.expires_at > now)
    return sorted(left, key=lambda one: (one.expires_at is None, one.expires_at or 0, one.id))


def load(row: Row) -> Grant:
    return Grant(row["id"], Unit(row["unit"]), row["remaining"], row["expires_at"])


async def record_draws(tx: Tx, job_id: str, draws: Sequence[Draw]) -> None:
    for n, each in enumerate(draws):
        await tx.run(
            "INSERT INTO draws (job, n, grant_id, pictures, taken) VALUES ($1, $2, $3, $4, $5)",
            job_id, n, each.grant, each.pictures, each.taken,
        )  # fmt: skip
        await tx.run("UPDATE grants SET remaining = remaining - $2 WHERE id = $1", each.grant, each.taken)


async def refund(tx: Tx, job_id: str, *, pictures: int) -> None:
    """Return *pictures* of a job to its grants, the last draw first, also to grants that have expired."""
    rows = await tx.fetch("SELECT n, grant_id, pictures, taken FROM draws WHERE job = $1 ORDER BY n DESC", job_id)
    for row in rows:
        refunded = min(pictures, row["pictures"])
        if not refunded:
            return
        taken = row["taken"] * refunded // row["pictures"]
        await tx.run(
            "UPDATE draws SET pictures = pictures - $3, taken = taken - $4 WHERE job = $1 AND n = $2",
            job_id, row["n"], refunded, taken,
        )  # fmt: skip
        await tx.run("UPDATE grants SET remaining = remaining + $2 WHERE id = $1", row["grant_id"], taken)
        pictures -= refunded


async def get(tx: Tx, grant_id: int) -> Grant | None:
    row = await tx.one("SELECT id, unit, remaining, expires_at FROM grants WHERE id = $1", grant_id)
    return None if row is None else load(row)


async def close(tx: Tx, grant_id: int, *, now: int) -> None:
    """Set what is left of a bonus to zero and expire it, so that later refunds of running jobs cannot be used."""
    await tx.run(
        "UPDATE grants SET remaining = 0, amount = amount - remaining, expires_at = $2 WHERE id = $1", grant_id, now
    )

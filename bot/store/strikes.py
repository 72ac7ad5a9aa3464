"""Rows of strikes against members of a server (table `strikes`).

The functions are parts of units: they take the caller's transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.core.errors import UserError
from bot.core.jobs import HOUR, Place
from bot.core.moderation import blocked_until
from bot.core.quota import NO_SERVER
from bot.store.database import Tx


class StrikeReason(StrEnum):
    WORDS = "words"  # a prompt with words that are not allowed
    TAKEDOWN = "takedown"  # a result that a moderator took down


DAY = 24 * HOUR
LIFE = {StrikeReason.WORDS: 7 * DAY, StrikeReason.TAKEDOWN: 30 * DAY}


@dataclass(frozen=True, slots=True)
class Strike:
    at: int
    expires_at: int
    reason: StrikeReason


async def add(tx: Tx, strike_id: str, *, server: int, user: int, reason: StrikeReason, now: int) -> None:
    """Add a strike. *strike_id* is the interaction's, so that a repeated one counts once."""
    await tx.run(
        """
        INSERT INTO strikes (id, guild, user_id, at, expires_at, reason) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO NOTHING
        """,
        strike_id, server, user, now, now + LIFE[reason], reason,
    )  # fmt: skip


async def unexpired(tx: Tx, server: int, user: int, *, now: int) -> Sequence[Strike]:
    """A member's strikes, newest first."""
    rows = await tx.fetch(
        "SELECT at, expires_at, reason FROM strikes WHERE guild = $1 AND user_id = $2 AND expires_at > $3 "
        "ORDER BY at DESC, id DESC",
        server,
        user,
        now,
    )
    return [Strike(row["at"], row["expires_at"], StrikeReason(row["reason"])) for row in rows]


async def expire(tx: Tx, server: int, user: int, *, now: int) -> int:
    """Let all strikes of a member expire at *now*; returns how many."""
    rows = await tx.fetch(
        "UPDATE strikes SET expires_at = $3 WHERE guild = $1 AND user_id = $2 AND expires_at > $3 RETURNING id",
        server,
        user,
        now,
    )
    return len(rows)


async def expiries(tx: Tx, place: Place, *, now: int) -> Sequence[int]:
    """When each strike of the member in the server expires, of those that have not."""
    if place.server == NO_SERVER:
        return ()
    return [each.expires_at for each in await unexpired(tx, place.server, place.user_id, now=now)]


def check(place: Place, expiries: Iterable[int], *, now: int) -> None:
    """Raise `UserError` for a member with too many strikes in the server."""
    if place.server != NO_SERVER and (until := blocked_until(expiries, now=now)) is not None:
        raise UserError("moderation.strikes", until_at=until)

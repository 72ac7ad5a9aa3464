"""Strikes of members, and what moderators do."""

from bot.store import strikes
from bot.store.database import Database, Tx
from bot.store.strikes import StrikeReason


class Moderation:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_strike(self, strike_id: str, *, server: int, user: int, reason: StrikeReason, now: int) -> None:
        """Count a strike against a member; once for *strike_id*, which is the interaction's."""

        async def unit(tx: Tx) -> None:
            await strikes.add(tx, strike_id, server=server, user=user, reason=reason, now=now)

        await self._database.write(unit)

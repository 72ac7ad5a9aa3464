"""Drafts of requests, kept while a member has a form or a button open."""

import json
from collections.abc import Mapping
from typing import Any

from bot.store.database import Database, Tx


class Drafts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, draft_id: str, body: Mapping[str, Any], *, user_id: int, expires_at: int) -> None:
        """Keep what a member typed or picked until *expires_at* (UTC milliseconds)."""

        async def unit(tx: Tx) -> None:
            await tx.run(
                "INSERT INTO drafts (id, user_id, expires_at, body) VALUES ($1, $2, $3, $4)",
                draft_id,
                user_id,
                expires_at,
                json.dumps(body),
            )

        await self._database.write(unit)

    async def load(self, draft_id: str, *, user_id: int, now: int) -> Mapping[str, Any] | None:
        """The draft; None if it has expired, is another member's or does not exist."""

        async def unit(tx: Tx) -> Mapping[str, Any] | None:
            row = await tx.one(
                "SELECT body FROM drafts WHERE id = $1 AND user_id = $2 AND expires_at > $3", draft_id, user_id, now
            )
            return json.loads(row["body"]) if row else None

        return await self._database.read(unit)

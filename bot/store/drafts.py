"""Small things kept for a while: drafts of forms, trouble at hosts, notes to ourselves."""

import json
from collections.abc import Mapping
from typing import Any

from bot.store.database import Database, Tx


class Desk:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_draft(self, draft_id: str, body: Mapping[str, Any], *, user_id: int, expires_at: int) -> None:
        """Hold what a member typed or picked until their form comes back."""

        async def unit(tx: Tx) -> None:
            await tx.run(
                "INSERT INTO drafts (id, user_id, expires_at, body) VALUES ($1, $2, $3, $4)",
                draft_id,
                user_id,
                expires_at,
                json.dumps(body),
            )

        await self._database.write(unit)

    async def draft(self, draft_id: str, *, user_id: int, now: int) -> Mapping[str, Any] | None:
        """A member's own draft, None when it is another's or too old."""

        async def unit(tx: Tx) -> Mapping[str, Any] | None:
            row = await tx.one(
                "SELECT body FROM drafts WHERE id = $1 AND user_id = $2 AND expires_at > $3", draft_id, user_id, now
            )
            return json.loads(row["body"]) if row else None

        return await self._database.read(unit)

    async def trouble(self, provider: str, trouble: str, *, now: int) -> bool:
        """Note that a host takes nothing; True if that is news, so that the operator is told once."""

        async def unit(tx: Tx) -> bool:
            row = await tx.one(
                """
                INSERT INTO hosts (provider, trouble, since, told_at) VALUES ($1, $2, $3, $3)
                ON CONFLICT (provider) DO UPDATE SET trouble = excluded.trouble, since = excluded.since,
                    told_at = excluded.told_at
                WHERE hosts.trouble <> excluded.trouble
                RETURNING provider
                """,
                provider,
                trouble,
                now,
            )
            return row is not None

        return await self._database.write(unit)

    async def recovered(self, provider: str) -> bool:
        """Note that a host takes work again; True if it had not."""

        async def unit(tx: Tx) -> bool:
            return await tx.one("DELETE FROM hosts WHERE provider = $1 RETURNING provider", provider) is not None

        return await self._database.write(unit)

    async def troubles(self) -> dict[str, str]:
        async def unit(tx: Tx) -> dict[str, str]:
            return {row["provider"]: row["trouble"] for row in await tx.fetch("SELECT provider, trouble FROM hosts")}

        return await self._database.read(unit)

    async def note(self, key: str) -> str | None:
        async def unit(tx: Tx) -> str | None:
            row = await tx.one("SELECT value FROM notes WHERE key = $1", key)
            return row["value"] if row else None

        return await self._database.read(unit)

    async def set_note(self, key: str, value: str) -> None:
        async def unit(tx: Tx) -> None:
            await tx.run(
                """
                INSERT INTO notes (key, value) VALUES ($1, $2)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value
                """,
                key,
                value,
            )

        await self._database.write(unit)

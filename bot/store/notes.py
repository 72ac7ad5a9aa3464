"""Persistent values by key, such as the secret that links are signed with."""

from collections.abc import Callable

from bot.store.database import Database, Tx

SET = "INSERT INTO notes (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
LOCK = (
    "INSERT INTO notes (key, value) VALUES ($1, '') ON CONFLICT (key) DO UPDATE SET value = notes.value RETURNING value"
)


class Notes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> str | None:
        async def unit(tx: Tx) -> str | None:
            row = await tx.one("SELECT value FROM notes WHERE key = $1", key)
            return row["value"] if row else None

        return await self._database.read(unit)

    async def set(self, key: str, value: str) -> None:
        async def unit(tx: Tx) -> None:
            await tx.run(SET, key, value)

        await self._database.write(unit)

    async def set_if_absent(self, key: str, value: str) -> str:
        """Keep *value* unless there is one already; returns what is kept."""
        return await self.change(key, lambda kept: value if kept is None else kept)

    async def set_if_older(self, key: str, *, now: int, before: int) -> bool:
        """Keep the time *now* unless a time of *before* or later is kept (UTC milliseconds); whether it is kept now."""
        is_older = False

        def change(kept: str | None) -> str:
            nonlocal is_older
            is_older = kept is None or int(kept) < before
            return str(now) if kept is None or is_older else kept

        await self.change(key, change)
        return is_older

    async def change(self, key: str, change: Callable[[str | None], str]) -> str:
        """Replace the value by what *change* makes of it, one process at a time; returns it."""

        async def unit(tx: Tx) -> str:
            row = await tx.one(LOCK, key)
            assert row is not None
            value = change(row["value"] or None)
            await tx.run(SET, key, value)
            return value

        return await self._database.write(unit)

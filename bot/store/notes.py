"""Persistent values by key, such as the secret that links are signed with."""

from bot.store.database import Database, Tx


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
            await tx.run(
                """
                INSERT INTO notes (key, value) VALUES ($1, $2)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value
                """,
                key,
                value,
            )

        await self._database.write(unit)

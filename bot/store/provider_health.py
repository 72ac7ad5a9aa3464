"""What all processes know of each provider's health, as JSON: circuit breaker and Retry-After."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bot.store.database import Database, Tx


class Known(NamedTuple):
    """The JSON text of what is known of a provider, empty for nothing; of two, the one with the higher *n* is newer."""

    n: int
    body: str


async def lock(tx: Tx, provider: str) -> Known:
    """Read what is known of *provider* and lock it until the unit ends."""
    row = await tx.one(
        """
        INSERT INTO provider_health (provider, n, body) VALUES ($1, 0, '')
        ON CONFLICT (provider) DO UPDATE SET n = provider_health.n RETURNING n, body
        """,
        provider,
    )
    assert row is not None
    return Known(row["n"], row["body"])


class ProviderHealthRows:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, provider: str, change: Callable[[str], str]) -> Known:
        """Replace what is known of *provider* by what *change* makes of it; returns it."""

        async def unit(tx: Tx) -> Known:
            before = await lock(tx, provider)
            if (body := change(before.body)) == before.body:
                return before
            sql = "UPDATE provider_health SET n = $2, body = $3 WHERE provider = $1"
            await tx.run(sql, provider, before.n + 1, body)
            return Known(before.n + 1, body)

        return await self._database.write(unit)

    async def all(self) -> Mapping[str, Known]:
        async def unit(tx: Tx) -> Mapping[str, Known]:
            rows = await tx.fetch("SELECT provider, n, body FROM provider_health")
            return {row["provider"]: Known(row["n"], row["body"]) for row in rows}

        return await self._database.read(unit)

"""Which providers take no requests, and why: credentials, balance, down (table `hosts`)."""

from dataclasses import dataclass

from bot.store.database import Database, Tx


@dataclass(frozen=True, slots=True)
class ProviderOutage:
    """Why a provider takes no requests, and since when in UTC milliseconds."""

    kind: str  # credentials | balance | down
    since: int


class ProviderOutages:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, provider: str, outage: str, *, now: int) -> bool:
        """Record that *provider* takes no requests; True if that is news, so that the operator is notified once."""

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
                outage,
                now,
            )
            return row is not None

        return await self._database.write(unit)

    async def end(self, provider: str) -> bool:
        """Record that *provider* takes requests again; False if it had no outage."""

        async def unit(tx: Tx) -> bool:
            return await tx.one("DELETE FROM hosts WHERE provider = $1 RETURNING provider", provider) is not None

        return await self._database.write(unit)

    async def current(self) -> dict[str, ProviderOutage]:
        """The outage of every provider that has one."""

        async def unit(tx: Tx) -> dict[str, ProviderOutage]:
            rows = await tx.fetch("SELECT provider, trouble, since FROM hosts")
            return {row["provider"]: ProviderOutage(row["trouble"], row["since"]) for row in rows}

        return await self._database.read(unit)

"""Results that members have marked as favorites."""

from bot.store.database import Database, Tx


class Favorites:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, user_id: int, job_id: str, *, favorite: bool, now: int) -> None:
        """Add a job to a member's favorites, or remove it from them."""

        async def unit(tx: Tx) -> None:
            if not favorite:
                await tx.run("DELETE FROM favorites WHERE user_id = $1 AND job = $2", user_id, job_id)
                return
            add = "INSERT INTO favorites (user_id, job, at) VALUES ($1, $2, $3) ON CONFLICT (user_id, job) DO NOTHING"
            await tx.run(add, user_id, job_id, now)

        await self._database.write(unit)

    async def has(self, user_id: int, job_id: str) -> bool:
        async def unit(tx: Tx) -> bool:
            row = await tx.one("SELECT job FROM favorites WHERE user_id = $1 AND job = $2", user_id, job_id)
            return row is not None

        return await self._database.read(unit)

    async def count(self, job_id: str) -> int:
        """How many members have the job among their favorites."""

        async def unit(tx: Tx) -> int:
            row = await tx.one("SELECT count(*) AS n FROM favorites WHERE job = $1", job_id)
            return int(row["n"]) if row else 0

        return await self._database.read(unit)

"""Pictures that members have put aside to edit them together."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from bot.core.jobs import HOUR, Reference
from bot.store.database import Database, Row, Tx

TRAY_LIFE = 24 * HOUR  # about as long as Discord's links to the pictures are valid

Tray = Sequence[tuple[int, Reference]]  # each picture with the number that names it, in their order


class Trays:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, user_id: int, *, now: int) -> Tray:
        """A member's pictures whose links are still valid."""

        async def unit(tx: Tx) -> Tray:
            return await _read(tx, user_id, now=now)

        return await self._database.read(unit)

    async def add(self, user_id: int, pictures: Sequence[Reference], *, limit: int, now: int) -> Tray:
        """Add *pictures* at the end, without those that are there already, up to *limit* in all; returns the tray."""

        async def unit(tx: Tx) -> Tray:
            before = await _read(tx, user_id, now=now)
            known = {each.url.partition("?")[0] for _, each in before}
            new = [each for each in pictures if each.url.partition("?")[0] not in known][: max(0, limit - len(before))]
            row = await tx.one("SELECT max(n) AS n FROM tray WHERE user_id = $1", user_id)
            last = int(row["n"]) if row and row["n"] is not None else 0
            for n, each in enumerate(new, start=last + 1):
                await tx.run(
                    "INSERT INTO tray (user_id, n, at, body) VALUES ($1, $2, $3, $4)",
                    user_id,
                    n,
                    now,
                    json.dumps(asdict(each)),
                )
            return await _read(tx, user_id, now=now)

        return await self._database.write(unit)

    async def remove(self, user_id: int, numbers: Sequence[int] | None = None) -> None:
        """Remove the pictures with these numbers; all of them for None."""

        async def unit(tx: Tx) -> None:
            if numbers is None:
                await tx.run("DELETE FROM tray WHERE user_id = $1", user_id)
            for n in numbers or ():
                await tx.run("DELETE FROM tray WHERE user_id = $1 AND n = $2", user_id, n)

        await self._database.write(unit)

    async def move_first(self, user_id: int, n: int) -> None:
        """Make a picture the first one."""

        async def unit(tx: Tx) -> None:
            await tx.run(
                """
                UPDATE tray SET n = (SELECT min(n) FROM tray WHERE user_id = $1) - 1 WHERE user_id = $1 AND n = $2
                """,
                user_id,
                n,
            )

        await self._database.write(unit)


async def _read(tx: Tx, user_id: int, *, now: int) -> Tray:
    rows = await tx.fetch(
        "SELECT n, body FROM tray WHERE user_id = $1 AND at > $2 ORDER BY n", user_id, now - TRAY_LIFE
    )
    pictures = [(int(row["n"]), _reference(row)) for row in rows]
    return [(n, each) for n, each in pictures if each.expires_at is None or each.expires_at > now]


def _reference(row: Row) -> Reference:
    return Reference(**json.loads(row["body"]))

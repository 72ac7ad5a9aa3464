"""Rows of limits and blocks that admins and the operator have set, and of how a server wants it.

The functions here are parts of units: they take the transaction of the verb that calls them.
"""

from collections.abc import Iterable, Sequence

from bot.core.jobs import Place
from bot.core.quota import NO_SERVER, Block, Holder, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.database import Row, Tx

BLOCK = "block"
NOW = "now"  # the span of what has no window


async def at(tx: Tx, place: Place) -> tuple[Sequence[Rule], Sequence[Block]]:
    """What may hold at *place*: its member's, its channel's, the server's, the host's, and those of every role held."""
    rows = await tx.fetch(
        """
        SELECT holder, subject, unit, span, amount FROM limits
        WHERE guild = $1 AND holder IN ('cap', 'direct', 'guild', 'role')
        UNION ALL SELECT holder, subject, unit, span, amount FROM limits
        WHERE guild = $1 AND holder = 'user' AND subject = $2
        UNION ALL SELECT holder, subject, unit, span, amount FROM limits
        WHERE guild = $1 AND holder = 'channel' AND subject = $3
        UNION ALL SELECT holder, subject, unit, span, amount FROM limits
        WHERE guild = $4 AND holder = 'host'
        """,
        place.server,
        place.user_id,
        place.counted_channel,
        NO_SERVER,
    )
    held = frozenset(place.roles)
    return _sorted_out(row for row in rows if row["holder"] != Holder.ROLE or row["subject"] in held)


async def of(tx: Tx, server: int) -> tuple[Sequence[Rule], Sequence[Block]]:
    """Everything that has been set for a server (the host's own among what happens outside of all)."""
    rows = await tx.fetch(
        "SELECT holder, subject, unit, span, amount FROM limits WHERE guild = $1 ORDER BY holder, subject, unit, span",
        server,
    )
    return _sorted_out(rows)


def _sorted_out(rows: Iterable[Row]) -> tuple[Sequence[Rule], Sequence[Block]]:
    found: list[Rule] = []
    blocks: list[Block] = []
    for row in rows:
        holder = Holder(row["holder"])
        if row["unit"] == BLOCK:
            blocks.append(Block(holder, row["subject"]))
        else:
            window = None if row["span"] == NOW else Window(row["span"])
            found.append(Rule(holder, row["subject"], Unit(row["unit"]), window, row["amount"]))
    return found, blocks


async def put(tx: Tx, server: int, rule: Rule) -> None:
    await _put(tx, server, rule.holder, rule.subject, unit=rule.unit, span=rule.window or NOW, amount=rule.amount)


async def take(tx: Tx, server: int, rule: Rule) -> bool:
    """Remove the rule of this holder, unit and window; whether there was one."""
    return await _take(tx, server, rule.holder, rule.subject, unit=rule.unit, span=rule.window or NOW)


async def put_block(tx: Tx, server: int, block: Block) -> None:
    await _put(tx, server, block.holder, block.subject, unit=BLOCK, span=NOW, amount=0)


async def take_block(tx: Tx, server: int, block: Block) -> bool:
    return await _take(tx, server, block.holder, block.subject, unit=BLOCK, span=NOW)


async def _put(
    tx: Tx, server: int, holder: Holder, subject: int, *, unit: str, span: str, amount: int | None
) -> None:  # fmt: skip
    await tx.run(
        """
        INSERT INTO limits (guild, holder, subject, unit, span, amount) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (guild, holder, subject, unit, span) DO UPDATE SET amount = excluded.amount
        """,
        server, holder, subject, unit, span, amount,
    )  # fmt: skip


async def _take(tx: Tx, server: int, holder: Holder, subject: int, *, unit: str, span: str) -> bool:
    row = await tx.one(
        """
        DELETE FROM limits WHERE guild = $1 AND holder = $2 AND subject = $3 AND unit = $4 AND span = $5
        RETURNING guild
        """,
        server, holder, subject, unit, span,
    )  # fmt: skip
    return row is not None


async def server_settings(tx: Tx, server: int) -> ServerSettings:
    row = await tx.one("SELECT body FROM houses WHERE guild = $1", server)
    return ServerSettings.model_validate_json(row["body"]) if row else ServerSettings()


async def put_server_settings(tx: Tx, server: int, server_settings: ServerSettings) -> None:
    await tx.run(
        "INSERT INTO houses (guild, body) VALUES ($1, $2) ON CONFLICT (guild) DO UPDATE SET body = excluded.body",
        server,
        server_settings.model_dump_json(),
    )

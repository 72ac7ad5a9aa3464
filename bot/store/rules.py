"""Rows of rules and blocks (table `limits`) and of server settings (table `houses`).

The functions are parts of units: they take the caller's transaction.
"""

from collections.abc import Iterable, Mapping, Sequence

from bot.core.jobs import Place
from bot.core.quota import NO_SERVER, Block, Holder, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.database import Row, Tx

BLOCK = "block"
NO_WINDOW = "now"  # the span of rules without a window


async def applying_to(tx: Tx, place: Place) -> tuple[Sequence[Rule], Sequence[Block]]:
    """Rules and blocks at *place*: of the member and their roles, the channel, the server, and the scope `host`."""
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
    return applying_of(rows, place)


def applying_of(rows: Iterable[Row], place: Place) -> tuple[Sequence[Rule], Sequence[Block]]:
    """The rules and blocks at *place*, of the *rows* of its server and of scope `host`."""
    subjects = {Holder.USER: (place.user_id,), Holder.CHANNEL: (place.counted_channel,), Holder.ROLE: place.roles}
    return _parse(row for row in rows if row["subject"] in subjects.get(row["holder"], (row["subject"],)))


async def set_in(tx: Tx, server: int) -> tuple[Sequence[Rule], Sequence[Block]]:
    """All rules and blocks of a server; those of the scope `host` are stored with server 0."""
    rows = await tx.fetch(
        "SELECT holder, subject, unit, span, amount FROM limits WHERE guild = $1 ORDER BY holder, subject, unit, span",
        server,
    )
    return _parse(rows)


def _parse(rows: Iterable[Row]) -> tuple[Sequence[Rule], Sequence[Block]]:
    rules: list[Rule] = []
    blocks: list[Block] = []
    for row in rows:
        holder = Holder(row["holder"])
        if row["unit"] == BLOCK:
            blocks.append(Block(holder, row["subject"], until=row["amount"] or None))
        else:
            window = None if row["span"] == NO_WINDOW else Window(row["span"])
            rules.append(Rule(holder, row["subject"], Unit(row["unit"]), window, row["amount"]))
    return rules, blocks


async def put(tx: Tx, server: int, rule: Rule) -> None:
    await _put(tx, server, rule.holder, rule.subject, unit=rule.unit, span=rule.window or NO_WINDOW, amount=rule.amount)


async def remove(tx: Tx, server: int, rule: Rule) -> bool:
    """Remove the rule with this holder, subject, unit and window; False if there was none."""
    return await _remove(tx, server, rule.holder, rule.subject, unit=rule.unit, span=rule.window or NO_WINDOW)


async def put_block(tx: Tx, server: int, block: Block) -> None:
    await _put(tx, server, block.holder, block.subject, unit=BLOCK, span=NO_WINDOW, amount=block.until or 0)


async def remove_block(tx: Tx, server: int, block: Block) -> bool:
    return await _remove(tx, server, block.holder, block.subject, unit=BLOCK, span=NO_WINDOW)


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


async def _remove(tx: Tx, server: int, holder: Holder, subject: int, *, unit: str, span: str) -> bool:
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


async def generation_channels(tx: Tx) -> Mapping[int, Sequence[int]]:
    """The channels for requests by message, of the servers that have any."""
    rows = await tx.fetch("SELECT guild, body FROM houses WHERE body LIKE '%\"generation\":[_%'")
    parsed = {row["guild"]: ServerSettings.model_validate_json(row["body"]).generation for row in rows}
    return {server: channels for server, channels in parsed.items() if channels}


async def put_server_settings(tx: Tx, server: int, server_settings: ServerSettings) -> None:
    await tx.run(
        "INSERT INTO houses (guild, body) VALUES ($1, $2) ON CONFLICT (guild) DO UPDATE SET body = excluded.body",
        server,
        server_settings.model_dump_json(),
    )

"""Rows of replies, their interaction tokens and their pictures.

The functions are parts of units: they take the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.core.cards import Picture, Reply
from bot.core.jobs import Lease
from bot.store.database import Row, Tx, insert

END_OF_TIME = 1 << 62  # UTC milliseconds
ANY = (None, None)  # in place of a lease


@dataclass(frozen=True, slots=True)
class DueReply:
    """When a reply is due, and whether its job has ended."""

    job_id: str
    due_at: int | None  # UTC milliseconds; None where nothing is to be sent, or its message is not known yet
    final: bool
    worker: int = 0  # the process that the job belongs to


Due = Mapping[str, DueReply]  # of the replies that a statement has changed, by job
WITH_DUE = """
    RETURNING job, CASE WHEN message_id IS NOT NULL THEN due_at END AS due_at,
        (SELECT ended_at FROM jobs WHERE jobs.id = job) IS NOT NULL AS final,
        (SELECT worker FROM jobs WHERE jobs.id = job) AS worker
"""


def _held(first: int) -> str:
    """Of a row of `replies`: its job is under the lease that the arguments from *first* on are; NULL: any lease."""
    return f"""(CAST(${first} AS BIGINT) IS NULL OR EXISTS (
        SELECT 1 FROM jobs WHERE jobs.id = job AND jobs.worker = ${first} AND jobs.lease = ${first + 1}))"""


async def add(tx: Tx, reply: Reply) -> None:
    await insert(tx, "replies", new_row(reply))
    if reply.token is not None:
        await keep_token(tx, reply.job_id, reply.token, expires_at=reply.token_expires_at)


def new_row(reply: Reply) -> dict[str, object]:
    """The row of a new reply, by column; the others are empty."""
    return {
        "job": reply.job_id,
        "application_id": reply.application_id,
        "channel_id": reply.channel_id,
        "guild_id": reply.guild_id,
        "message_id": reply.message_id,
        "ephemeral": int(reply.ephemeral),
        "bot_can_edit": int(reply.bot_can_edit),
        "bot_can_post": int(reply.bot_can_post),
        "filesize_limit": reply.filesize_limit,
        "locale": reply.locale,
        "wanted": reply.wanted,
        "delivered": reply.delivered,
        "request_message": reply.request_message,
        "thread": int(reply.thread),
        "gone": 0,
        "attempts": 0,
        "text_version": 0,
        "notified": 0,
    }


def token_row(job_id: str, token: str, *, expires_at: int) -> dict[str, object]:
    return {"job": job_id, "token": token, "expires_at": expires_at}


async def keep_token(tx: Tx, job_id: str, token: str, *, expires_at: int) -> None:
    await tx.run(
        """
        INSERT INTO tokens (job, token, expires_at) VALUES ($1, $2, $3)
        ON CONFLICT (job) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at
        WHERE excluded.expires_at > tokens.expires_at
        """,
        job_id,
        token,
        expires_at,
    )


async def drop_token(tx: Tx, job_id: str, token: str) -> None:
    """Delete *token*, unless a click has brought a newer one."""
    await tx.run("DELETE FROM tokens WHERE job = $1 AND token = $2", job_id, token)


async def set_message(tx: Tx, job_id: str, *, message_id: int, ephemeral: bool) -> Due:
    """Set the message that the reply is, and whether Discord made it ephemeral."""
    return await _changed(
        tx,
        "UPDATE replies SET message_id = $2, ephemeral = $3 WHERE job = $1",
        job_id,
        message_id,
        int(ephemeral),
    )


async def request_redraw(tx: Tx, job_id: str, *, now: int) -> Due:
    """Ask for a new version of the card, due at *now*."""
    return await _changed(
        tx,
        "UPDATE replies SET wanted = wanted + 1, due_at = $2, attempts = 0 WHERE job = $1 AND gone = 0",
        job_id,
        now,
    )


async def set_due(
    tx: Tx, job_id: str, *, due_at: int | None, version: int | None = None, lease: Lease | None = None
) -> Due:  # fmt: skip
    """Set when the reply is due, unless a version newer than *version* is wanted, which has its own time."""
    return await _changed(
        tx,
        f"""
        UPDATE replies SET due_at = $2
        WHERE job = $1 AND gone = 0 AND wanted = coalesce(CAST($3 AS BIGINT), wanted) AND {_held(4)}
        """,
        job_id,
        due_at,
        version,
        *(lease or ANY),
    )


async def mark_delivered(
    tx: Tx, job_id: str, *, version: int, message_id: int, due_at: int | None, lease: Lease | None
) -> Due:
    """Record that *version* is shown; *due_at* applies where no newer version is wanted."""
    return await _changed(
        tx,
        f"""
        UPDATE replies SET delivered = CASE WHEN delivered < $2 THEN CAST($2 AS BIGINT) ELSE delivered END,
            message_id = $3, attempts = 0,
            due_at = CASE WHEN wanted > $2 THEN due_at ELSE CAST($4 AS BIGINT) END
        WHERE job = $1 AND {_held(5)}
        """,
        job_id,
        version,
        message_id,
        due_at,
        *(lease or ANY),
    )


async def mark_text_shown(
    tx: Tx, job_id: str, *, version: int, message_id: int, lease: Lease | None
) -> None:  # fmt: skip
    """Record that *version* is shown without its pictures, which /jobs has until they are shown."""
    await tx.run(
        f"UPDATE replies SET text_version = $2, message_id = $3 WHERE job = $1 AND text_version < $2 AND {_held(4)}",
        job_id,
        version,
        message_id,
        *(lease or ANY),
    )


async def mark_delivered_privately(tx: Tx, job_id: str, *, version: int) -> Due:
    """Record that the member has received *version* elsewhere; the reply stays due where it does not show its text."""
    return await _changed(
        tx,
        """
        UPDATE replies SET delivered = $2, due_at = CASE WHEN text_version >= $2 THEN NULL ELSE due_at END
        WHERE job = $1 AND delivered < $2
        """,
        job_id,
        version,
    )


async def count_attempt(tx: Tx, job_id: str, *, lease: Lease | None) -> None:
    sql = f"UPDATE replies SET attempts = attempts + 1 WHERE job = $1 AND {_held(2)}"
    await tx.run(sql, job_id, *(lease or ANY))


async def mark_notified(tx: Tx, job_id: str, *, lease: Lease | None) -> bool:
    """Record that the member was told of the end of the job; False, with nothing written, under another lease."""
    sql = f"UPDATE replies SET notified = 1 WHERE job = $1 AND {_held(2)} RETURNING job"
    return await tx.one(sql, job_id, *(lease or ANY)) is not None


async def mark_thread_opened(tx: Tx, job_id: str, *, lease: Lease | None) -> None:
    await tx.run(f"UPDATE replies SET thread = 0 WHERE job = $1 AND {_held(2)}", job_id, *(lease or ANY))


async def mark_gone(tx: Tx, job_id: str, *, lease: Lease | None) -> Due:
    """Record that the message was deleted: what it showed counts as undelivered, so that /jobs lists it."""
    return await _changed(
        tx,
        f"""
        UPDATE replies SET gone = 1, due_at = NULL,
            wanted = CASE WHEN gone = 1 OR wanted > delivered THEN wanted ELSE delivered + 1 END
        WHERE job = $1 AND {_held(2)}
        """,
        job_id,
        *(lease or ANY),
    )


async def _changed(tx: Tx, sql: str, *args: object) -> Due:
    row = await tx.one(f"{sql} {WITH_DUE}", *args)
    return {} if row is None else {row["job"]: _due(row)}


def _due(row: Row) -> DueReply:
    return DueReply(row["job"], row["due_at"], bool(row["final"]), row["worker"])


async def due(tx: Tx, *, before: int | None, worker: int | None) -> dict[str, DueReply]:
    """Every reply that is due at some time, or that was due before *before*, by job id; *worker*: None for all."""
    rows = await tx.fetch(
        """
        SELECT replies.job AS job, replies.due_at AS due_at, jobs.ended_at IS NOT NULL AS final, jobs.worker AS worker
        FROM replies JOIN jobs ON jobs.id = replies.job
        WHERE replies.due_at < $1 AND replies.message_id IS NOT NULL AND worker = coalesce(CAST($2 AS BIGINT), worker)
        """,
        END_OF_TIME if before is None else before,
        worker,
    )
    return {row["job"]: _due(row) for row in rows}


async def get(tx: Tx, job_id: str) -> Reply | None:
    row = await tx.one(
        """
        SELECT replies.*, tokens.token AS token, tokens.expires_at AS token_expires_at
        FROM replies LEFT JOIN tokens ON tokens.job = replies.job WHERE replies.job = $1
        """,
        job_id,
    )
    return load(row) if row else None


def load(row: Row) -> Reply:
    return Reply(
        job_id=row["job"],
        application_id=row["application_id"],
        channel_id=row["channel_id"],
        guild_id=row["guild_id"],
        message_id=row["message_id"],
        ephemeral=bool(row["ephemeral"]),
        bot_can_edit=bool(row["bot_can_edit"]),
        bot_can_post=bool(row["bot_can_post"]),
        filesize_limit=row["filesize_limit"],
        locale=row["locale"],
        wanted=row["wanted"],
        delivered=row["delivered"],
        token=row["token"],
        token_expires_at=row["token_expires_at"] or 0,
        gone=bool(row["gone"]),
        attempts=row["attempts"],
        text_version=row["text_version"],
        notified=bool(row["notified"]),
        request_message=row["request_message"],
        thread=bool(row["thread"]),
    )


async def add_picture(tx: Tx, job_id: str, picture: Picture, *, now: int) -> None:
    await tx.run(
        """
        INSERT INTO pictures (job, n, file, type, width, height, size, made_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (job, n) DO NOTHING
        """,
        job_id,
        picture.n,
        picture.file,
        picture.type,
        picture.width,
        picture.height,
        picture.size,
        now,
    )


async def pictures(tx: Tx, job_id: str) -> tuple[Picture, ...]:
    rows: Sequence[Row] = await tx.fetch("SELECT * FROM pictures WHERE job = $1 ORDER BY n", job_id)
    return tuple(Picture(row["n"], row["file"], row["type"], row["width"], row["height"], row["size"]) for row in rows)

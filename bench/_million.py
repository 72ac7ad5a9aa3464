"""A ledger of 1,000,000 rows: 500,000 jobs of 500 members that have been paid for, over the last 90 days."""

import sqlite3
import time
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path

import asyncpg

from bot.core.windows import moment

JOBS = 500_000
MEMBERS, SERVERS, CHANNELS = 500, 5, 8  # in all; in all; in each server
HOURS = 90 * 24
HOUR = 3_600_000  # milliseconds

_HOURS = "CREATE TEMP TABLE hours (n BIGINT PRIMARY KEY, at BIGINT, day TEXT, week TEXT)"
_PAST = f"""
    CREATE TEMP TABLE past AS
    WITH RECURSIVE counted (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM counted WHERE n < {JOBS - 1})
    SELECT counted.n AS n, '01K' || CAST(10000000000000000 + counted.n AS TEXT) AS job,
           hours.at + counted.n % 3600000 AS at, hours.day AS day, hours.week AS week,
           1 + counted.n % {SERVERS} AS guild,
           (1 + counted.n % {SERVERS}) * 100 + counted.n / 7 % {CHANNELS} AS channel,
           1 + counted.n * 7919 / 13 % {MEMBERS} AS member,
           1 + counted.n % 4 AS images,
           (1 + counted.n % 4) * (20000 + counted.n * 104729 % 180000) AS micro_usd
    FROM counted JOIN hours ON hours.n = counted.n * {HOURS} / {JOBS}
"""  # noqa: S608 - numbers of this file
_BOOKS = (
    """
    INSERT INTO jobs (id, user_id, guild_id, channel_id, model, verb, request, provider, route, state, created_at,
                      changed_at, give_up_after, checked, cancel, images, flagged, ended_at, run_id)
    SELECT job, member, guild, channel, 'nano-banana-2', 'imagine', '{"prompt": "", "options": {}, "references": []}',
           'runcomfy', 'google/nano-banana-2/text-to-image', 'succeeded', at, at + 20000, 600000, 1, 'none', images, 0,
           at + 20000, job FROM past ORDER BY n
    """,
    """
    INSERT INTO ledger (at, kind, job, actor, guild, channel, "user", route, images, micro_usd, price_version,
                        day, week)
    SELECT at, 'reserve', job, member, guild, channel, member, 'google/nano-banana-2/text-to-image', images, micro_usd,
           '2026-11', day, week FROM past
    UNION ALL
    SELECT at + 20000, 'settle', job, 0, guild, channel, member, 'google/nano-banana-2/text-to-image', images,
           micro_usd, '2026-11', NULL, NULL FROM past
    ORDER BY 1
    """,
    """
    INSERT INTO host_cost (at, job, provider, route, micro_usd, basis)
    SELECT at + 20000, job, 'runcomfy', 'google/nano-banana-2/text-to-image', micro_usd, 'known' FROM past ORDER BY n
    """,
    "DROP TABLE past",
    "DROP TABLE hours",
)
_TOTALS = "INSERT INTO totals SELECT * FROM rebuilt"


def _hours() -> Sequence[tuple[int, int, str, str]]:
    first = int(time.time() * 1000) // HOUR * HOUR - HOURS * HOUR
    starts = ((n, first + n * HOUR) for n in range(HOURS))
    return list(starmap(_hour, starts))


def _hour(n: int, at: int) -> tuple[int, int, str, str]:
    begins = moment(at)
    return n, at, begins.day, begins.week


def fill_sqlite(path: Path) -> float:
    """Fill a new database at *path*; how many seconds the totals took."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute(_HOURS)
    connection.executemany("INSERT INTO hours VALUES (?, ?, ?, ?)", _hours())
    for each in (_PAST, *_BOOKS):
        connection.execute(each)
    began = time.perf_counter()
    connection.execute(_TOTALS)
    took = time.perf_counter() - began
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return took


async def fill_postgres(url: str) -> float:
    """Fill a new database at *url*; how many seconds the totals took."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "darkroom run fill"})
    try:
        async with connection.transaction():
            await connection.execute(_HOURS)
            await connection.copy_records_to_table("hours", records=_hours())
            for each in (_PAST, *_BOOKS):
                await connection.execute(each)
        await connection.execute("VACUUM ANALYZE")
        began = time.perf_counter()
        await connection.execute(_TOTALS)
        took = time.perf_counter() - began
        await connection.execute("VACUUM ANALYZE totals")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return took

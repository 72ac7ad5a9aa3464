"""Export of the ledger's rows as CSV or JSON: `quota export` and `ledger export`."""

import argparse
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from bot.cli.arguments import period, period_options, some_id
from bot.cli.output import LONG_TIMEOUT, CannotRun, NotDone, iso, json_option, on_database, plural, wall_clock
from bot.core.ledger_csv import to_csv
from bot.core.zones import zone_of
from bot.store.database import Database
from bot.store.reports import Cursor, Entry, Reports
from bot.store.store import Store

PAGE_SIZE = 2000  # rows read at once
MAX_IN_MEMORY = 8 * 1024 * 1024  # bytes; a longer export is buffered in a temporary file

Page = Callable[[Sequence[Entry], bool], str]  # entries, and whether they are the first


def export_options(parser: argparse.ArgumentParser) -> None:
    period_options(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file")
    json_option(parser)


def export(options: argparse.Namespace, server: int | None) -> int:
    """Write the rows of one *server* (0: outside servers; None: all), after all of them have been read."""
    with SpooledTemporaryFile(MAX_IN_MEMORY, "w+", encoding="utf-8", newline="") as spool:

        async def read(database: Database) -> int:
            zone = zone_of(await Store(database).server_settings(server or 0))
            since, until = period(options, now=wall_clock(), zone=zone)
            pages = _pages(Reports(database), server, since=since, until=until)
            if options.json:
                return await _write_json(spool, pages)
            count = 0
            spool.write(to_csv([], zone))
            async for entries in pages:
                spool.write(to_csv(entries, zone, header=False))
                count += len(entries)
            return count

        count = on_database(read, timeout_s=LONG_TIMEOUT)
        spool.seek(0)
        _copy(spool, options.output)
    if options.output is not None:
        print(f"{plural(count, 'row')} in {options.output}", file=sys.stderr)
    return 0


async def _pages(
    reports: Reports, server: int | None, *, since: int, until: int
) -> AsyncIterator[Sequence[Entry]]:  # fmt: skip
    after: Cursor = (0, 0)
    while entries := await reports.export(server, since=since, until=until, after=after, limit=PAGE_SIZE):
        yield entries
        after = (entries[-1].at, entries[-1].id)


async def _write_json(spool: IO[str], pages: AsyncIterator[Sequence[Entry]]) -> int:
    """Write one JSON document with a line for each row."""
    count = 0
    async for entries in pages:
        for each in entries:
            spool.write(("[\n" if count == 0 else ",\n") + json.dumps(entry_document(each)))
            count += 1
    spool.write("\n]\n" if count else "[]\n")
    return count


def entry_document(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": iso(entry.at),
        "kind": entry.kind,
        "server_id": some_id(entry.server),
        "user_id": some_id(entry.user),
        "channel_id": some_id(entry.channel),
        "actor_id": some_id(entry.actor),
        "job_id": entry.job,
        "pictures": entry.images,
        "micro_usd": entry.micro_usd,
        "bonus_pictures": entry.bonus_images,
        "reason": entry.reason,
        "route": entry.route,
        "price_version": entry.price_version,
    }


def _copy(spool: IO[str], path: Path | None) -> None:
    try:
        with nullcontext(sys.stdout) if path is None else path.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(spool, out)
            out.flush()
    except BrokenPipeError:
        raise NotDone("the export was not printed completely: the pipe was closed") from None
    except OSError as exc:
        raise CannotRun(f"{path or 'the export'} cannot be written: {exc.strerror}") from exc

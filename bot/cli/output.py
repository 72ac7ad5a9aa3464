"""Database access, printing and errors for the commands that read or change the database.

Rows contain texts of members and providers. They are printed with control characters escaped and on one line, so that
they can neither control a terminal nor imitate output.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from bot.observability.logging import printable
from bot.settings.settings import DatabaseSection, Settings
from bot.store.connect import open_existing
from bot.store.database import DATABASE_ERRORS, Database

T = TypeVar("T")
TIMEOUT = 30.0  # seconds for the database, opening included
LONG_TIMEOUT = 1800.0  # seconds, for commands that read every row
MAX_CELL = 60  # characters in a table's cell
NOTHING = "-"


class CannotRun(Exception):
    """The command cannot start; the message is one sentence. Exit code 2."""


class NotDone(Exception):
    """The command failed; the message is one sentence. Exit code 1."""


# --- the database


def on_database(work: Callable[[Database], Awaitable[T]], *, timeout_s: float = TIMEOUT) -> T:
    """Run *work* on the configured database. Raises `CannotRun` if it is missing or too slow (seconds)."""
    return asyncio.run(_on_database(Settings.load().database, work, timeout_s=timeout_s))


async def _on_database(section: DatabaseSection, work: Callable[[Database], Awaitable[T]], *, timeout_s: float) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            database = await open_existing(section.direct)
            try:
                return await work(database)
            finally:
                await database.aclose()
    except DATABASE_ERRORS as exc:
        reason = str(exc) or "it does not answer"
        raise CannotRun(f"the database {section.shown} cannot be used: {reason}") from exc


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


# --- options


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def discord_id(text: str) -> int:
    """Parse a Discord ID. Raises `CannotRun`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 2**63):
        raise CannotRun(f"{cell(text)!r} is not a Discord ID: IDs are numbers, such as 80351110224678912")
    return int(text)


# --- printing


def print_json(document: Any) -> None:
    """Print one JSON document in ASCII, so that all special characters are escaped."""
    print(json.dumps(document, indent=2).replace("\x7f", "\\u007f"))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = [list(heads), *([cell(each) for each in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one line each; only a value of type `Lines` may have several lines."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        lines = [cell(each, max_length=None) for each in (value.split("\n") if isinstance(value, Lines) else [value])]
        for head, line in zip([name, *[""] * len(lines)], lines, strict=False):
            print(f"{head.ljust(width)}  {line}".rstrip())


class Lines(str):
    """A text printed with its line breaks."""

    __slots__ = ()


def cell(value: object, *, max_length: int | None = MAX_CELL) -> str:
    """Return *value* on one line, control characters escaped, cut to *max_length* characters."""
    text = printable("" if value is None else str(value)).strip() or NOTHING
    return text if max_length is None or len(text) <= max_length else text[: max_length - 1] + "…"


def iso(at: int | None) -> str | None:
    """Format UTC milliseconds as `2026-11-20T12:00:00.000Z`."""
    return None if at is None else _moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: int | None) -> str | None:
    """Format UTC milliseconds as `2026-11-20 12:00:00`, for table columns headed "UTC"."""
    return None if at is None else _moment(at).strftime("%Y-%m-%d %H:%M:%S")


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000)


def dollars(micro_usd: int) -> str:
    """Format micro-dollars as `$0.08`: at least two decimals, more if needed."""
    whole, rest = divmod(abs(micro_usd), 1_000_000)
    return f"{'-' if micro_usd < 0 else ''}${whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"


def plural(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"

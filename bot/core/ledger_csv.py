"""Formats rows of the members' ledger as CSV: times in a given timezone, money in dollars."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Protocol

HEADER = ("id", "time", "kind", "server", "user", "channel", "actor", "job", "pictures", "dollars", "bonus_pictures",
          "reason", "route", "price_version")  # fmt: skip

# Where a spreadsheet would read a formula: at the start of a cell, and after any character that it may take for a cell
# separator (many locales separate cells by semicolons, and treat the quotes around a field as text).
FORMULA = re.compile(r"((?:^|[;,|\t\r\n])[\s\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
BLANK = re.compile(r"^(?=[\t\r\n])")


class Entry(Protocol):
    """A row of the ledger; 0 for a channel, member or actor means none."""

    @property
    def id(self) -> int: ...
    @property
    def at(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def server(self) -> int: ...
    @property
    def user(self) -> int: ...
    @property
    def channel(self) -> int: ...
    @property
    def actor(self) -> int: ...
    @property
    def job(self) -> str | None: ...
    @property
    def images(self) -> int: ...
    @property
    def micro_usd(self) -> int: ...
    @property
    def bonus_images(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def route(self) -> str | None: ...
    @property
    def price_version(self) -> str | None: ...


def to_csv(entries: Iterable[Entry], zone: tzinfo, *, header: bool = True) -> str:
    """*entries* as CSV lines, after the column names; without *header* the lines continue an earlier text."""
    out = io.StringIO()
    writer = csv.writer(out)
    if header:
        writer.writerow(HEADER)
    writer.writerows(_cells(each, zone) for each in entries)
    return out.getvalue()


def _cells(entry: Entry, zone: tzinfo) -> tuple[object, ...]:
    return (
        entry.id,
        datetime.fromtimestamp(entry.at / 1000, zone).isoformat(timespec="seconds"),
        str(entry.kind),
        entry.server or "",
        entry.user or "",
        entry.channel or "",
        entry.actor or "",
        escape_formulas(entry.job),
        entry.images,
        f"{Decimal(entry.micro_usd) / 1_000_000:.6f}",
        entry.bonus_images,
        escape_formulas(entry.reason),
        escape_formulas(entry.route),
        escape_formulas(entry.price_version),
    )


def escape_formulas(text: str | None) -> str:
    """*text* with an apostrophe before everything that a spreadsheet would evaluate as a formula."""
    return BLANK.sub("'", FORMULA.sub(r"\1'", text or ""))

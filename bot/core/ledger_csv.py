"""Formats rows of the members' ledger as CSV: times in a given timezone, money in dollars."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Protocol

HEADER = ("id", "time", "kind", "server", "user", "member_name", "channel", "channel_name", "actor", "actor_name",
          "job", "pictures", "dollars", "bonus_pictures", "reason", "route", "price_version")  # fmt: skip

# Where a spreadsheet would read a formula: at the start of a cell, and after any character that it may take for a cell
# separator (many locales separate cells by semicolons, and treat the quotes around a field as text).
FORMULA = re.compile(r"((?:^|[;,|\t\r\n])[\s\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
BLANK = re.compile(r"^(?=[\t\r\n])")

# Discord's ids have up to 20 digits, of which a spreadsheet keeps 15 and sets the others to 0, also between quotes. An
# apostrophe makes the cell text in every spreadsheet, and is what OWASP (ASVS 1.2.10) recommends against formulas. Of
# the other known forms, ="123" is a formula itself and stays literal where formulas in CSV files are turned off, as in
# LibreOffice, and a leading tab is trimmed on import by some programs and taken for a separator by others.
TEXT = "'"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of members and channels by id, as far as they are known."""

    members: Mapping[int, str] = field(default_factory=dict)
    channels: Mapping[int, str] = field(default_factory=dict)


NO_NAMES = Names()


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


def to_csv(entries: Iterable[Entry], zone: tzinfo, *, names: Names = NO_NAMES, header: bool = True) -> str:
    """*entries* as CSV lines, after the column names; without *header* the lines continue an earlier text."""
    out = io.StringIO()
    writer = csv.writer(out)
    if header:
        writer.writerow(HEADER)
    writer.writerows(_cells(each, zone, names) for each in entries)
    return out.getvalue()


def _cells(entry: Entry, zone: tzinfo, names: Names) -> tuple[object, ...]:
    return (
        entry.id,
        datetime.fromtimestamp(entry.at / 1000, zone).isoformat(timespec="seconds"),
        str(entry.kind),
        id_as_text(entry.server),
        id_as_text(entry.user),
        escape_formulas(names.members.get(entry.user)),
        id_as_text(entry.channel),
        escape_formulas(names.channels.get(entry.channel)),
        id_as_text(entry.actor),
        escape_formulas(names.members.get(entry.actor)),
        escape_formulas(entry.job),
        entry.images,
        f"{Decimal(entry.micro_usd) / 1_000_000:.6f}",
        entry.bonus_images,
        escape_formulas(entry.reason),
        escape_formulas(entry.route),
        escape_formulas(entry.price_version),
    )


def id_as_text(number: int) -> str:
    """An id of Discord's that a spreadsheet does not round; empty for 0."""
    return f"{TEXT}{number}" if number else ""


def escape_formulas(text: str | None) -> str:
    """*text* with an apostrophe before everything that a spreadsheet would evaluate as a formula."""
    return BLANK.sub("'", FORMULA.sub(r"\1'", text or ""))

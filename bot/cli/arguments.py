"""Options and texts shared by the quota commands: subject, amount, period. Wrong values raise `CannotRun`."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, NoReturn, TypeVar

from bot.cli.output import CannotRun, cell, discord_id, dollars, plural
from bot.core import amounts
from bot.core.errors import UserError
from bot.core.quota import NO_SERVER, Holder, Rule, Unit
from bot.core.visible import storable, visible
from bot.core.windows import Window

T = TypeVar("T")
MAX_LISTED = 1000
MAX_REASON = 300
UNITS = {"pictures": Unit.IMAGES, "dollars": Unit.MICRO_USD, "jobs": Unit.JOBS}  # as options
UNIT_NAMES = {Unit.IMAGES: "pictures", Unit.MICRO_USD: "micro_usd", Unit.JOBS: "jobs"}  # in JSON
SUBJECT_NAMES = {Holder.USER: "member", Holder.ROLE: "role", Holder.CHANNEL: "channel"}  # holders with an ID
WHOLE_NAMES = {
    Holder.GUILD: "the server",
    Holder.DIRECT: "everyone together",
    Holder.CAP: "your cap",
    Holder.HOST: "everything",
}

SENTENCES = {  # by message key; the command line speaks English only
    "amount.number": "{given} is not a number",
    "amount.negative": "{given} is below 0",
    "amount.zero": "a bonus must be above 0",
    "amount.enormous": "{given} is too high; the maximum is {limit}",
    "amount.fraction": "{given} is not a whole number",
    "amount.fine": "{given} has more than six decimals",
    "amount.window": "{given} is not a period; choose one of {choices}",
    "expiry.past": "{given} is in the past",
    "expiry.far": "{given} is more than ten years away",
    "period.day": "{given} is not a date such as 2026-11-21",
    "period.backwards": "the period from {since} to {until} ends before it begins",
}
OPTION_SENTENCES = {
    "expires": {"period.day": "{given} is not a time; use 12h, 7d, 2w, 3m (months) or a date such as 2026-12-31"},
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises `CannotRun` instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise CannotRun(f"{cell(message, max_length=None)} (see `{self.prog} --help`)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Reject unknown options here; argparse would leave them to the main parser, which prints its usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def option(name: str, read: Callable[[], T]) -> T:
    """Return the result of *read*. A `UserError` becomes a `CannotRun` that names the option."""
    try:
        return read()
    except UserError as exc:
        raise CannotRun(f"--{name}: {_sentence(exc, SENTENCES | OPTION_SENTENCES.get(name, {}))}") from exc


def _sentence(error: UserError, sentences: Mapping[str, str]) -> str:
    values = {name: cell(value) for name, value in error.values.items()}
    if "given" in values:
        values["given"] = repr(values["given"])
    if "choices" in error.values:
        values["choices"] = ", ".join(Window)
    if "unit" in error.values:
        values["limit"] = format_amount(Unit(str(error.values["unit"])), int(str(error.values["limit"])))
    return sentences[error.key].format(**values)


# --- amounts


def read_amount(options: argparse.Namespace) -> tuple[Unit, str]:
    """Return the unit of the given option of `amount_options`, and its text."""
    return next((unit, text) for name, unit in UNITS.items() if (text := vars(options).get(name)) is not None)


def amount_options(parser: argparse.ArgumentParser, *, none: bool) -> None:
    """Add --pictures and --dollars, one of them required. *none*: for limits, which may be "none" or of jobs."""
    group = parser.add_mutually_exclusive_group(required=True)
    or_none = ", or none" if none else ""
    group.add_argument("--pictures", metavar="N", help=f"number of pictures{or_none}")
    group.add_argument("--dollars", metavar="X", help=f"dollars, such as 2.50{or_none}")
    if none:
        group.add_argument("--jobs", metavar="N", help=f"unfinished jobs at a time{or_none}")


def format_amount(unit: Unit, amount: int | None) -> str:
    """Format as `3 pictures`, `$0.40`, `2 jobs` or `no limit`."""
    match unit:
        case _ if amount is None:
            return "no limit"
        case Unit.IMAGES:
            return plural(amount, "picture")
        case Unit.MICRO_USD:
            return dollars(amount)
        case Unit.JOBS:
            return plural(amount, "job")


def per(window: Window | None) -> str:
    """Format as `per day` or `in total`; for jobs, `at a time`."""
    return "at a time" if window is None else "in total" if window is Window.TOTAL else f"per {window}"


def limit_name(unit: Unit, window: Window | None) -> str:
    """Format as `pictures per day` or `jobs at a time`."""
    return f"{'dollars' if unit is Unit.MICRO_USD else UNIT_NAMES[unit]} {per(window)}"


def limit_document(rule: Rule) -> dict[str, Any]:
    return {"unit": UNIT_NAMES[rule.unit], "window": rule.window, "limit": rule.amount}


def limit_option(parser: argparse.ArgumentParser, *, default: int = 20) -> None:
    parser.add_argument(
        "--limit", type=_limit, default=default, metavar="N", help=f"maximum number of rows (default {default})"
    )


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_LISTED):
        raise CannotRun(f"--limit takes a number from 1 to {MAX_LISTED}, not {cell(text)!r}")
    return int(text)


def window_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--per", metavar="PERIOD", help=f"{', '.join(Window)} ({text})")


def reason_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", type=_reason, metavar="TEXT", help="reason, shown in the history")


def _reason(text: str) -> str | None:
    if len(text) > MAX_REASON:
        raise CannotRun(f"--reason has {len(text)} characters; the maximum is {MAX_REASON}")
    return storable(text) if visible(text) else None


# --- subjects


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a limit or report. *server* is 0 outside servers."""

    server: int
    holder: Holder
    subject: int = 0

    @property
    def outside(self) -> bool:
        return self.server == NO_SERVER

    def __str__(self) -> str:
        """Format as `member 1 in server 5`, `server 5` or `everything outside servers`."""
        where = "outside servers" if self.outside else f"server {self.server}"
        match self.holder:
            case Holder.HOST:
                return "everything everywhere"
            case Holder.DIRECT:
                return "everything outside servers"
            case Holder.GUILD:
                return where
            case Holder.CAP:
                return f"the operator's cap on {where}"
            case _:
                inside = where if self.outside else f"in {where}"
                return f"{SUBJECT_NAMES[self.holder]} {self.subject} {inside}"

    @property
    def document(self) -> dict[str, Any]:
        return {"server_id": some_id(self.server), "holder": self.holder, "subject_id": some_id(self.subject)}


def holder_name(holder: Holder, subject: int) -> str:
    """Format as `member 1` or `the server`, for texts about one server."""
    return f"{SUBJECT_NAMES[holder]} {subject}" if holder in SUBJECT_NAMES else WHOLE_NAMES[holder]


def some_id(number: int) -> str | None:
    """Format a Discord ID for JSON, as a string like Discord's own; None for 0."""
    return str(number) if number else None


def place_options(parser: argparse.ArgumentParser, *, host: bool = False, everywhere: bool = False) -> None:
    places = parser.add_mutually_exclusive_group(required=True)
    places.add_argument("--server", type=discord_id, metavar="ID", help="this server")
    places.add_argument("--direct", action="store_true", help="everything outside servers")
    if host:
        places.add_argument("--host", action="store_true", help="everything that this bot spends")
    if everywhere:
        places.add_argument("--all-servers", action="store_true", help="every server, and everything outside servers")


def holder_options(parser: argparse.ArgumentParser, *holders: Holder, required: bool = False) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    for holder, thing in SUBJECT_NAMES.items():
        if holder in holders:
            group.add_argument(f"--{thing}", type=discord_id, metavar="ID", help=f"this {thing}")
    if Holder.CAP in holders:
        group.add_argument("--cap", action="store_true", help="your own cap on that server; its admins cannot raise it")


def subject(options: argparse.Namespace) -> Subject:
    """Return the subject that the options name. Raises `CannotRun` for an invalid combination."""
    given = vars(options)
    server = given.get("server") or NO_SERVER
    holder = (
        Holder.CAP
        if given.get("cap")
        else next((each for each, name in SUBJECT_NAMES.items() if given.get(name)), None)
    )
    if given.get("host"):
        if holder is not None:
            raise CannotRun("--host covers everything: it cannot be combined with --member, --role, --channel or --cap")
        return Subject(NO_SERVER, Holder.HOST)
    if not server and holder is Holder.CAP:
        raise CannotRun("--cap needs --server: limit what happens outside servers with --direct itself")
    if not server and holder is Holder.ROLE:
        raise CannotRun("--role needs --server: there are no roles outside servers")
    if holder is None:
        return Subject(server, Holder.GUILD if server else Holder.DIRECT)
    return Subject(server, holder, given[SUBJECT_NAMES[holder]] if holder in SUBJECT_NAMES else 0)


# --- periods


def period_options(parser: argparse.ArgumentParser) -> None:
    words = ", ".join(amounts.PERIODS)
    parser.add_argument("--since", metavar="DAY", default="all", help=f"a date, or one of {words} (default all)")
    parser.add_argument("--until", metavar="DAY", help="last day, included (default today)")


def clock(at: int | None, zone: tzinfo) -> str | None:
    """Format UTC milliseconds as `2026-11-20 13:00:00` in *zone*, which the table's heading names."""
    return None if at is None else datetime.fromtimestamp(at // 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def period(options: argparse.Namespace, *, now: int, zone: tzinfo) -> tuple[int, int]:
    """Return start and end of the period in UTC milliseconds; the end is excluded."""
    since, until = options.since, options.until
    name = "since" if until is None else "since and --until"
    return option(name, lambda: amounts.period(since, until, now=now, zone=zone))

"""The terms in which the command line speaks of quotas, typed and printed: whose, how much, since when.

What cannot be meant ends with one sentence.
"""

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
MOST_LISTED = 1000
LONGEST_REASON = 300
UNITS = {"pictures": Unit.IMAGES, "dollars": Unit.MICRO_USD, "jobs": Unit.JOBS}  # as options
UNIT_NAMES = {Unit.IMAGES: "pictures", Unit.MICRO_USD: "micro_usd", Unit.JOBS: "jobs"}  # in JSON
THINGS = {Holder.USER: "member", Holder.ROLE: "role", Holder.CHANNEL: "channel"}  # what has an id of its own
WHOLE = {
    Holder.GUILD: "the server",
    Holder.DIRECT: "everybody together",
    Holder.CAP: "your cap",
    Holder.HOST: "everything",
}

SENTENCES = {  # by message key; the command line speaks English only
    "amount.number": "{given} is no number",
    "amount.negative": "{given} is less than nothing",
    "amount.zero": "a bonus of nothing is none",
    "amount.enormous": "{given} is more than can be meant; the most is {limit}",
    "amount.fraction": "{given} is no whole number",
    "amount.fine": "{given} has more than six decimals",
    "amount.window": "{given} is no period; there are {choices}",
    "expiry.past": "{given} is over",
    "expiry.far": "{given} is more than ten years away",
    "period.day": "{given} is no day such as 2026-11-21",
    "period.backwards": "the period from {since} to {until} ends before it begins",
}
OF_OPTION = {
    "expires": {"period.day": "{given} is no time; there are 12h, 7d, 2w, 3m (months), and days such as 2026-12-31"},
}


class Parser(argparse.ArgumentParser):
    """Ends with one sentence where argparse would print how it is used."""

    def error(self, message: str) -> NoReturn:
        raise CannotRun(f"{cell(message, most=None)} (see `{self.prog} --help`)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Takes no option that is another verb's; argparse would leave that to the program's own parser."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def option(name: str, read: Callable[[], T]) -> T:
    """What *read* makes of an option's text; `CannotRun` says what is wrong with it."""
    try:
        return read()
    except UserError as exc:
        raise CannotRun(f"--{name}: {_sentence(exc, SENTENCES | OF_OPTION.get(name, {}))}") from exc


def _sentence(error: UserError, sentences: Mapping[str, str]) -> str:
    said = {name: cell(value) for name, value in error.values.items()}
    if "given" in said:
        said["given"] = repr(said["given"])
    if "choices" in error.values:
        said["choices"] = ", ".join(Window)
    if "unit" in error.values:
        said["limit"] = format_amount(Unit(str(error.values["unit"])), int(str(error.values["limit"])))
    return sentences[error.key].format(**said)


# --- how much


def read_amount(chosen: argparse.Namespace) -> tuple[Unit, str]:
    """Which of the options of `amount_options` was given, and its text."""
    return next((unit, text) for name, unit in UNITS.items() if (text := vars(chosen).get(name)) is not None)


def amount_options(parser: argparse.ArgumentParser, *, none: bool) -> None:
    """One of them is required. *none*: limits can be lifted, and jobs be limited."""
    group = parser.add_mutually_exclusive_group(required=True)
    lifted = ", or none" if none else ""
    group.add_argument("--pictures", metavar="N", help=f"this many{lifted}")
    group.add_argument("--dollars", metavar="X", help=f"such as 2.50{lifted}")
    if none:
        group.add_argument("--jobs", metavar="N", help=f"unfinished ones at a time{lifted}")


def format_amount(unit: Unit, amount: int | None) -> str:
    """`3 pictures`, `$0.40`, `2 jobs`, `no limit`."""
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
    """`per day`, `in total`; for jobs, `at a time`."""
    return "at a time" if window is None else "in total" if window is Window.TOTAL else f"per {window}"


def limit_name(unit: Unit, window: Window | None) -> str:
    """`pictures per day`, `jobs at a time`."""
    return f"{'dollars' if unit is Unit.MICRO_USD else UNIT_NAMES[unit]} {per(window)}"


def limit_document(rule: Rule) -> dict[str, Any]:
    return {"unit": UNIT_NAMES[rule.unit], "window": rule.window, "limit": rule.amount}


def limit_option(parser: argparse.ArgumentParser, *, default: int = 20) -> None:
    parser.add_argument("--limit", type=_limit, default=default, metavar="N", help=f"how many (default {default})")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST_LISTED):
        raise CannotRun(f"--limit takes a number from 1 to {MOST_LISTED}, not {cell(text)!r}")
    return int(text)


def window_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--per", metavar="PERIOD", help=f"{', '.join(Window)} ({text})")


def reason_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", type=_reason, metavar="TEXT", help="for the history")


def _reason(text: str) -> str | None:
    if len(text) > LONGEST_REASON:
        raise CannotRun(f"--reason has {len(text)} characters; the most is {LONGEST_REASON}")
    return storable(text) if visible(text) else None


# --- whose


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a limit is for, or whose use is looked at. *server* is 0 outside of all servers."""

    server: int
    holder: Holder
    subject: int = 0

    @property
    def outside(self) -> bool:
        return self.server == NO_SERVER

    def __str__(self) -> str:
        """`member 1 in server 5`, `server 5`, `everything outside servers`."""
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
                return f"{THINGS[self.holder]} {self.subject} {inside}"

    @property
    def document(self) -> dict[str, Any]:
        return {"server_id": some_id(self.server), "holder": self.holder, "subject_id": some_id(self.subject)}


def holder_name(holder: Holder, subject: int) -> str:
    """`member 1`, `the server`: within one server."""
    return f"{THINGS[holder]} {subject}" if holder in THINGS else WHOLE[holder]


def some_id(number: int) -> str | None:
    """Discord's ids are strings in JSON, as Discord's own; 0 is nobody in particular."""
    return str(number) if number else None


def place_options(parser: argparse.ArgumentParser, *, host: bool = False, everywhere: bool = False) -> None:
    places = parser.add_mutually_exclusive_group(required=True)
    places.add_argument("--server", type=discord_id, metavar="ID", help="this server")
    places.add_argument("--direct", action="store_true", help="everything outside servers")
    if host:
        places.add_argument("--host", action="store_true", help="everything that this Darkroom spends")
    if everywhere:
        places.add_argument("--all-servers", action="store_true", help="every server, and everything outside them")


def holder_options(parser: argparse.ArgumentParser, *holders: Holder, required: bool = False) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    for holder, thing in THINGS.items():
        if holder in holders:
            group.add_argument(f"--{thing}", type=discord_id, metavar="ID", help=f"this {thing}")
    if Holder.CAP in holders:
        group.add_argument("--cap", action="store_true", help="your own cap on that server; its admins cannot raise it")


def subject(chosen: argparse.Namespace) -> Subject:
    """Whom the options name; `CannotRun` where that is nobody."""
    given = vars(chosen)
    server = given.get("server") or NO_SERVER
    narrowed = (
        Holder.CAP if given.get("cap") else next((each for each, name in THINGS.items() if given.get(name)), None)
    )
    if given.get("host"):
        if narrowed is not None:
            raise CannotRun("--host is for everything everywhere: leave --member, --role, --channel and --cap out")
        return Subject(NO_SERVER, Holder.HOST)
    if not server and narrowed is Holder.CAP:
        raise CannotRun("--cap goes with --server: what happens outside servers is limited by --direct itself")
    if not server and narrowed is Holder.ROLE:
        raise CannotRun("--role goes with --server: there are no roles outside servers")
    if narrowed is None:
        return Subject(server, Holder.GUILD if server else Holder.DIRECT)
    return Subject(server, narrowed, given[THINGS[narrowed]] if narrowed in THINGS else 0)


# --- since when


def period_options(parser: argparse.ArgumentParser) -> None:
    words = ", ".join(amounts.PERIODS)
    parser.add_argument("--since", metavar="DAY", default="all", help=f"a day, or one of {words} (default all)")
    parser.add_argument("--until", metavar="DAY", help="the last day (default today)")


def clock(at: int | None, zone: tzinfo) -> str | None:
    """Milliseconds as `2026-11-20 13:00:00` in *zone*, which the table names."""
    return None if at is None else datetime.fromtimestamp(at // 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def period(chosen: argparse.Namespace, *, now: int, zone: tzinfo) -> tuple[int, int]:
    """From and to (UTC milliseconds, the end not included)."""
    since, until = chosen.since, chosen.until
    named = "since" if until is None else "since and --until"
    return option(named, lambda: amounts.period(since, until, now=now, zone=zone))

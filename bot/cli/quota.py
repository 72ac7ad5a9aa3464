"""`darkroom quota`: the operator sets limits, grants bonuses, resets and blocks, also while the bot runs.

Limits are read in the transaction that accepts a job: what is set here holds from the next job on.
"""

import argparse
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Any, TypeVar

from ulid import ULID

from bot.cli import quota_history, quota_show
from bot.cli.arguments import (
    UNIT_NAMES,
    Parser,
    Subject,
    amount_options,
    clock,
    format_amount,
    holder_options,
    limit_document,
    limit_name,
    option,
    per,
    place_options,
    read_amount,
    reason_option,
    some_id,
    subject,
    window_option,
)
from bot.cli.export import export, export_options
from bot.cli.output import (
    CannotRun,
    NotDone,
    cell,
    dollars,
    iso,
    json_option,
    on_database,
    plural,
    print_json,
    wall_clock,
)
from bot.core import amounts
from bot.core.quota import NO_SERVER, Amount, Block, Grant, Holder, Rule, Unit
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.store.database import Database
from bot.store.quotas import OPERATOR, By, MemberGrant, Quotas
from bot.store.store import Store

T = TypeVar("T")
EVERY_HOLDER = (Holder.USER, Holder.ROLE, Holder.CHANNEL, Holder.CAP)


def add_to(commands: Any) -> None:
    """Add `quota` to the commands of the program's parser."""
    quota = commands.add_parser("quota", help="look at limits and change them, also while the bot runs")
    verbs = quota.add_subparsers(required=True, metavar="verb", parser_class=Parser)
    quota_show.add_show(verbs)
    _add_limits(verbs)
    _add_bonuses(verbs)
    _add_blocks(verbs)
    quota_history.add_to(verbs)
    quota_show.add_settings(verbs)

    rows = verbs.add_parser("export", help="every row of the ledger as CSV")
    place_options(rows, everywhere=True)
    export_options(rows)
    rows.set_defaults(run=lambda chosen: export(chosen, None if chosen.all_servers else chosen.server or NO_SERVER))


def _add_limits(verbs: Any) -> None:
    setting = verbs.add_parser("set", help="set a limit")
    place_options(setting, host=True)
    holder_options(setting, *EVERY_HOLDER)
    amount_options(setting, none=True)
    window_option(setting, "default day; jobs have none")
    json_option(setting)
    setting.set_defaults(run=_set)

    clear = verbs.add_parser("clear", help="take limits away that were set: what is configured holds again")
    place_options(clear, host=True)
    holder_options(clear, *EVERY_HOLDER)
    units = clear.add_mutually_exclusive_group()
    for name in ("pictures", "dollars", "jobs"):
        units.add_argument(f"--{name}", action="store_true", help=f"only those on {name}")
    window_option(clear, "only those")
    json_option(clear)
    clear.set_defaults(run=_clear)


def _add_bonuses(verbs: Any) -> None:
    grant = verbs.add_parser("grant", help="give a member a bonus on top of their own limits")
    place_options(grant)
    holder_options(grant, Holder.USER, required=True)
    amount_options(grant, none=False)
    grant.add_argument("--expires", metavar="WHEN", help="12h, 7d, 2w, 3m (months), or the last day (default never)")
    reason_option(grant)
    json_option(grant)
    grant.set_defaults(run=_grant)

    revoke = verbs.add_parser("revoke", help="take back what is left of a bonus")
    place_options(revoke)
    revoke.add_argument("bonus", type=_bonus_number, metavar="BONUS", help="its number; `darkroom quota show` has it")
    reason_option(revoke)
    json_option(revoke)
    revoke.set_defaults(run=_revoke)

    reset = verbs.add_parser("reset", help="let a member, a channel or (without either) the whole server begin anew")
    place_options(reset)
    holder_options(reset, Holder.USER, Holder.CHANNEL)
    reason_option(reset)
    json_option(reset)
    reset.set_defaults(run=_reset)


def _add_blocks(verbs: Any) -> None:
    for name, text, run in (
        ("block", "let a member, role or channel make no pictures", _block),
        ("unblock", "let them make pictures again", _unblock),
    ):
        parser = verbs.add_parser(name, help=text)
        place_options(parser)
        holder_options(parser, Holder.USER, Holder.ROLE, Holder.CHANNEL, required=True)
        if run is _block:
            reason_option(parser)
        json_option(parser)
        parser.set_defaults(run=run)


def _bonus_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise CannotRun(f"{cell(text)!r} is no bonus's number; `darkroom quota show` has them")
    return int(text)


def _change(server: int, work: Callable[[Quotas, By], Awaitable[T]]) -> T:
    """Run *work*, which writes down that it was the operator."""

    async def change(database: Database) -> T:
        return await work(Quotas(database), By(str(ULID()), server, OPERATOR, wall_clock()))

    return on_database(change)


def _tell(chosen: argparse.Namespace, document: dict[str, Any], sentence: str) -> int:
    if chosen.json:
        print_json(document)
    else:
        print(sentence)
    return 0


# --- limits


def _set(chosen: argparse.Namespace) -> int:
    target, rule = subject(chosen), _rule(chosen)

    async def work(quotas: Quotas, by: By) -> None:
        await quotas.set_rule(by, rule)

    _change(target.server, work)
    limit = f"{format_amount(rule.unit, rule.amount)} {per(rule.window)}"
    if rule.amount is None:
        limit = f"no limit on {limit_name(rule.unit, rule.window)}"
    return _tell(chosen, {**target.document, **limit_document(rule)}, f"Set for {target}: {limit}.")


def _rule(chosen: argparse.Namespace) -> Rule:
    target = subject(chosen)
    unit, text = read_amount(chosen)
    amount = option(_option_of(unit), lambda: amounts.amount(text, unit))
    if unit is Unit.JOBS and chosen.per is not None:
        raise CannotRun("--jobs counts unfinished jobs at any moment: leave --per out")
    if target.holder is Holder.HOST and amount is None:
        raise CannotRun("--host only narrows what the settings allow: `darkroom quota clear --host` takes a limit away")
    window = option("per", lambda: amounts.window(unit, chosen.per))
    return Rule(target.holder, target.subject, unit, window, amount)


def _option_of(unit: Unit) -> str:
    return "dollars" if unit is Unit.MICRO_USD else UNIT_NAMES[unit]


def _clear(chosen: argparse.Namespace) -> int:
    target = subject(chosen)
    units = [unit for unit in Unit if vars(chosen)[_option_of(unit)]] or list(Unit)
    if units == [Unit.JOBS] and chosen.per is not None:
        raise CannotRun("--jobs counts unfinished jobs at any moment: leave --per out")
    window = None if chosen.per is None else option("per", lambda: amounts.window(Unit.IMAGES, chosen.per))

    async def work(quotas: Quotas, by: By) -> list[Rule]:
        found = (await quotas.overview(target.server)).rules
        wanted = [each for each in found if _is_meant(each, target, units=units, window=window)]
        return list(await quotas.clear_rules(by, wanted))

    cleared = _change(target.server, work)
    if not cleared:
        raise NotDone(f"no such limit is set for {target}")
    told = ", ".join(limit_name(each.unit, each.window) for each in cleared)
    document = {**target.document, "cleared": [limit_document(each) for each in cleared]}
    return _tell(chosen, document, f"Taken away, for {target}: the limit on {told}.")


def _is_meant(rule: Rule, target: Subject, *, units: list[Unit], window: Window | None) -> bool:
    same = (rule.holder, rule.subject) == (target.holder, target.subject)
    return same and rule.unit in units and window in (None, rule.window)


# --- bonuses and resets


def _grant(chosen: argparse.Namespace) -> int:
    target = subject(chosen)
    unit, text = read_amount(chosen)
    amount = option(_option_of(unit), lambda: amounts.bonus(text, unit))

    async def work(quotas: Quotas, by: By) -> tuple[int, int | None, tzinfo]:
        zone = zone_of(await Store(quotas.database).server_settings(target.server))
        expires_at = option("expires", lambda: amounts.expiry(chosen.expires, now=by.at, zone=zone))
        number = await quotas.grant(by, target.subject, Grant(0, unit, amount, expires_at), reason=chosen.reason)
        assert number is not None  # its id is new
        return number, expires_at, zone

    number, expires_at, zone = _change(target.server, work)
    document = {
        **target.document,
        "bonus_id": number,
        "unit": UNIT_NAMES[unit],
        "amount": amount,
        "expires_at": iso(expires_at),
    }
    until = f", until {clock(expires_at, zone)} ({zone})" if expires_at is not None else ""
    return _tell(chosen, document, f"Bonus {number} for {target}: {format_amount(unit, amount)}{until}.")


def _revoke(chosen: argparse.Namespace) -> int:
    target = subject(chosen)

    async def work(quotas: Quotas, by: By) -> MemberGrant | None:
        return await quotas.revoke(by, chosen.bonus, reason=chosen.reason)

    held = _change(target.server, work)
    if held is None:
        raise NotDone(f"there is nothing left of a bonus {chosen.bonus} in {target}")
    unit, taken = held.grant.unit, held.grant.left
    document = {
        "server_id": some_id(target.server),
        "user_id": some_id(held.user),
        "bonus_id": chosen.bonus,
        "unit": UNIT_NAMES[unit],
        "taken": taken,
    }
    return _tell(
        chosen, document, f"Taken back from member {held.user}: {format_amount(unit, taken)} of bonus {chosen.bonus}."
    )


def _reset(chosen: argparse.Namespace) -> int:
    target = subject(chosen)
    counted = Holder.GUILD if target.holder is Holder.DIRECT else target.holder  # outside of all counts as server 0

    async def work(quotas: Quotas, by: By) -> Amount | None:
        return await quotas.reset(by, counted, target.subject, reason=chosen.reason)

    taken = _change(target.server, work)
    assert taken is not None  # its id is new
    document = {**target.document, "taken": {"pictures": taken.images, "micro_usd": taken.micro_usd}}
    told = f"{plural(taken.images, 'picture')} and {dollars(taken.micro_usd)}"
    return _tell(chosen, document, f"Begun anew for {target}: {told} count no more. Unfinished jobs go on counting.")


# --- blocks


def _block(chosen: argparse.Namespace) -> int:
    target = subject(chosen)

    async def work(quotas: Quotas, by: By) -> None:
        await quotas.block(by, Block(target.holder, target.subject), reason=chosen.reason)

    _change(target.server, work)
    return _tell(chosen, {**target.document, "blocked": True}, f"Blocked: {target}.")


def _unblock(chosen: argparse.Namespace) -> int:
    target = subject(chosen)

    async def work(quotas: Quotas, by: By) -> bool:
        return await quotas.unblock(by, Block(target.holder, target.subject))

    if not _change(target.server, work):
        raise NotDone(f"{target} was not blocked")
    return _tell(chosen, {**target.document, "blocked": False}, f"Not blocked any more: {target}.")

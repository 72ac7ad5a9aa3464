"""`darkroom quota`: limits, bonuses, resets and blocks. Works while the bot runs.

Limits are read in the transaction that accepts a job, so a change applies from the next job on.
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
)
from bot.core import amounts
from bot.core.quota import NO_SERVER, Amount, Block, Grant, Holder, Rule, Unit
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.store.database import Database
from bot.store.quotas import OPERATOR, By, MemberGrant, Quotas
from bot.store.store import Store

T = TypeVar("T")
ALL_HOLDERS = (Holder.USER, Holder.ROLE, Holder.CHANNEL, Holder.CAP)


def add_to(commands: Any) -> None:
    """Add `quota` to the commands of the program's parser."""
    quota = commands.add_parser("quota", help="show and change limits, also while the bot runs")
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
    rows.set_defaults(run=lambda options: export(options, None if options.all_servers else options.server or NO_SERVER))


def _add_limits(verbs: Any) -> None:
    setting = verbs.add_parser("set", help="set a limit")
    place_options(setting, host=True)
    holder_options(setting, *ALL_HOLDERS)
    amount_options(setting, none=True)
    window_option(setting, "default day; not for jobs")
    json_option(setting)
    setting.set_defaults(run=_set)

    clear = verbs.add_parser("clear", help="remove limits, so that the configured defaults apply")
    place_options(clear, host=True)
    holder_options(clear, *ALL_HOLDERS)
    units = clear.add_mutually_exclusive_group()
    for name in ("pictures", "dollars", "jobs"):
        units.add_argument(f"--{name}", action="store_true", help=f"only limits on {name}")
    window_option(clear, "only limits of this period")
    json_option(clear)
    clear.set_defaults(run=_clear)


def _add_bonuses(verbs: Any) -> None:
    grant = verbs.add_parser("grant", help="give a member a bonus in addition to their own limits")
    place_options(grant)
    holder_options(grant, Holder.USER, required=True)
    amount_options(grant, none=False)
    grant.add_argument("--expires", metavar="WHEN", help="12h, 7d, 2w, 3m (months) or the last day (default never)")
    reason_option(grant)
    json_option(grant)
    grant.set_defaults(run=_grant)

    revoke = verbs.add_parser("revoke", help="revoke the rest of a bonus")
    place_options(revoke)
    revoke.add_argument(
        "bonus", type=_bonus_number, metavar="BONUS", help="number of the bonus, from `darkroom quota show`"
    )
    reason_option(revoke)
    json_option(revoke)
    revoke.set_defaults(run=_revoke)

    reset = verbs.add_parser("reset", help="reset the usage of a member, a channel or the whole server")
    place_options(reset)
    holder_options(reset, Holder.USER, Holder.CHANNEL)
    reason_option(reset)
    json_option(reset)
    reset.set_defaults(run=_reset)


def _add_blocks(verbs: Any) -> None:
    for name, text, run in (
        ("block", "block a member, role or channel from making pictures", _block),
        ("unblock", "remove a block", _unblock),
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
        raise CannotRun(f"{cell(text)!r} is not the number of a bonus: `darkroom quota show` lists them")
    return int(text)


def _change(server: int, work: Callable[[Quotas, By], Awaitable[T]]) -> T:
    """Run *work* on the database, with the operator recorded as the author of the change."""

    async def change(database: Database) -> T:
        return await work(Quotas(database), By(str(ULID()), server, OPERATOR, await database.now()))

    return on_database(change)


def _report(options: argparse.Namespace, document: dict[str, Any], sentence: str) -> int:
    if options.json:
        print_json(document)
    else:
        print(sentence)
    return 0


# --- limits


def _set(options: argparse.Namespace) -> int:
    target, rule = subject(options), _rule(options)

    async def work(quotas: Quotas, by: By) -> None:
        await quotas.set_rule(by, rule)

    _change(target.server, work)
    limit = f"{format_amount(rule.unit, rule.amount)} {per(rule.window)}"
    if rule.amount is None:
        limit = f"no limit on {limit_name(rule.unit, rule.window)}"
    return _report(options, {**target.document, **limit_document(rule)}, f"Set for {target}: {limit}.")


def _rule(options: argparse.Namespace) -> Rule:
    target = subject(options)
    unit, text = read_amount(options)
    amount = option(_option_of(unit), lambda: amounts.amount(text, unit))
    if unit is Unit.JOBS and options.per is not None:
        raise CannotRun("--jobs counts unfinished jobs at any moment: leave --per out")
    if target.holder is Holder.HOST and amount is None:
        raise CannotRun("--host can only lower the configured limit: `darkroom quota clear --host` removes it")
    window = option("per", lambda: amounts.window(unit, options.per))
    return Rule(target.holder, target.subject, unit, window, amount)


def _option_of(unit: Unit) -> str:
    return "dollars" if unit is Unit.MICRO_USD else UNIT_NAMES[unit]


def _clear(options: argparse.Namespace) -> int:
    target = subject(options)
    units = [unit for unit in Unit if vars(options)[_option_of(unit)]] or list(Unit)
    if units == [Unit.JOBS] and options.per is not None:
        raise CannotRun("--jobs counts unfinished jobs at any moment: leave --per out")
    window = None if options.per is None else option("per", lambda: amounts.window(Unit.IMAGES, options.per))

    async def work(quotas: Quotas, by: By) -> list[Rule]:
        found = (await quotas.overview(target.server)).rules
        wanted = [each for each in found if _is_selected(each, target, units=units, window=window)]
        return list(await quotas.clear_rules(by, wanted))

    cleared = _change(target.server, work)
    if not cleared:
        raise NotDone(f"no limit of this kind is set for {target}")
    names = ", ".join(limit_name(each.unit, each.window) for each in cleared)
    document = {**target.document, "cleared": [limit_document(each) for each in cleared]}
    return _report(options, document, f"Removed for {target}: the limit on {names}.")


def _is_selected(rule: Rule, target: Subject, *, units: list[Unit], window: Window | None) -> bool:
    same = (rule.holder, rule.subject) == (target.holder, target.subject)
    return same and rule.unit in units and window in (None, rule.window)


# --- bonuses and resets


def _grant(options: argparse.Namespace) -> int:
    target = subject(options)
    unit, text = read_amount(options)
    amount = option(_option_of(unit), lambda: amounts.bonus(text, unit))

    async def work(quotas: Quotas, by: By) -> tuple[int, int | None, tzinfo]:
        zone = zone_of(await Store(quotas.database).server_settings(target.server))
        expires_at = option("expires", lambda: amounts.expiry(options.expires, now=by.at, zone=zone))
        number = await quotas.grant(by, target.subject, Grant(0, unit, amount, expires_at), reason=options.reason)
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
    return _report(options, document, f"Bonus {number} for {target}: {format_amount(unit, amount)}{until}.")


def _revoke(options: argparse.Namespace) -> int:
    target = subject(options)

    async def work(quotas: Quotas, by: By) -> MemberGrant | None:
        return await quotas.revoke(by, options.bonus, reason=options.reason)

    held = _change(target.server, work)
    if held is None:
        raise NotDone(f"no bonus {options.bonus} is left in {target}")
    unit, taken = held.grant.unit, held.grant.left
    document = {
        "server_id": some_id(target.server),
        "user_id": some_id(held.user),
        "bonus_id": options.bonus,
        "unit": UNIT_NAMES[unit],
        "taken": taken,
    }
    return _report(
        options, document, f"Revoked from member {held.user}: {format_amount(unit, taken)} of bonus {options.bonus}."
    )


def _reset(options: argparse.Namespace) -> int:
    target = subject(options)
    counted = Holder.GUILD if target.holder is Holder.DIRECT else target.holder  # outside servers counts as server 0

    async def work(quotas: Quotas, by: By) -> Amount | None:
        return await quotas.reset(by, counted, target.subject, reason=options.reason)

    taken = _change(target.server, work)
    assert taken is not None  # its id is new
    document = {**target.document, "taken": {"pictures": taken.images, "micro_usd": taken.micro_usd}}
    usage = f"{plural(taken.images, 'picture')} and {dollars(taken.micro_usd)}"
    return _report(
        options, document, f"Usage reset for {target}: {usage} no longer count. Unfinished jobs still count."
    )


# --- blocks


def _block(options: argparse.Namespace) -> int:
    target = subject(options)

    async def work(quotas: Quotas, by: By) -> None:
        await quotas.block(by, Block(target.holder, target.subject), reason=options.reason)

    _change(target.server, work)
    return _report(options, {**target.document, "blocked": True}, f"Blocked: {target}.")


def _unblock(options: argparse.Namespace) -> int:
    target = subject(options)

    async def work(quotas: Quotas, by: By) -> bool:
        return await quotas.unblock(by, Block(target.holder, target.subject))

    if not _change(target.server, work):
        raise NotDone(f"{target} is not blocked")
    return _report(options, {**target.document, "blocked": False}, f"Unblocked: {target}.")

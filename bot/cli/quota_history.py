"""`darkroom quota history` and `quota top`: changes, spending, and the members who spent most."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from bot.cli.arguments import (
    UNIT_NAMES,
    Subject,
    clock,
    format_amount,
    holder_name,
    holder_options,
    limit_name,
    limit_option,
    option,
    per,
    place_options,
    some_id,
    subject,
    window_option,
)
from bot.cli.export import entry_document
from bot.cli.output import (
    CannotRun,
    dollars,
    iso,
    json_option,
    on_database,
    plural,
    print_json,
    print_table,
    wall_clock,
)
from bot.core import amounts
from bot.core.quota import Holder, Unit
from bot.core.windows import Window
from bot.core.zones import calendar_of, zone_of
from bot.store.database import Database
from bot.store.quotas import Change
from bot.store.reports import Entry, Reports, Spender
from bot.store.store import Store


def add_to(verbs: Any) -> None:
    history = verbs.add_parser("history", help="changes by admins and the operator, or spending")
    place_options(history)
    holder_options(history, Holder.USER, Holder.ROLE, Holder.CHANNEL, Holder.CAP)
    kinds = history.add_mutually_exclusive_group()
    kinds.add_argument("--changes", action="store_true", help="limits, bonuses, blocks, settings (the default)")
    kinds.add_argument("--spending", action="store_true", help="charges and refunds of ended jobs")
    limit_option(history)
    json_option(history)
    history.set_defaults(run=_history)

    top = verbs.add_parser("top", help="the members who spent most")
    place_options(top)
    window_option(top, "the current one; default month")
    limit_option(top, default=10)
    json_option(top)
    top.set_defaults(run=_top)


# --- history


def _history(options: argparse.Namespace) -> int:
    target = subject(options)
    if options.spending and target.holder in (Holder.ROLE, Holder.CAP):
        raise CannotRun("--spending is recorded for members, channels and servers only")

    async def read(database: Database) -> tuple[tzinfo, Sequence[Change], Sequence[Entry]]:
        zone = zone_of(await Store(database).server_settings(target.server))
        reports = Reports(database)
        if options.spending:
            return zone, [], await _spending(reports, target, limit=options.limit)
        whole = target.holder in (Holder.GUILD, Holder.DIRECT)
        changes = await reports.changes(
            target.server, holder=None if whole else target.holder, subject=target.subject, limit=options.limit
        )
        return zone, [change for change, _ in changes], []

    zone, changes, entries = on_database(read)
    when = f"at ({zone})"
    if options.json:
        print_json([*map(_change_document, changes), *map(entry_document, entries)])
    elif not changes and not entries:
        print("Nothing yet.")
    elif changes:
        heads = (when, "by", "action", "for", "what", "reason")
        print_table(heads, [_change_row(each, zone) for each in changes])
    else:
        columns = (when, "member", "channel", "job", "pictures", "paid", "bonus", "reason")
        print_table(columns, [_entry_row(each, zone) for each in entries])
    return 0


async def _spending(reports: Reports, target: Subject, *, limit: int) -> Sequence[Entry]:
    user = target.subject if target.holder is Holder.USER else None
    channel = target.subject if target.holder is Holder.CHANNEL else None
    return await reports.spending(target.server, user=user, channel=channel, limit=limit)


def _change_row(change: Change, zone: tzinfo) -> Sequence[object]:
    by = f"admin {change.actor}" if change.actor else "operator"
    subject = holder_name(change.holder, change.subject)
    return clock(change.at, zone), by, change.action, subject, _describe(change, zone), change.body.get("reason")


def _describe(change: Change, zone: tzinfo) -> str | None:
    body = change.body
    match change.action:
        case "set":
            return _describe_rule(body)
        case "clear":
            return ", ".join(limit_name(*_unit_window(each)) for each in body.get("rules", ()))
        case "grant" | "revoke":
            until = f", until {clock(body['expires_at'], zone)}" if body.get("expires_at") else ""
            return format_amount(Unit(body["unit"]), body["amount"]) + until
        case "reset":
            total = body.get("taken", {}).get("total", {"images": 0, "micro_usd": 0})
            return f"{plural(total['images'], 'picture')}, {dollars(total['micro_usd'])} in all"
        case "settings":
            return json.dumps(body, ensure_ascii=False)
        case _:
            return None


def _describe_rule(body: Mapping[str, Any]) -> str:
    unit, window = _unit_window(body)
    if body["amount"] is None:
        return f"no limit on {limit_name(unit, window)}"
    return f"{format_amount(unit, body['amount'])} {per(window)}"


def _unit_window(body: Mapping[str, Any]) -> tuple[Unit, Window | None]:
    return Unit(body["unit"]), Window(body["window"]) if body["window"] else None


def _entry_row(entry: Entry, zone: tzinfo) -> Sequence[object]:
    paid = dollars(entry.micro_usd) if entry.kind == "settle" else "nothing"
    return (clock(entry.at, zone), entry.user, entry.channel or None, entry.job, entry.images, paid,
            entry.bonus_images or None, entry.reason)  # fmt: skip


def _change_document(change: Change) -> dict[str, Any]:
    return {
        "id": change.id,
        "at": iso(change.at),
        "actor_id": some_id(change.actor),
        "action": change.action,
        "holder": change.holder,
        "subject_id": some_id(change.subject),
        "body": {name: _plain(name, each) for name, each in change.body.items()},
    }


def _plain(name: str, value: Any) -> Any:
    """Convert a history entry's values to the names and time format of the other JSON documents."""
    if isinstance(value, Mapping):
        return {"pictures" if key == "images" else key: _plain(key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(name, each) for each in value]
    if name == "unit":
        return UNIT_NAMES[Unit(value)]
    return iso(value) if name.endswith("_at") else value


# --- top


def _top(options: argparse.Namespace) -> int:
    target = subject(options)
    window = option("per", lambda: amounts.window(Unit.IMAGES, options.per or Window.MONTH)) or Window.MONTH

    async def read(database: Database) -> tuple[str, tzinfo, Sequence[Spender]]:
        calendar = calendar_of(await Store(database).server_settings(target.server))
        bucket = calendar.moment(wall_clock()).buckets[window]
        return bucket, calendar.zone, await Reports(database).top(target.server, bucket, limit=options.limit)

    bucket, zone, spenders = on_database(read)
    if options.json:
        print_json(_top_document(target, window, bucket=bucket, zone=zone, spenders=spenders))
    elif not spenders:
        print(f"No spending in {bucket} ({zone}).")
    else:
        print(f"{bucket} ({zone})")
        print_table(
            ("member", "spent", "pictures", "reserved", "pictures reserved"), [_spender_row(each) for each in spenders]
        )
    return 0


def _spender_row(each: Spender) -> Sequence[object]:
    spent, held = each.spent, each.reserved
    return each.user, dollars(spent.micro_usd), spent.images, dollars(held.micro_usd), held.images


def _top_document(
    target: Subject, window: Window, *, bucket: str, zone: tzinfo, spenders: Iterable[Spender]
) -> dict[str, Any]:
    return {
        "server_id": some_id(target.server),
        "window": window,
        "bucket": bucket,
        "timezone": str(zone),
        "members": [
            {
                "user_id": some_id(each.user),
                "pictures": each.spent.images,
                "micro_usd": each.spent.micro_usd,
                "held_pictures": each.reserved.images,
                "held_micro_usd": each.reserved.micro_usd,
            }
            for each in spenders
        ],
    }

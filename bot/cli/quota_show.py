"""`darkroom quota show` and `quota settings show`: limits with their usage, and the settings of a server."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

from bot.cli.arguments import (
    UNIT_NAMES,
    Subject,
    clock,
    format_amount,
    holder_name,
    holder_options,
    limit_document,
    limit_name,
    place_options,
    some_id,
    subject,
)
from bot.cli.output import iso, json_option, on_database, plural, print_facts, print_json, print_table
from bot.core.jobs import Place
from bot.core.quota import NO_SERVER, Allowance, Block, Holder, Limits, Rule, Scope, Unit, allowances
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.zones import zone_of
from bot.settings.settings import Settings
from bot.store.database import Database
from bot.store.quotas import MemberGrant, Quotas
from bot.store.store import Store

OWN_SCOPES = {  # the scopes whose limits belong to a holder alone
    Holder.USER: {Scope.USER},
    Holder.ROLE: set[Scope](),  # roles have no usage
    Holder.CHANNEL: {Scope.CHANNEL},
    Holder.GUILD: {Scope.GUILD, Scope.CAP},
    Holder.DIRECT: {Scope.DIRECT},
    Holder.CAP: {Scope.CAP},
    Holder.HOST: {Scope.HOST},
}
ROLES_NOTE = "A role of this member may allow more; roles are known to Discord only."


@dataclass(frozen=True, slots=True)
class Overview:
    """The output of `show`: the limits in effect with their usage, and the rules, blocks and bonuses that were set."""

    target: Subject
    at: int
    server_settings: ServerSettings
    limits: Sequence[Allowance]
    rules: Sequence[Rule]
    blocks: Sequence[Block]
    bonuses: Sequence[MemberGrant]
    roles: bool  # some role of this server has limits


def add_show(verbs: Any) -> None:
    show = verbs.add_parser("show", help="limits in effect and their usage")
    place_options(show, host=True)
    holder_options(show, Holder.USER, Holder.ROLE, Holder.CHANNEL, Holder.CAP)
    json_option(show)
    show.set_defaults(run=_show)


def add_settings(verbs: Any) -> None:
    settings = verbs.add_parser("settings", help="settings of a server")
    looks = settings.add_subparsers(required=True, metavar="verb")
    show = looks.add_parser("show", help="timezone, channels and models")
    place_options(show)
    json_option(show)
    show.set_defaults(run=_settings)


# --- show


def _show(options: argparse.Namespace) -> int:
    target, limits = subject(options), Settings.load().quota.limits()

    async def read(database: Database) -> Overview:
        return await _read_overview(database, target, limits=limits, now=await database.now())

    overview = on_database(read)
    if options.json:
        print_json(_overview_document(overview))
    else:
        _print_overview(overview)
    return 0


async def _read_overview(database: Database, target: Subject, *, limits: Limits, now: int) -> Overview:
    place = Place(
        user_id=target.subject if target.holder is Holder.USER else 0,
        channel_id=target.subject if target.holder is Holder.CHANNEL else 0,
        guild_id=target.server or None,
    )
    standing = await Store(database).quota_status(place, limits=limits, now=now)
    own = [each for each in standing.limits if each.scope in OWN_SCOPES[target.holder]]
    quotas = Quotas(database)
    overview = await quotas.overview(target.server, now=now)
    bonuses: Sequence[MemberGrant] = ()
    if target.holder in (Holder.USER, Holder.GUILD, Holder.DIRECT):
        bonuses = await quotas.grants(target.server, user=target.subject or None, now=now)
    return Overview(
        target=target,
        at=now,
        server_settings=standing.server_settings,
        limits=list(allowances(own, standing.used)),
        rules=[each for each in overview.rules if _applies_to(target, each)],
        blocks=[each for each in overview.blocks if _applies_to(target, each)],
        bonuses=bonuses,
        roles=any(each.holder is Holder.ROLE for each in overview.rules),
    )


def _applies_to(target: Subject, set_: Rule | Block) -> bool:
    if target.holder in (Holder.GUILD, Holder.DIRECT):  # everything there
        return set_.holder is not Holder.HOST
    return (set_.holder, set_.subject) == (target.holder, target.subject)


def _print_overview(overview: Overview) -> None:
    zone = _zone(overview)
    print(f"{str(overview.target)[0].upper()}{str(overview.target)[1:]}")
    if overview.limits:
        print()
        print_table(
            ("limit", "amount", "used", "left", f"resets at ({zone})"),
            [_allowance_row(each, zone) for each in overview.limits],
        )
    if overview.target.holder is Holder.USER and overview.roles:
        print(f"\n{ROLES_NOTE}")
    if overview.rules:
        print("\nRules:")
        print_table(("for", "limit", "amount"), [_rule_row(each) for each in overview.rules])
    if overview.blocks:
        print("\nBlocked:")
        print("\n".join(holder_name(each.holder, each.subject) for each in overview.blocks))
    if overview.bonuses:
        print("\nBonuses:")
        heads = ("bonus", "member", "left", f"until ({zone})")
        print_table(heads, [_bonus_row(each, zone) for each in overview.bonuses])
    if not (overview.limits or overview.rules or overview.blocks or overview.bonuses):
        print("Nothing is set.")


def _allowance_row(each: Allowance, zone: tzinfo) -> Sequence[object]:
    unit = Unit(each.unit)
    name = f"{limit_name(unit, each.window)}{' (your cap)' if each.scope is Scope.CAP else ''}"
    amounts = (format_amount(unit, one) for one in (each.limit, each.used, each.left))
    return name, *amounts, clock(each.resets_at, zone)


def _rule_row(rule: Rule) -> Sequence[object]:
    return (
        holder_name(rule.holder, rule.subject),
        limit_name(rule.unit, rule.window),
        format_amount(rule.unit, rule.amount),
    )


def _bonus_row(held: MemberGrant, zone: tzinfo) -> Sequence[object]:
    grant = held.grant
    return grant.id, held.user, format_amount(grant.unit, grant.left), clock(grant.expires_at, zone)


def _overview_document(overview: Overview) -> dict[str, Any]:
    return {
        **overview.target.document,
        "at": iso(overview.at),
        "timezone": str(_zone(overview)),
        "limits": [_allowance_document(each) for each in overview.limits],
        "set": [
            {"holder": each.holder, "subject_id": some_id(each.subject), **limit_document(each)}
            for each in overview.rules
        ],
        "blocked": [{"holder": each.holder, "subject_id": some_id(each.subject)} for each in overview.blocks],
        "bonuses": [_bonus_document(each) for each in overview.bonuses],
    }


def _allowance_document(each: Allowance) -> dict[str, Any]:
    return {
        "name": each.name,
        "scope": each.scope,
        "unit": UNIT_NAMES[Unit(each.unit)],
        "window": each.window,
        "limit": each.limit,
        "used": each.used,
        "left": each.left,
        "resets_at": iso(each.resets_at),
    }


def _bonus_document(held: MemberGrant) -> dict[str, Any]:
    grant = held.grant
    return {
        "bonus_id": grant.id,
        "user_id": some_id(held.user),
        "unit": UNIT_NAMES[grant.unit],
        "left": grant.left,
        "expires_at": iso(grant.expires_at),
    }


def _zone(overview: Overview) -> tzinfo:
    """Return the timezone of the periods: UTC for the operator's own limits, else the server's."""
    return UTC if overview.target.holder in (Holder.HOST, Holder.CAP) else zone_of(overview.server_settings)


# --- settings


def _settings(options: argparse.Namespace) -> int:
    server = options.server or NO_SERVER

    async def read(database: Database) -> ServerSettings:
        return await Store(database).server_settings(server)

    server_settings = on_database(read)
    if options.json:
        print_json({"server_id": some_id(server), **_settings_document(server_settings)})
        return 0
    facts = [
        ("timezone", server_settings.timezone),
        ("alerts", f"channel {server_settings.alerts}" if server_settings.alerts else "off"),
        ("allowed channels", _ids(server_settings.allowed) or "all"),
        ("denied channels", _ids(server_settings.denied)),
        (
            "channel ceilings",
            ", ".join(f"channel {channel}: {_ceiling(cap)}" for channel, cap in server_settings.caps.items()),
        ),
        ("hidden models", ", ".join(server_settings.models)),
    ]
    print_facts([(name, value or None) for name, value in facts])
    return 0


def _ids(channels: Iterable[int]) -> str:
    return ", ".join(map(str, channels))


def _ceiling(cap: ChannelCeiling) -> str:
    return " and ".join([*filter(None, [cap.resolution]), *([plural(cap.count, "picture")] if cap.count else [])])


def _settings_document(server_settings: ServerSettings) -> dict[str, Any]:
    return {
        "timezone": server_settings.timezone,
        "alerts_channel_id": some_id(server_settings.alerts or 0),
        "allowed_channel_ids": [str(each) for each in server_settings.allowed],
        "denied_channel_ids": [str(each) for each in server_settings.denied],
        "caps": [
            {"channel_id": str(channel), "resolution": cap.resolution, "pictures": cap.count}
            for channel, cap in server_settings.caps.items()
        ],
        "models_left_out": list(server_settings.models),
    }

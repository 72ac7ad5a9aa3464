"""Draws the replies of `/quota`: the limits that apply to a target and their sources, and what was changed. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from discord import ui

from bot.core.catalog import Quote
from bot.core.quota import (
    Allowance,
    Block,
    Grant,
    Holder,
    Idle,
    Limit,
    Rule,
    Scope,
    Unit,
    Used,
    allowances,
    deciding,
    idle,
    pictures_in,
)
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.ui.cards.components import BLURPLE, YELLOW, box, page, paragraph, small
from bot.ui.cards.escape import show
from bot.ui.cards.quota_text import per
from bot.ui.cards.targets import Target, belonging_to, mention
from bot.ui.cards.texts import Words, moment, relative
from bot.ui.cards.usage import bar

MAX_REASON_LENGTH = 200
MAX_LIMITS_LENGTH = 1500  # characters of one part of a page; all parts together stay below Discord's 4,000
MAX_RULES_LENGTH = 1100
MAX_OTHERS_LENGTH = 500
MAX_NOTES_LENGTH = 800
MAX_IDLE = 3  # limits without effect that are named
WINDOWS = (None, *Window)
UNITS = (Unit.JOBS, Unit.IMAGES, Unit.MICRO_USD)


@dataclass(frozen=True, slots=True)
class QuotaView:
    """A target's rules, usage and grants from one snapshot.

    *rules* and *blocks* are the whole server's, *defaults* the configuration's. *limits*: all limits that apply to the
    target, including the operator's.
    """

    server: int
    target: Target
    server_settings: ServerSettings
    rules: Sequence[Rule]
    blocks: Sequence[Block]
    defaults: Sequence[Rule]
    used: Used
    limits: Sequence[Limit] = ()
    grants: Sequence[Grant] = ()

    @property
    def blocked_by(self) -> Sequence[Block]:
        """The blocks that apply to the target: its own, and those of a member's roles."""
        own, roles = belonging_to(self.target, self.blocks), self.target.roles
        return [each for each in self.blocks if each in own or (each.holder is Holder.ROLE and each.subject in roles)]

    def with_rule(self, rule: Rule) -> "QuotaView":
        """This view after *rule* has been set."""
        return replace(self, rules=[*(each for each in self.rules if _key(each) != _key(rule)), rule])

    def without_rules(self, removed: Iterable[Rule]) -> "QuotaView":
        keys = {_key(each) for each in removed}
        return replace(self, rules=[each for each in self.rules if _key(each) not in keys])

    def without_block(self, block: Block) -> "QuotaView":
        return replace(self, blocks=[each for each in self.blocks if each != block])


@dataclass(frozen=True, slots=True)
class PicturePrice:
    """What one picture by the default *model*, a display name, costs."""

    model: str
    quote: Quote


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit that applies to a target, or that was lifted (*amount* None). *set_by* None: the configured default."""

    scope: Scope
    unit: Unit
    window: Window | None
    amount: int | None
    set_by: Rule | None
    allowance: Allowance | None = None  # None: no limit, or nothing counts in it


def limit_lines(view: QuotaView) -> Sequence[LimitLine]:
    """The limits that apply to the target, narrowest scope first, each with its source."""
    scopes, applying = _scopes(view.target), [each for each in view.rules if _applies(each, view.target)]
    lines = [
        LimitLine(each.holder.scope, each.unit, each.window, each.amount, each if each in applying else None)
        for each in deciding(view.defaults, applying, roles=view.target.roles)
        if each.holder.scope in scopes
    ]
    return [_with_allowance(each, view) for each in lines if each.set_by is not None or each.amount is not None]


def _scopes(target: Target) -> Sequence[Scope]:
    own = target.holder.scope
    return (own,) if target.holder is Holder.ROLE else (own, Scope.GUILD, Scope.CAP)


def _applies(rule: Rule, target: Target) -> bool:
    if rule.holder in (Holder.GUILD, Holder.CAP):
        return True
    if rule.holder is Holder.ROLE:
        return rule.subject in target.roles
    return (rule.holder, rule.subject) == (target.holder, target.subject)


def _with_allowance(line: LimitLine, view: QuotaView) -> LimitLine:
    if line.amount is None or view.target.holder is Holder.ROLE:
        return line
    limit = Limit(line.scope, line.unit, line.window, line.amount)
    return replace(line, allowance=next(iter(allowances([limit], view.used))))


def made_idle(rule: Rule, view: QuotaView, *, picture: PicturePrice | None) -> list[Idle]:
    """The limits without effect after *rule* is set: *rule* itself, or limits that had one in *view*."""
    of_host = [Rule(Holder.HOST, 0, each.unit, each.window, each.amount)
               for each in view.limits if each.scope is Scope.HOST]  # fmt: skip
    price, roles = picture.quote.micro_usd if picture else 0, view.target.roles
    rules = [*view.rules, *of_host]
    return list(idle(rule, defaults=view.defaults, rules=rules, everyone=view.server, roles=roles, price=price))


def _key(rule: Rule) -> tuple[Holder, int, Unit, Window | None]:
    return rule.holder, rule.subject, rule.unit, rule.window


# --- words


def what(words: Words, unit: Unit, window: Window | None) -> str:
    """`pictures a day`."""
    name = words.say(f"limits.what.{unit}")
    return name if window is None else words.say("limits.per", amount=name, each=words.say(f"limits.each.{window}"))


def amount(words: Words, unit: Unit, number: int | None) -> str:
    if number is None:
        return words.say("quota.unlimited")
    return words.money(number) if unit is Unit.MICRO_USD else str(number)


def left(words: Words, grant: Grant) -> str:
    return words.money(grant.left) if grant.unit is Unit.MICRO_USD else words.say("card.asked", count=grant.left)


def bonus(words: Words, grant: Grant) -> str:
    if grant.expires_at is None:
        return words.say("quota.bonus_lasting", amount=left(words, grant))
    return words.say("quota.bonus_until", amount=left(words, grant), when=relative(grant.expires_at))


def blocked(words: Words, block: Block, *, server: int) -> str:
    who = mention(block.holder, block.subject, words, server=server)
    if block.until is None:
        return words.say("quota.blocked", who=who)
    return words.say("quota.blocked_until", who=who, when=moment(block.until))


def idle_notes(words: Words, rule: Rule, view: QuotaView, *, picture: PicturePrice | None) -> list[str]:
    """Warnings that *rule*, or limits set before it, have no effect once it is set in *view*."""
    found = made_idle(rule, view, picture=picture)
    new, others = [each for each in found if each.rule == rule], [each for each in found if each.rule != rule]
    notes = [words.say("quota.idle.new", limit=_named_limit(words, each.first, view)) for each in new]
    if others:
        named = [_named_limit(words, each.rule, view) for each in others[:MAX_IDLE]]
        named += [words.say("quota.more", count=len(others) - MAX_IDLE)] if len(others) > MAX_IDLE else []
        notes.append(words.say("quota.idle.others", count=len(others), limits=", ".join(named)))
    return [*notes, *_worth(words, [*new, *others], picture)]


def _named_limit(words: Words, rule: Rule, view: QuotaView) -> str:
    """`**$1.00 per day** (bot default)`."""
    text = per(words, rule.unit, rule.amount or 0, window=rule.window)
    return words.say("quota.idle.limit", limit=text, source=_idle_source(words, rule, view))


def _idle_source(words: Words, rule: Rule, view: QuotaView) -> str:
    if rule.holder in (Holder.CAP, Holder.HOST):
        return words.say(f"quota.from.{rule.holder}")
    if rule in view.defaults and rule not in view.rules:
        return words.say("quota.from.default_guild" if rule.holder is Holder.GUILD else "quota.from.default")
    if rule.holder is Holder.ROLE:
        role = mention(Holder.ROLE, rule.subject, words, server=view.server)
        return words.say("quota.from.role", role=role)
    if rule.holder is Holder.GUILD or (rule.holder, rule.subject) == (view.target.holder, view.target.subject):
        return words.say(f"quota.from.{rule.holder}")
    return words.say("quota.from.someone", who=mention(rule.holder, rule.subject, words, server=view.server))


def _worth(words: Words, found: Sequence[Idle], picture: PicturePrice | None) -> Iterator[str]:
    """How many pictures fit in the limit in dollars that is reached first, or else in one without effect."""
    rules = [*(each.first for each in found), *(each.rule for each in found)]
    limit = next((each for each in rules if each.unit is Unit.MICRO_USD), None)
    pictures = pictures_in(limit, price=picture.quote.micro_usd) if limit and picture else None
    if limit and picture and pictures is not None:
        yield words.say(
            "quota.idle.worth",
            model=show(picture.model, max_length=60),
            price=words.money(picture.quote.micro_usd, about=picture.quote.estimated),
            limit=per(words, limit.unit, limit.amount or 0, window=limit.window),
            pictures=words.say("card.asked", count=pictures),
        )


def change(words: Words, rule: Rule, *, before: QuotaView, after: Rule | None) -> str:
    """`pictures a day: 10 → 25`, from the amount that was set or inherited to the new one (*after*, None: removed)."""
    own = next((each for each in before.rules if _key(each) == _key(rule)), None)
    new = words.say("quota.unset") if after is None else amount(words, rule.unit, after.amount)
    old = _inherited(words, rule, before) if own is None else amount(words, rule.unit, own.amount)
    return words.say("quota.change", what=what(words, rule.unit, rule.window), before=old, after=new)


def _inherited(words: Words, rule: Rule, before: QuotaView) -> str:
    line = inherited(rule, before)
    if line is None:
        return words.say("quota.unset")
    return words.say("quota.unset_until", amount=amount(words, rule.unit, line.amount))


def inherited(rule: Rule, before: QuotaView) -> LimitLine | None:
    """The limit that applies in place of *rule* as long as that is not set; None if there is none."""
    key = (rule.holder.scope, rule.unit, rule.window)
    return next((each for each in limit_lines(before) if (each.scope, each.unit, each.window) == key), None)


# --- pages


def changed(
    words: Words,
    key: str,
    view: QuotaView,
    *,
    lines: Sequence[str] = (),
    notes: Sequence[str] = (),
    marked: Rule | None = None,
    show_limits: bool = True,
) -> ui.LayoutView:
    """The reply to a change: *lines* about it, *notes*, the next commands, and the limits now if *show_limits*.

    *key* is one of `quota.done`; *marked* is the rule to mark as changed.
    """
    target = view.target
    who = mention(target.holder, target.subject, words, server=view.server)
    head = [
        f"### {words.say(f'quota.done.{key}')}",
        f"**{who}**",
        *_fit(words, lines, max_length=MAX_OTHERS_LENGTH * 2),
    ]
    hints = small(words.say(f"quota.next.{key}"))
    limits = [_format_line(words, each, view, marked=marked) for each in limit_lines(view)] if show_limits else []
    body = [words.say("quota.now_holds"), *_fit(words, limits, max_length=MAX_LIMITS_LENGTH)] if limits else []
    parts = [head, body, [*_fit(words, notes, max_length=MAX_NOTES_LENGTH), hints]]
    return page(box(*(paragraph(*each) for each in parts if any(each)), colour=BLURPLE))


def overview_of_one(words: Words, view: QuotaView) -> ui.LayoutView:
    """The overview of a member, role or channel: blocks, limits with their sources, and bonuses."""
    target = view.target
    who = mention(target.holder, target.subject, words, server=view.server)
    head = [words.say("quota.title", who=who)]
    if not target.here:
        head.append(words.say(f"quota.gone.{target.holder}"))
    blocks_shown = [blocked(words, each, server=view.server) for each in view.blocked_by]
    limits = [_format_line(words, each, view) for each in limit_lines(view)] or [words.say("quota.no_limits")]
    bonuses = [bonus(words, each) for each in view.grants]
    parts = [
        head,
        _fit(words, blocks_shown, max_length=MAX_OTHERS_LENGTH),
        _fit(words, limits, max_length=MAX_LIMITS_LENGTH),
        [words.say("quota.bonuses"), *_fit(words, bonuses, max_length=MAX_OTHERS_LENGTH)] if bonuses else [],
        _channel_restrictions(words, view),
        [small(words.say(f"quota.next.show_{target.holder}"))],
    ]
    colour = YELLOW if view.blocked_by else BLURPLE
    return page(box(*(paragraph(*each) for each in parts if any(each)), colour=colour))


def overview_of_server(words: Words, view: QuotaView, *, bonuses: int) -> ui.LayoutView:
    """The overview of a server: limits with usage, rules and blocks. *bonuses*: the number of unspent grants."""
    limits = [_format_line(words, each, view) for each in limit_lines(view)] or [words.say("quota.no_limits")]
    others = [each for each in view.rules if each.holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL)]
    rules = [_rule(words, each, server=view.server) for each in sorted(others, key=_order)]
    blocks = [mention(each.holder, each.subject, words, server=view.server) for each in view.blocks]
    server_settings = [words.say("quota.timezone", zone=show(view.server_settings.timezone, max_length=60))]
    server_settings += [words.say("quota.active", count=bonuses)] if bonuses else []
    parts = [
        [words.say("quota.title", who=words.say("limits.whose.guild"))],
        _fit(words, limits, max_length=MAX_LIMITS_LENGTH),
        [words.say("quota.rules"), *(_fit(words, rules, max_length=MAX_RULES_LENGTH) or [words.say("quota.no_rules")])],
        [words.say("quota.blocks"), *_fit(words, blocks, max_length=MAX_OTHERS_LENGTH)] if blocks else [],
        [*server_settings, small(words.say("quota.next.show_guild"))],
    ]
    return page(box(*(paragraph(*each) for each in parts if any(each)), colour=BLURPLE))


def _format_line(words: Words, line: LimitLine, view: QuotaView, *, marked: Rule | None = None) -> str:
    own = line.scope is view.target.holder.scope
    name = what(words, line.unit, line.window)
    name = name if own else f"{words.say(f'limits.whose.{line.scope}')} · {name}"
    marker = "✏️ " if marked is not None and line.set_by == marked else ""
    source = "" if line.scope is Scope.CAP else _source(words, line, server=view.server)
    if line.allowance is None:
        return _join(f"{marker}**{name}: {amount(words, line.unit, line.amount)}**", source)
    return f"{_join(f'{marker}**{name}**', source)}\n{_bar(words, line.allowance, now=view.used.now)}"


def _source(words: Words, line: LimitLine, *, server: int) -> str:
    if line.set_by is None:
        return words.say("quota.from.default")
    if line.set_by.holder is Holder.ROLE:
        return words.say("quota.from.role", role=mention(Holder.ROLE, line.set_by.subject, words, server=server))
    return words.say(f"quota.from.{line.set_by.holder}")


def _bar(words: Words, allowance: Allowance, *, now: int) -> str:
    unit = Unit(allowance.unit)
    numbers = {name: amount(words, unit, getattr(allowance, name)) for name in ("used", "limit", "left")}
    resets = allowance.resets_at
    again = words.say("usage.resets", when=relative(resets)) if resets is not None and resets > now else ""
    return _join(f"`{bar(allowance.used, allowance.limit)}` {words.say('quota.used', **numbers)}", again)


def _rule(words: Words, rule: Rule, *, server: int) -> str:
    who = mention(rule.holder, rule.subject, words, server=server)
    return f"{who} · {what(words, rule.unit, rule.window)}: **{amount(words, rule.unit, rule.amount)}**"


def _order(rule: Rule) -> tuple[int, int, int, int]:
    holders = (Holder.ROLE, Holder.CHANNEL, Holder.USER)
    return holders.index(rule.holder), rule.subject, WINDOWS.index(rule.window), UNITS.index(rule.unit)


def _channel_restrictions(words: Words, view: QuotaView) -> list[str]:
    """How the server's settings restrict a channel."""
    if view.target.holder is not Holder.CHANNEL:
        return []
    channel = (view.target.subject,)
    cap = view.server_settings.ceiling(channel)
    return [
        "" if view.server_settings.allows(channel) else words.say("quota.house.closed"),
        ""
        if cap.resolution is None
        else words.say("quota.house.resolution", limit=show(cap.resolution, max_length=20)),
        "" if cap.count is None else words.say("quota.house.count", limit=words.say("card.asked", count=cap.count)),
    ]


def _fit(words: Words, lines: Sequence[str], *, max_length: int) -> list[str]:
    """The first *lines* that fit in *max_length* characters, and how many are left out."""
    kept: list[str] = []
    room = max_length
    for each in lines:
        room -= len(each) + 1
        if room < 0:
            return [*kept, small(words.say("quota.more", count=len(lines) - len(kept)))]
        kept.append(each)
    return kept


def _join(*facts: str) -> str:
    return " · ".join(each for each in facts if each)

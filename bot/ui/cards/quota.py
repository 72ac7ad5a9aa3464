"""Draws what admins see of quotas: what holds for somebody and why, and what a command of theirs has changed. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from discord import ui

from bot.core.quota import (
    Allowance,
    Block,
    Grant,
    Holder,
    Limit,
    Rule,
    Scope,
    Unit,
    Used,
    allowances,
)
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.ui.cards.components import BLURPLE, YELLOW, box, page, paragraph, small
from bot.ui.cards.escape import show
from bot.ui.cards.quota_text import per
from bot.ui.cards.targets import Target, about, mention
from bot.ui.cards.texts import Words, relative
from bot.ui.cards.usage import bar

MOST_REASON = 200
MOST_LIMITS = 1500  # characters of one part of a page; all parts together stay below Discord's 4,000
MOST_RULES = 1100
MOST_OTHERS = 500
SCOPES = (Scope.USER, Scope.CHANNEL, Scope.GUILD, Scope.CAP)
SPANS = (None, *Window)
UNITS = (Unit.JOBS, Unit.IMAGES, Unit.MICRO_USD)


@dataclass(frozen=True, slots=True)
class QuotaView:
    """What is known of a target, from one moment. *limits* are those that hold there, the host's among them."""

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
        """The blocks that stop the target: its own, and those of a member's roles."""
        own, roles = about(self.target, self.blocks), self.target.roles
        return [each for each in self.blocks if each in own or (each.holder is Holder.ROLE and each.subject in roles)]

    def having(self, rule: Rule) -> "QuotaView":
        """The same once *rule* has been set."""
        return replace(self, rules=[*(each for each in self.rules if _key(each) != _key(rule)), rule])

    def without(self, gone: Iterable[Rule]) -> "QuotaView":
        keys = {_key(each) for each in gone}
        return replace(self, rules=[each for each in self.rules if _key(each) not in keys])

    def freed(self, block: Block) -> "QuotaView":
        return replace(self, blocks=[each for each in self.blocks if each != block])


@dataclass(frozen=True, slots=True)
class Line:
    """A limit that holds for a target, or that somebody has lifted; *set_by* None is the operator's configuration."""

    scope: Scope
    unit: Unit
    window: Window | None
    amount: int | None
    set_by: Rule | None
    allowance: Allowance | None = None  # None: no limit, or nothing counts in it


def lines(look: QuotaView) -> Sequence[Line]:
    """What holds for the target, narrowest first, each with where it comes from."""
    found: dict[tuple[Scope, Unit, Window | None], tuple[int | None, Rule | None]] = {}
    scopes = _scopes(look.target)
    for each in look.defaults:
        found[each.holder.scope, each.unit, each.window] = (each.amount, None)
    for each in sorted(filter(lambda one: _concerns(one, look.target), look.rules), key=_rank):
        found[each.holder.scope, each.unit, each.window] = (each.amount, each)
    kept = [(key, held) for key, held in found.items() if key[0] in scopes and (held[1] or held[0] is not None)]
    kept.sort(key=lambda one: (SCOPES.index(one[0][0]), SPANS.index(one[0][2]), UNITS.index(one[0][1])))
    return [_line(Line(*key, *held), look) for key, held in kept]


def _scopes(target: Target) -> Sequence[Scope]:
    own = target.holder.scope
    return (own,) if target.holder is Holder.ROLE else (own, Scope.GUILD, Scope.CAP)


def _concerns(rule: Rule, target: Target) -> bool:
    if rule.holder in (Holder.GUILD, Holder.CAP):
        return True
    if rule.holder is Holder.ROLE:
        return rule.subject in target.roles
    return (rule.holder, rule.subject) == (target.holder, target.subject)


def _rank(rule: Rule) -> tuple[bool, bool, int]:
    """Last is what counts: a member's own after their roles', of these the best."""
    return rule.holder is not Holder.ROLE, rule.amount is None, rule.amount or 0


def _line(line: Line, look: QuotaView) -> Line:
    if line.amount is None or look.target.holder is Holder.ROLE:
        return line
    limit = Limit(line.scope, line.unit, line.window, line.amount)
    return replace(line, allowance=next(iter(allowances([limit], look.used))))


def ceilings(rule: Rule, look: QuotaView) -> Iterator[Limit]:
    """Wider limits that what *rule* allows cannot pass: the server's, the operator's, the host's."""
    above = {Scope.CAP, Scope.HOST} if rule.holder is Holder.GUILD else {Scope.GUILD, Scope.CAP, Scope.HOST}
    for each in look.limits:
        holds = each.unit is rule.unit and SPANS.index(each.window) >= SPANS.index(rule.window)
        if each.scope in above and holds and (rule.amount is None or each.amount < rule.amount):
            yield each


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
    return words.say("quota.blocked", who=mention(block.holder, block.subject, words, server=server))


def ceiling(words: Words, limit: Limit) -> str:
    told = per(words, limit.unit, limit.amount, window=limit.window)
    return words.say("quota.above", whose=words.say(f"limits.whose.{limit.scope}"), limit=told)


def change(words: Words, rule: Rule, *, before: QuotaView, after: Rule | None) -> str:
    """`pictures a day: 10 → 25`, from what was set or held without being set."""
    own = next((each for each in before.rules if _key(each) == _key(rule)), None)
    new = words.say("quota.unset") if after is None else amount(words, rule.unit, after.amount)
    old = _held(words, rule, before) if own is None else amount(words, rule.unit, own.amount)
    return words.say("quota.change", what=what(words, rule.unit, rule.window), before=old, after=new)


def _held(words: Words, rule: Rule, before: QuotaView) -> str:
    for each in lines(before):
        if (each.scope, each.unit, each.window) == (rule.holder.scope, rule.unit, rule.window):
            return words.say("quota.unset_until", amount=amount(words, rule.unit, each.amount))
    return words.say("quota.unset")


# --- pages


def changed(
    words: Words,
    key: str,
    look: QuotaView,
    *,
    told: Sequence[str] = (),
    notes: Sequence[str] = (),
    marked: Rule | None = None,
    held: bool = True,
) -> ui.LayoutView:
    """What a command has done to whom, what can be done next, and (*held*) what holds now."""
    target = look.target
    who = mention(target.holder, target.subject, words, server=look.server)
    head = [f"### {words.say(f'quota.done.{key}')}", f"**{who}**", *_cut(words, told, most=MOST_OTHERS * 2)]
    hints = small(words.say(f"quota.next.{key}"))
    holding = [_told(words, each, look, marked=marked) for each in lines(look)] if held else []
    body = [words.say("quota.now_holds"), *_cut(words, holding, most=MOST_LIMITS)] if holding else []
    parts = [head, body, [*_cut(words, notes, most=MOST_OTHERS), hints]]
    return page(box(*(paragraph(*each) for each in parts if any(each)), colour=BLURPLE))


def overview_of_one(words: Words, look: QuotaView) -> ui.LayoutView:
    """A member, role or channel: what holds for it and why, bonuses, and whether it is blocked."""
    target = look.target
    who = mention(target.holder, target.subject, words, server=look.server)
    head = [words.say("quota.title", who=who)]
    if not target.here:
        head.append(words.say(f"quota.gone.{target.holder}"))
    stops = [blocked(words, each, server=look.server) for each in look.blocked_by]
    held = [_told(words, each, look) for each in lines(look)] or [words.say("quota.no_limits")]
    bonuses = [bonus(words, each) for each in look.grants]
    parts = [
        head,
        _cut(words, stops, most=MOST_OTHERS),
        _cut(words, held, most=MOST_LIMITS),
        [words.say("quota.bonuses"), *_cut(words, bonuses, most=MOST_OTHERS)] if bonuses else [],
        _house(words, look),
        [small(words.say(f"quota.next.show_{target.holder}"))],
    ]
    colour = YELLOW if look.blocked_by else BLURPLE
    return page(box(*(paragraph(*each) for each in parts if any(each)), colour=colour))


def overview_of_server(words: Words, look: QuotaView, *, bonuses: int) -> ui.LayoutView:
    """All that is set in a server, and what it has used. *bonuses* is how many are left to its members."""
    held = [_told(words, each, look) for each in lines(look)] or [words.say("quota.no_limits")]
    others = [each for each in look.rules if each.holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL)]
    rules = [_rule(words, each, server=look.server) for each in sorted(others, key=_order)]
    blocks = [mention(each.holder, each.subject, words, server=look.server) for each in look.blocks]
    server_settings = [words.say("quota.timezone", zone=show(look.server_settings.timezone, most=60))]
    server_settings += [words.say("quota.active", count=bonuses)] if bonuses else []
    parts = [
        [words.say("quota.title", who=words.say("limits.whose.guild"))],
        _cut(words, held, most=MOST_LIMITS),
        [words.say("quota.rules"), *(_cut(words, rules, most=MOST_RULES) or [words.say("quota.no_rules")])],
        [words.say("quota.blocks"), *_cut(words, blocks, most=MOST_OTHERS)] if blocks else [],
        [*server_settings, small(words.say("quota.next.show_guild"))],
    ]
    return page(box(*(paragraph(*each) for each in parts if any(each)), colour=BLURPLE))


def _told(words: Words, line: Line, look: QuotaView, *, marked: Rule | None = None) -> str:
    own = line.scope is look.target.holder.scope
    name = what(words, line.unit, line.window)
    name = name if own else f"{words.say(f'limits.whose.{line.scope}')} · {name}"
    star = "✏️ " if marked is not None and line.set_by == marked else ""
    source = "" if line.scope is Scope.CAP else _source(words, line, server=look.server)
    if line.allowance is None:
        return _dots(f"{star}**{name}: {amount(words, line.unit, line.amount)}**", source)
    return f"{_dots(f'{star}**{name}**', source)}\n{_bar(words, line.allowance, now=look.used.now)}"


def _source(words: Words, line: Line, *, server: int) -> str:
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
    return _dots(f"`{bar(allowance.used, allowance.limit)}` {words.say('quota.used', **numbers)}", again)


def _rule(words: Words, rule: Rule, *, server: int) -> str:
    who = mention(rule.holder, rule.subject, words, server=server)
    return f"{who} · {what(words, rule.unit, rule.window)}: **{amount(words, rule.unit, rule.amount)}**"


def _order(rule: Rule) -> tuple[int, int, int, int]:
    holders = (Holder.ROLE, Holder.CHANNEL, Holder.USER)
    return holders.index(rule.holder), rule.subject, SPANS.index(rule.window), UNITS.index(rule.unit)


def _house(words: Words, look: QuotaView) -> list[str]:
    """How the server's own settings narrow a channel."""
    if look.target.holder is not Holder.CHANNEL:
        return []
    channel = (look.target.subject,)
    cap = look.server_settings.ceiling(channel)
    return [
        "" if look.server_settings.opens(channel) else words.say("quota.house.closed"),
        "" if cap.resolution is None else words.say("quota.house.resolution", limit=show(cap.resolution, most=20)),
        "" if cap.count is None else words.say("quota.house.count", limit=words.say("card.asked", count=cap.count)),
    ]


def _cut(words: Words, told: Sequence[str], *, most: int) -> list[str]:
    """As many of the lines as fit in *most* characters, and how many are left out."""
    kept: list[str] = []
    room = most
    for each in told:
        room -= len(each) + 1
        if room < 0:
            return [*kept, small(words.say("quota.more", count=len(told) - len(kept)))]
        kept.append(each)
    return kept


def _dots(*facts: str) -> str:
    return " · ".join(each for each in facts if each)

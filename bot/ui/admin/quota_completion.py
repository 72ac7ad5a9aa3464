"""What the options of `/quota` are completed with: what is in force, what has been set, what is blocked.

Offered is only what exists in the admin's own server, also of members, roles and channels that are gone from it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bot.core import amounts
from bot.core.errors import UserError
from bot.core.quota import Holder, Rule, Scope, Unit
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.jobs.build import Services
from bot.store.quotas import HeldGrant
from bot.ui.admin.base import AdminAction
from bot.ui.admin.quota_targets import SERVER, SET_HERE, block_value, plain_mention, rule_value, target_of
from bot.ui.cards import quota as quota_cards
from bot.ui.cards.targets import about

BONUS = "bonus"
COUNTED = 100  # bonuses of a server
ROUND = {
    Unit.IMAGES: ("5", "10", "25", "50", "100", "250", "1000"),
    Unit.MICRO_USD: ("0.50", "1.00", "5.00", "10.00", "25.00", "50.00", "100.00"),
    Unit.JOBS: ("1", "2", "3", "5", "10"),
}
DAYS = (1, 7, 30, 90)
NONE = "none"
NEVER = "never"
Offered = Sequence[tuple[str, str]]


class RuleChoices:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._quotas = services.quotas

    async def rules(self, act: AdminAction) -> Sequence[HeldGrant]:
        """Bonuses that are left to the member named, or to all."""
        target = target_of(act)
        if target.holder not in (Holder.USER, Holder.GUILD):
            return ()
        user = target.subject if target.holder is Holder.USER else None
        return await self._quotas.grants(act.server, user=user, now=self._services.clock(), limit=COUNTED)

    async def amounts(self, act: AdminAction, typed: str) -> Offered:
        try:
            unit, target = unit_of(act, default=Unit.IMAGES), target_of(act)
            window = amounts.window(unit, act.given.get("per"))
        except UserError:
            return []
        now = await self._in_force(act, Rule(target.holder, target.subject, unit, window, None))
        shown = [(act.words.say("quota.as_now", amount=_shown(act, unit, now)), now)] if now else []
        shown += [(_shown(act, unit, each), each) for each in ROUND[unit] if each != now]
        offered = _matching([*shown, (act.words.say("quota.unlimited"), NONE)], typed)
        try:
            return [(_shown(act, unit, typed), typed.strip()), *offered] if typed.strip() else offered
        except UserError:  # not yet an amount, or never one
            return offered

    async def _in_force(self, act: AdminAction, wanted: Rule) -> str | None:
        """What is set now, or configured where nothing is, as it would be typed; None where a role may decide."""
        overview = await self._quotas.overview(act.server)
        alike = [each for each in overview.rules if _slot(each) == _slot(wanted)]
        own = [each for each in alike if rule_value(each) == rule_value(wanted)]
        configured = [each for each in self._services.limits.rules(guild=True) if _slot(each) == _slot(wanted)]
        by_role = any(each.holder is Holder.ROLE for each in alike)
        found = next(iter(own or ([] if by_role else configured)), None)
        if found is None:
            return None
        if found.amount is None:
            return NONE
        return _plain_number(found.amount, found.unit)

    async def limits(self, act: AdminAction, typed: str) -> Offered:
        """Rules that are there, also of what was deleted, and bonuses that are left."""
        target = target_of(act)
        overview = await self._quotas.overview(act.server)
        rules = [each for each in overview.rules if each.holder in SET_HERE]
        rules = rules if target == SERVER else [each for each in rules if about(target, [each])]
        offered = [(_named(act, each), rule_value(each)) for each in rules]
        for each in await self.rules(act):
            left = quota_cards.left(act.words, each.grant)
            bonus = act.words.say("quota.bonus_of", who=plain_mention(Holder.USER, each.user, act), amount=left)
            offered.append((bonus, f"{BONUS}:{each.grant.id}"))
        return _matching(offered, typed)

    async def blocks(self, act: AdminAction, typed: str) -> Offered:
        target = target_of(act)
        overview = await self._quotas.overview(act.server)
        blocks = [each for each in overview.blocks if target == SERVER or about(target, [each])]
        return _matching([(plain_mention(each.holder, each.subject, act), block_value(each)) for each in blocks], typed)

    async def expiries(self, act: AdminAction, typed: str) -> Offered:
        zone = zone_of((await self._quotas.overview(act.server)).server_settings)
        today = datetime.fromtimestamp(act.received_at / 1000, zone).date()
        month = ((today.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)).isoformat()
        words = act.words
        offered = [(words.say("quota.days", count=days), f"{days}d") for days in DAYS]
        offered += [(words.say("quota.month_end", day=month), month), (words.say("quota.never"), NEVER)]
        return _matching(offered, typed)


def _named(act: AdminAction, rule: Rule) -> str:
    number = quota_cards.amount(act.words, rule.unit, rule.amount)
    told = f"{quota_cards.what(act.words, rule.unit, rule.window)}: {number}"
    return f"{plain_mention(rule.holder, rule.subject, act)} · {told}"


def _slot(rule: Rule) -> tuple[Scope, Unit, Window | None]:
    return rule.holder.scope, rule.unit, rule.window


def _plain_number(number: int, unit: Unit) -> str:
    if unit is not Unit.MICRO_USD:
        return str(number)
    whole, _, rest = f"{Decimal(number) / 1_000_000:.6f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def _shown(act: AdminAction, unit: Unit, text: str) -> str:
    return quota_cards.amount(act.words, unit, amounts.amount(text, unit))


def _matching(offered: Offered, typed: str) -> Offered:
    """What contains the letters typed; everything as long as nothing does."""
    looked_for = typed.strip().casefold()
    found = [each for each in offered if looked_for in each[0].casefold() or looked_for in each[1].casefold()]
    return found or offered


def unit_of(act: AdminAction, *, default: Unit | None = None) -> Unit:
    given = act.given.get("unit") or default
    if given not in list(Unit):
        raise UserError("admin.choice", given=given)
    return Unit(given)

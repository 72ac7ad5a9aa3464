"""Autocompletion for the options of `/quota`: amounts, limits and bonuses, blocks and expiry dates.

Choices come only from the admin's own server. They include members, roles and channels that are gone from it.
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
from bot.store.quotas import MemberGrant
from bot.ui.admin.permissions import AdminAction
from bot.ui.admin.quota_targets import ADMIN_HOLDERS, SERVER, block_value, plain_mention, rule_value, target_of
from bot.ui.cards import quota as quota_cards
from bot.ui.cards.targets import belonging_to

BONUS = "bonus"
MAX_GRANTS = 100  # read for one server
SUGGESTED_AMOUNTS = {
    Unit.IMAGES: ("5", "10", "25", "50", "100", "250", "1000"),
    Unit.MICRO_USD: ("0.50", "1.00", "5.00", "10.00", "25.00", "50.00", "100.00"),
    Unit.JOBS: ("1", "2", "3", "5", "10"),
}
DAYS = (1, 7, 30, 90)  # suggested lifetimes of a bonus
NONE = "none"
NEVER = "never"
Choices = Sequence[tuple[str, str]]


class RuleChoices:
    """Completes options with what exists in the server. Choices are pairs of label and value."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._quotas = services.quotas

    async def grants(self, action: AdminAction) -> Sequence[MemberGrant]:
        """The unspent bonuses of the member in the options, or of all members if no target is given."""
        target = target_of(action)
        if target.holder not in (Holder.USER, Holder.GUILD):
            return ()
        user = target.subject if target.holder is Holder.USER else None
        return await self._quotas.grants(action.server, user=user, now=self._services.clock(), limit=MAX_GRANTS)

    async def amounts(self, action: AdminAction, typed: str) -> Choices:
        try:
            unit, target = unit_of(action, default=Unit.IMAGES), target_of(action)
            window = amounts.window(unit, action.given.get("per"))
        except UserError:
            return []
        now = await self._in_force(action, Rule(target.holder, target.subject, unit, window, None))
        shown = [(action.words.say("quota.as_now", amount=_formatted(action, unit, now)), now)] if now else []
        shown += [(_formatted(action, unit, each), each) for each in SUGGESTED_AMOUNTS[unit] if each != now]
        offered = _matching([*shown, (action.words.say("quota.unlimited"), NONE)], typed)
        try:
            return [(_formatted(action, unit, typed), typed.strip()), *offered] if typed.strip() else offered
        except UserError:  # what is typed so far is not an amount
            return offered

    async def _in_force(self, action: AdminAction, wanted: Rule) -> str | None:
        """The limit's amount now, as it would be typed: the rule set here, or the bot's default if there is none.

        None if there is neither, or if a role's rule may apply.
        """
        overview = await self._quotas.overview(action.server)
        alike = [each for each in overview.rules if _limit_key(each) == _limit_key(wanted)]
        own = [each for each in alike if rule_value(each) == rule_value(wanted)]
        configured = [
            each for each in self._services.limits.rules(guild=True) if _limit_key(each) == _limit_key(wanted)
        ]
        by_role = any(each.holder is Holder.ROLE for each in alike)
        rule = next(iter(own or ([] if by_role else configured)), None)
        if rule is None:
            return None
        return NONE if rule.amount is None else _plain_number(rule.amount, rule.unit)

    async def limits(self, action: AdminAction, typed: str) -> Choices:
        """The rules that `/quota clear` can remove, and unspent bonuses."""
        target = target_of(action)
        overview = await self._quotas.overview(action.server)
        rules = [each for each in overview.rules if each.holder in ADMIN_HOLDERS]
        rules = rules if target == SERVER else [each for each in rules if belonging_to(target, [each])]
        offered = [(_rule_label(action, each), rule_value(each)) for each in rules]
        for each in await self.grants(action):
            left = quota_cards.left(action.words, each.grant)
            bonus = action.words.say("quota.bonus_of", who=plain_mention(Holder.USER, each.user, action), amount=left)
            offered.append((bonus, f"{BONUS}:{each.grant.id}"))
        return _matching(offered, typed)

    async def blocks(self, action: AdminAction, typed: str) -> Choices:
        target = target_of(action)
        overview = await self._quotas.overview(action.server, now=action.received_at)
        blocks = [each for each in overview.blocks if target == SERVER or belonging_to(target, [each])]
        return _matching(
            [(plain_mention(each.holder, each.subject, action), block_value(each)) for each in blocks], typed
        )

    async def expiries(self, action: AdminAction, typed: str) -> Choices:
        zone = zone_of((await self._quotas.overview(action.server)).server_settings)
        today = datetime.fromtimestamp(action.received_at / 1000, zone).date()
        month = ((today.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)).isoformat()
        words = action.words
        offered = [(words.say("quota.days", count=days), f"{days}d") for days in DAYS]
        offered += [(words.say("quota.month_end", day=month), month), (words.say("quota.never"), NEVER)]
        return _matching(offered, typed)


def _rule_label(action: AdminAction, rule: Rule) -> str:
    number = quota_cards.amount(action.words, rule.unit, rule.amount)
    limit = f"{quota_cards.what(action.words, rule.unit, rule.window)}: {number}"
    return f"{plain_mention(rule.holder, rule.subject, action)} · {limit}"


def _limit_key(rule: Rule) -> tuple[Scope, Unit, Window | None]:
    return rule.holder.scope, rule.unit, rule.window


def _plain_number(number: int, unit: Unit) -> str:
    """A count, or micro-dollars as dollars with at least two decimals."""
    if unit is not Unit.MICRO_USD:
        return str(number)
    whole, _, rest = f"{Decimal(number) / 1_000_000:.6f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def _formatted(action: AdminAction, unit: Unit, text: str) -> str:
    return quota_cards.amount(action.words, unit, amounts.amount(text, unit))


def _matching(offered: Choices, typed: str) -> Choices:
    """The choices whose label or value contains *typed*; all of them if none does."""
    wanted = typed.strip().casefold()
    matching = [each for each in offered if wanted in each[0].casefold() or wanted in each[1].casefold()]
    return matching or offered


def unit_of(action: AdminAction, *, default: Unit | None = None) -> Unit:
    """The option `unit`; `UserError` if it is neither given nor valid and there is no *default*."""
    given = action.given.get("unit") or default
    if given not in list(Unit):
        raise UserError("admin.choice", given=given)
    return Unit(given)

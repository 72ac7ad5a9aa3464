"""The admins' commands `/quota show, set, clear, grant, reset, block, unblock`.

Each reads the current state, writes once, and replies with the target, the old and new values and the limits now.
"""

from collections.abc import Sequence

import discord
from discord import app_commands

from bot.core import amounts
from bot.core.catalog import RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Place, Verb
from bot.core.quota import Amount, Block, Grant, Holder, Rule, Unit
from bot.core.server_settings import ServerSettings, default_model
from bot.core.visible import visible
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.ui.admin.permissions import CHANNEL, Admin, AdminAction, Option
from bot.ui.admin.quota_completion import BONUS, MAX_GRANTS, RuleChoices, unit_of
from bot.ui.admin.quota_targets import SERVER, require_present, rule_value, target_from_choice, target_of
from bot.ui.cards import quota as quota_cards
from bot.ui.cards.escape import show
from bot.ui.cards.quota import MAX_REASON_LENGTH, PicturePrice, QuotaView
from bot.ui.cards.quota_text import sums
from bot.ui.cards.targets import Target, belonging_to
from bot.ui.interactions.timeouts import database_timeout

SAMPLE_PROMPT = "a picture"  # long enough for every provider
REASON = app_commands.Range[str, 1, MAX_REASON_LENGTH]


class QuotaCommands:
    """Registers and runs the commands."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._responder = admin.responder
        self._services = admin.services
        self._quotas = admin.services.quotas
        self._choices = RuleChoices(admin.services)

    def add_to(self, group: app_commands.Group) -> None:
        member, role = Option("member", discord.User), Option("role", discord.Role)
        channel, reason = Option("channel", CHANNEL), Option("reason", REASON)
        targets = (member, role, channel)
        units = tuple((self._admin.localized(f"admin_choice.{each}"), each.value) for each in Unit)
        windows = tuple((self._admin.localized(f"admin_choice.{each}"), each.value) for each in Window)
        add = self._admin.add
        add(group, "show", self._show, options=targets)
        number = Option("amount", required=True, complete=self._choices.amounts)
        unit, per = Option("unit", required=True, choices=units), Option("per", choices=windows)
        add(group, "set", self._set, options=(unit, number, per, *targets))
        add(group, "clear", self._clear, options=(*targets, Option("limit", complete=self._choices.limits)))
        one, size = Option("member", discord.User, required=True), Option("amount", required=True)
        paid = Option("unit", choices=units[:2])
        expires = Option("expires", complete=self._choices.expiries)
        add(group, "grant", self._grant, options=(one, size, paid, expires, reason))
        add(group, "reset", self._reset, options=(member, channel, reason))
        add(group, "block", self._block, options=(*targets, reason))
        add(group, "unblock", self._unblock, options=(*targets, Option("blocked", complete=self._choices.blocks)))

    # --- reading

    async def _show(self, action: AdminAction) -> None:
        view = await self._view(action, target_of(action))
        if view.target != SERVER:
            page = quota_cards.overview_of_one(action.words, view)
        else:
            async with database_timeout("busy"):
                left = await self._quotas.grants(action.server, now=self._responder.clock(), limit=MAX_GRANTS)
            page = quota_cards.overview_of_server(action.words, view, bonuses=len(left))
        await self._responder.reply_privately(action.interaction, page)

    async def _view(self, action: AdminAction, target: Target, *, error_key: str = "busy") -> QuotaView:
        user = target.subject if target.holder is Holder.USER else 0
        channel = target.subject if target.holder is Holder.CHANNEL else 0
        place = Place(user, channel, action.server, roles=target.roles)
        async with database_timeout(error_key):
            overview = await self._quotas.overview(action.server, now=action.received_at)
            status = await self._services.usage.quota_status(place)
        return QuotaView(
            server=action.server,
            target=target,
            server_settings=overview.server_settings,
            rules=overview.rules,
            blocks=overview.blocks,
            defaults=tuple(self._services.limits.rules(guild=True)),
            used=status.used,
            limits=status.limits,
            grants=status.grants if user else (),
        )

    # --- limits

    async def _set(self, action: AdminAction) -> None:
        target, unit = require_present(target_of(action)), unit_of(action)
        window = amounts.window(unit, action.given.get("per"))
        rule = Rule(target.holder, target.subject, unit, window, amounts.amount(action.given["amount"], unit))
        before = await self._view(action, target)
        inherited = quota_cards.inherited(rule, before)
        notes = quota_cards.idle_notes(action.words, rule, before, picture=self._picture_price(before.server_settings))
        async with database_timeout("admin.unsure"):
            await self._quotas.set_rule(action.by, rule, inherited=inherited.amount if inherited else None)
        if target.holder in (Holder.ROLE, Holder.GUILD):
            notes.append(action.words.say(f"quota.note.{target.holder}"))
        lines = [quota_cards.change(action.words, rule, before=before, after=rule)]
        await self._reply(action, "set", before.with_rule(rule), lines=lines, notes=notes, marked=rule)

    def _picture_price(self, server_settings: ServerSettings) -> PicturePrice | None:
        """The price of one picture by the server's default model, with its default options; None if there is none."""
        offered = self._services.offered
        model = default_model(server_settings, offered, Verb.IMAGINE)
        if model is None:
            return None
        try:
            request = offered.request(
                model, Verb.IMAGINE, prompt=SAMPLE_PROMPT, asked=RequestedOptions(), drawn_seed=0
            )  # fmt: skip
            return PicturePrice(offered.models[model].name, self._services.routing.quote(request))
        except UserError:  # no provider has the model's defaults
            return None

    async def _clear(self, action: AdminAction) -> None:
        choice = (action.given.get("limit") or "").strip()
        if choice.startswith(f"{BONUS}:"):
            await self._revoke(action, choice)
            return
        target = target_from_choice(action, choice) if choice else target_of(action)
        before = await self._view(action, target)
        own = [each for each in before.rules if belonging_to(target, [each])]
        rules = [each for each in own if not choice or rule_value(each) == choice]
        if not rules:
            raise UserError("admin.nothing_set")
        async with database_timeout("admin.unsure"):
            cleared = await self._quotas.clear_rules(action.by, rules)
        lines = [quota_cards.change(action.words, each, before=before, after=None) for each in cleared]
        await self._reply(
            action, "clear", before.without_rules(rules), lines=lines, show_limits=_knows_roles(action, target)
        )

    async def _revoke(self, action: AdminAction, choice: str) -> None:
        """Revoke what is left of a bonus. The option `member`, if given, must name its owner."""
        async with database_timeout("busy"):
            grants = await self._choices.grants(action)
        held = next((each for each in grants if f"{BONUS}:{each.grant.id}" == choice), None)
        if held is None:
            raise UserError("admin.choice", given=choice)
        target = target_from_choice(action, f"{Holder.USER}:{held.user}")
        async with database_timeout("admin.unsure"):
            revoked = await self._quotas.revoke(action.by, held.grant.id)
        if revoked is None:
            raise UserError("admin.nothing_set")
        view = await self._view(action, target, error_key="admin.unsure")
        lines = [action.words.say("quota.revoked", bonus=quota_cards.bonus(action.words, revoked.grant))]
        await self._reply(action, "revoke", view, lines=lines, show_limits=_knows_roles(action, target))

    # --- bonuses and resets

    async def _grant(self, action: AdminAction) -> None:
        target, unit = require_present(target_of(action)), unit_of(action, default=Unit.IMAGES)
        left = amounts.bonus(action.given["amount"], unit)
        before = await self._view(action, target)
        zone = zone_of(before.server_settings)
        ends = amounts.expiry(action.given.get("expires"), now=action.received_at, zone=zone)
        grant, reason = Grant(0, unit, left, ends), _reason(action)
        async with database_timeout("admin.unsure"):
            await self._quotas.grant(action.by, target.subject, grant, reason=reason)
        words = action.words
        lines = [words.say("quota.granted", bonus=quota_cards.bonus(words, grant)), *_reason_lines(action)]
        if before.grants:
            lines += [words.say("quota.earlier"), *(quota_cards.bonus(words, each) for each in before.grants)]
        notes = [words.say("quota.note.blocked")] if before.blocked_by else []
        await self._reply(action, "grant", before, lines=lines, notes=notes)

    async def _reset(self, action: AdminAction) -> None:
        target = require_present(target_of(action))
        if target == SERVER:
            raise UserError("admin.reset")
        async with database_timeout("admin.unsure"):
            taken = await self._quotas.reset(action.by, target.holder, target.subject, reason=_reason(action))
        if taken is None:  # Discord delivered the interaction twice; the first delivery is answered
            return
        view = await self._view(action, target, error_key="admin.unsure")
        amount = action.words.say("quota.taken", amount=sums(action.words, taken))
        lines = [amount if taken != Amount() else action.words.say("quota.untouched")]
        await self._reply(action, "reset", view, lines=[*lines, *_reason_lines(action)])

    # --- blocks

    async def _block(self, action: AdminAction) -> None:
        target = require_present(target_of(action))
        if target == SERVER:
            raise UserError("admin.block")
        block = Block(target.holder, target.subject)
        before = await self._view(action, target)
        if block in before.blocks:
            raise UserError("admin.blocked_already")
        async with database_timeout("admin.unsure"):
            await self._quotas.block(action.by, block, reason=_reason(action))
        everyone = target.holder is Holder.ROLE and target.subject == action.server
        lines = [action.words.say("quota.blocked_all" if everyone else f"quota.blocked_now.{target.holder}")]
        await self._reply(action, "block", before, lines=[*lines, *_reason_lines(action)], show_limits=False)

    async def _unblock(self, action: AdminAction) -> None:
        choice = (action.given.get("blocked") or "").strip()
        target = target_from_choice(action, choice) if choice else target_of(action)
        if target == SERVER:
            raise UserError("admin.unblock")
        block = Block(target.holder, target.subject)
        before = await self._view(action, target)
        if block not in before.blocks:
            raise UserError("admin.not_blocked")
        async with database_timeout("admin.unsure"):
            await self._quotas.unblock(action.by, block)
        after = before.without_block(block)
        others = [quota_cards.blocked(action.words, each, server=action.server) for each in after.blocked_by]
        lines = [action.words.say("quota.unblocked"), *others]
        await self._reply(action, "unblock", after, lines=lines, show_limits=_knows_roles(action, target))

    async def _reply(
        self,
        action: AdminAction,
        key: str,
        view: QuotaView,
        *,
        lines: Sequence[str],
        notes: Sequence[str] = (),
        marked: Rule | None = None,
        show_limits: bool = True,
    ) -> None:
        page = quota_cards.changed(
            action.words, key, view, lines=lines, notes=notes, marked=marked, show_limits=show_limits
        )
        await self._responder.reply_privately(action.interaction, page)


def _knows_roles(action: AdminAction, target: Target) -> bool:
    """Whether the limits that apply to *target* can be shown: a member's roles come only with the option `member`."""
    return target.holder is not Holder.USER or action.given.get("member") is not None


def _reason(action: AdminAction) -> str | None:
    """The reason as typed; None if it has no visible character."""
    given = action.given.get("reason")
    return given if given and visible(given) else None


def _reason_lines(action: AdminAction) -> list[str]:
    reason = _reason(action)
    return [action.words.say("quota.because", reason=show(reason, max_length=MAX_REASON_LENGTH * 2))] if reason else []

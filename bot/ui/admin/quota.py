"""The commands with which admins see and change quotas: `/quota show, set, clear, grant, reset, block, unblock`.

Each reads what is there first, writes once, and says what changed, for whom, from what to what, and what holds now.
"""

from collections.abc import Sequence

import discord
from discord import app_commands

from bot.core import amounts
from bot.core.errors import UserError
from bot.core.jobs import Place
from bot.core.quota import Amount, Block, Grant, Holder, Rule, Unit
from bot.core.visible import visible
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.ui.admin.base import CHANNEL, Admin, AdminAction, Option
from bot.ui.admin.quota_completion import BONUS, COUNTED, RuleChoices, unit_of
from bot.ui.admin.quota_targets import SERVER, present, rule_value, target_from_choice, target_of
from bot.ui.cards import quota as quota_cards
from bot.ui.cards.escape import show
from bot.ui.cards.quota import MOST_REASON, QuotaView
from bot.ui.cards.quota_text import sums
from bot.ui.cards.targets import Target, about
from bot.ui.interactions.timeouts import database_timeout

REASON = app_commands.Range[str, 1, MOST_REASON]


class QuotaCommands:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._responder = admin.responder
        self._services = admin.services
        self._quotas = admin.services.quotas
        self._choices = RuleChoices(admin.services)

    def add_to(self, group: app_commands.Group) -> None:
        member, role = Option("member", discord.User), Option("role", discord.Role)
        channel, reason = Option("channel", CHANNEL), Option("reason", REASON)
        whom = (member, role, channel)
        units = tuple((self._admin.said(f"admin_choice.{each}"), each.value) for each in Unit)
        spans = tuple((self._admin.said(f"admin_choice.{each}"), each.value) for each in Window)
        add = self._admin.add
        add(group, "show", self._show, options=whom)
        number = Option("amount", required=True, complete=self._choices.amounts)
        unit, per = Option("unit", required=True, choices=units), Option("per", choices=spans)
        add(group, "set", self._set, options=(unit, number, per, *whom))
        add(group, "clear", self._clear, options=(*whom, Option("limit", complete=self._choices.limits)))
        one, size = Option("member", discord.User, required=True), Option("amount", required=True)
        paid = Option("unit", choices=units[:2])
        expires = Option("expires", complete=self._choices.expiries)
        add(group, "grant", self._grant, options=(one, size, paid, expires, reason))
        add(group, "reset", self._reset, options=(member, channel, reason))
        add(group, "block", self._block, options=(*whom, reason))
        add(group, "unblock", self._unblock, options=(*whom, Option("blocked", complete=self._choices.blocks)))

    # --- looking

    async def _show(self, act: AdminAction) -> None:
        look = await self._look(act, target_of(act))
        if look.target != SERVER:
            view = quota_cards.overview_of_one(act.words, look)
        else:
            async with database_timeout("busy"):
                left = await self._quotas.grants(act.server, now=self._responder.clock(), limit=COUNTED)
            view = quota_cards.overview_of_server(act.words, look, bonuses=len(left))
        await self._responder.reply_privately(act.interaction, view)

    async def _look(self, act: AdminAction, target: Target, *, trouble: str = "busy") -> QuotaView:
        user = target.subject if target.holder is Holder.USER else 0
        channel = target.subject if target.holder is Holder.CHANNEL else 0
        place = Place(user, channel, act.server, roles=target.roles)
        async with database_timeout(trouble):
            overview = await self._quotas.overview(act.server)
            standing = await self._services.usage.quota_status(place)
        return QuotaView(
            server=act.server,
            target=target,
            server_settings=overview.server_settings,
            rules=overview.rules,
            blocks=overview.blocks,
            defaults=tuple(self._services.limits.rules(guild=True)),
            used=standing.used,
            limits=standing.limits,
            grants=standing.grants if user else (),
        )

    # --- limits

    async def _set(self, act: AdminAction) -> None:
        target, unit = present(target_of(act)), unit_of(act)
        window = amounts.window(unit, act.given.get("per"))
        rule = Rule(target.holder, target.subject, unit, window, amounts.amount(act.given["amount"], unit))
        before = await self._look(act, target)
        async with database_timeout("admin.unsure"):
            await self._quotas.set_rule(act.by, rule)
        notes = [quota_cards.ceiling(act.words, each) for each in quota_cards.ceilings(rule, before)]
        if target.holder in (Holder.ROLE, Holder.GUILD):
            notes.append(act.words.say(f"quota.note.{target.holder}"))
        told = [quota_cards.change(act.words, rule, before=before, after=rule)]
        await self._tell(act, "set", before.having(rule), told=told, notes=notes, marked=rule)

    async def _clear(self, act: AdminAction) -> None:
        wanted = (act.given.get("limit") or "").strip()
        if wanted.startswith(f"{BONUS}:"):
            await self._revoke(act, wanted)
            return
        target = target_from_choice(act, wanted) if wanted else target_of(act)
        before = await self._look(act, target)
        own = [each for each in before.rules if about(target, [each])]
        found = [each for each in own if not wanted or rule_value(each) == wanted]
        if not found:
            raise UserError("admin.nothing_set")
        async with database_timeout("admin.unsure"):
            gone = await self._quotas.clear_rules(act.by, found)
        told = [quota_cards.change(act.words, each, before=before, after=None) for each in gone]
        await self._tell(act, "clear", before.without(found), told=told, held=_knows_roles(act, target))

    async def _revoke(self, act: AdminAction, wanted: str) -> None:
        """Take back what is left of a bonus; the member's option, where it is given, must be its owner."""
        async with database_timeout("busy"):
            held = await self._choices.rules(act)
        found = next((each for each in held if f"{BONUS}:{each.grant.id}" == wanted), None)
        if found is None:
            raise UserError("admin.choice", given=wanted)
        target = target_from_choice(act, f"{Holder.USER}:{found.user}")
        async with database_timeout("admin.unsure"):
            revoked = await self._quotas.revoke(act.by, found.grant.id)
        if revoked is None:
            raise UserError("admin.nothing_set")
        look = await self._look(act, target, trouble="admin.unsure")
        told = [act.words.say("quota.revoked", bonus=quota_cards.bonus(act.words, revoked.grant))]
        await self._tell(act, "revoke", look, told=told, held=_knows_roles(act, target))

    # --- bonuses and resets

    async def _grant(self, act: AdminAction) -> None:
        target, unit = present(target_of(act)), unit_of(act, default=Unit.IMAGES)
        left = amounts.bonus(act.given["amount"], unit)
        before = await self._look(act, target)
        zone = zone_of(before.server_settings)
        ends = amounts.expiry(act.given.get("expires"), now=act.received_at, zone=zone)
        grant, reason = Grant(0, unit, left, ends), _reason(act)
        async with database_timeout("admin.unsure"):
            await self._quotas.grant(act.by, target.subject, grant, reason=reason)
        words = act.words
        told = [words.say("quota.granted", bonus=quota_cards.bonus(words, grant)), *_because(act)]
        if before.grants:
            told += [words.say("quota.earlier"), *(quota_cards.bonus(words, each) for each in before.grants)]
        notes = [words.say("quota.note.blocked")] if before.blocked_by else []
        await self._tell(act, "grant", before, told=told, notes=notes)

    async def _reset(self, act: AdminAction) -> None:
        target = present(target_of(act))
        if target == SERVER:
            raise UserError("admin.reset")
        async with database_timeout("admin.unsure"):
            taken = await self._quotas.reset(act.by, target.holder, target.subject, reason=_reason(act))
        if taken is None:  # delivered twice: the other one answers
            return
        look = await self._look(act, target, trouble="admin.unsure")
        off = act.words.say("quota.taken", amount=sums(act.words, taken))
        told = [off if taken != Amount() else act.words.say("quota.untouched")]
        await self._tell(act, "reset", look, told=[*told, *_because(act)])

    # --- blocks

    async def _block(self, act: AdminAction) -> None:
        target = present(target_of(act))
        if target == SERVER:
            raise UserError("admin.block")
        block = Block(target.holder, target.subject)
        before = await self._look(act, target)
        if block in before.blocks:
            raise UserError("admin.blocked_already")
        async with database_timeout("admin.unsure"):
            await self._quotas.block(act.by, block, reason=_reason(act))
        everyone = target.holder is Holder.ROLE and target.subject == act.server
        told = [act.words.say("quota.blocked_all" if everyone else f"quota.blocked_now.{target.holder}")]
        await self._tell(act, "block", before, told=[*told, *_because(act)], held=False)

    async def _unblock(self, act: AdminAction) -> None:
        wanted = (act.given.get("blocked") or "").strip()
        target = target_from_choice(act, wanted) if wanted else target_of(act)
        if target == SERVER:
            raise UserError("admin.unblock")
        block = Block(target.holder, target.subject)
        before = await self._look(act, target)
        if block not in before.blocks:
            raise UserError("admin.not_blocked")
        async with database_timeout("admin.unsure"):
            await self._quotas.unblock(act.by, block)
        after = before.freed(block)
        others = [quota_cards.blocked(act.words, each, server=act.server) for each in after.blocked_by]
        told = [act.words.say("quota.unblocked"), *others]
        await self._tell(act, "unblock", after, told=told, held=_knows_roles(act, target))

    async def _tell(
        self,
        act: AdminAction,
        key: str,
        look: QuotaView,
        *,
        told: Sequence[str],
        notes: Sequence[str] = (),
        marked: Rule | None = None,
        held: bool = True,
    ) -> None:
        view = quota_cards.changed(act.words, key, look, told=told, notes=notes, marked=marked, held=held)
        await self._responder.reply_privately(act.interaction, view)


def _knows_roles(act: AdminAction, target: Target) -> bool:
    """What holds for a member depends on their roles, which only the option tells: not a choice of the list."""
    return target.holder is not Holder.USER or act.given.get("member") is not None


def _reason(act: AdminAction) -> str | None:
    """The reason as typed; None for one with nothing to read in it."""
    given = act.given.get("reason")
    return given if given and visible(given) else None


def _because(act: AdminAction) -> list[str]:
    reason = _reason(act)
    return [act.words.say("quota.because", reason=show(reason, most=MOST_REASON * 2))] if reason else []

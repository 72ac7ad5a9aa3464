"""The moderators' command `/moderate`, and *Take down* in the menu of a message."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import discord
from discord import app_commands

from bot.core.errors import UserError
from bot.core.jobs import HOUR
from bot.core.moderation import MAX_ENTRIES, MAX_ENTRY_LENGTH, fold, is_entry
from bot.core.quota import Block, Holder
from bot.core.server_settings import ServerSettings
from bot.core.visible import visible
from bot.ui.admin.permissions import Admin, AdminAction, Option, Permission
from bot.ui.cards import moderation as cards
from bot.ui.cards.quota import MAX_REASON_LENGTH
from bot.ui.interactions.moderators import Moderators
from bot.ui.interactions.timeouts import database_timeout

MAX_DAYS = 365
DAY = 24 * HOUR
UNSURE = "moderation.unsure"


class ModerateCommands:
    """Registers and runs the commands. Each writes one entry of the history, and one line in the log channel."""

    def __init__(self, admin: Admin, moderators: Moderators) -> None:
        self._admin = admin
        self._moderators = moderators
        self._responder = admin.responder
        self._services = admin.services

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        moderate = self._admin.group("moderate", permission=Permission.MESSAGES)

        def add(name: str, handle: Any, *options: Option, to: app_commands.Group = moderate) -> None:
            self._admin.add(to, name, handle, options=options, permission=Permission.MESSAGES)

        result, member = Option("result", required=True), Option("member", discord.User, required=True)
        days = Option("days", app_commands.Range[int, 1, MAX_DAYS])
        reason = Option("reason", app_commands.Range[str, 1, MAX_REASON_LENGTH])
        add("delete", self._delete, result)
        add("spoiler", self._spoiler, result)
        add("block", self._block, member, days, reason)
        add("unblock", self._unblock, member)
        add("history", self._history, member)
        add("clear", self._clear_strikes, member, to=self._admin.group("strikes", parent=moderate))
        words = self._admin.group("words", parent=moderate)
        word = app_commands.Range[str, 1, MAX_ENTRY_LENGTH]
        listed = Option("listed_word", word, required=True, complete=self._listed)
        self._admin.add(words, "add", self._add_word, options=[Option("word", word, required=True)])
        self._admin.add(words, "remove", self._remove_word, options=[listed])
        self._admin.add(words, "list", self._list_words)
        tree.add_command(moderate)
        tree.add_command(self._admin.message_menu("takedown_menu", self._ask_takedown, permission=Permission.MESSAGES))

    # --- results

    async def _delete(self, action: AdminAction) -> None:
        """Delete a result without a strike and without a message to its requester."""
        async with database_timeout("busy"):
            job = await self._moderators.result(action.given["result"], server=action.server)
        taken_down, finishing = await self._moderators.take_down(action.interaction, action.by, job.id, strike=False)
        if not taken_down.done:
            await self._reply(action, cards.settled_before(action.words, taken_down.settled_by))
            return
        await self._done(action, "delete", job.place.user_id, job=job.id)
        await asyncio.wait((finishing,))

    async def _spoiler(self, action: AdminAction) -> None:
        async with database_timeout("busy"):
            job = await self._moderators.result(action.given["result"], server=action.server)
        if not job.state.is_final:
            raise UserError("job.running")
        if job.spoiler or job.flagged:
            raise UserError("moderation.covered")
        async with database_timeout(UNSURE):
            await self._services.jobs.cover(action.by, job.id)
        await self._done(action, "spoiler", job.place.user_id, job=job.id)

    async def _ask_takedown(self, action: AdminAction) -> None:
        """Ask whether to take down the result that a message of the bot shows."""
        message: discord.Message = action.given["message"]
        if message.author.id != self._responder.bot_id:
            raise UserError("moderation.not_result")
        async with database_timeout("busy"):
            job = await self._moderators.result(message.jump_url, server=action.server)
        await self._reply(action, cards.ask_takedown(action.words, job_id=job.id, requester=job.place.user_id))

    # --- members

    async def _block(self, action: AdminAction) -> None:
        member, days = action.given["member"], action.given["days"]
        reason = action.given["reason"] if visible(action.given["reason"] or "") else None
        block = Block(Holder.USER, member.id, until=action.received_at + days * DAY if days else None)
        async with database_timeout("busy"):
            overview = await self._services.quotas.overview(action.server, now=action.received_at)
        if block in overview.blocks:
            raise UserError("moderation.blocked_already")
        async with database_timeout(UNSURE):
            await self._services.quotas.block(action.by, block, reason=reason)
        await self._done(action, "block", member.id, until=block.until, reason=reason)

    async def _unblock(self, action: AdminAction) -> None:
        member = action.given["member"]
        async with database_timeout(UNSURE):
            removed = await self._services.quotas.unblock(action.by, Block(Holder.USER, member.id))
        if not removed:
            raise UserError("moderation.not_blocked")
        await self._done(action, "unblock", member.id)

    async def _clear_strikes(self, action: AdminAction) -> None:
        member = action.given["member"]
        async with database_timeout(UNSURE):
            count = await self._services.moderation.clear_strikes(action.by, member.id)
        if not count:
            raise UserError("moderation.no_strikes")
        await self._done(action, "strikes", member.id)

    async def _history(self, action: AdminAction) -> None:
        member = action.given["member"]
        async with database_timeout("busy"):
            record = await self._services.moderation.record_of(action.server, member.id, now=action.received_at)
        await self._reply(action, cards.member_record(action.words, record, user=member.id, server=action.server))

    # --- words

    async def _add_word(self, action: AdminAction) -> None:
        word = " ".join(visible(action.given["word"]).split())
        if not is_entry(word):
            raise UserError("moderation.word")

        def change(now: ServerSettings) -> ServerSettings:
            if any(_same(each, word) for each in now.words):
                return now
            if len(now.words) >= MAX_ENTRIES:
                raise UserError("moderation.words_full", limit=MAX_ENTRIES)
            return now.model_copy(update={"words": (*now.words, word)})

        await self._change_words(action, change, setting="words.add", word=word)

    async def _remove_word(self, action: AdminAction) -> None:
        word = action.given["listed_word"]

        def change(now: ServerSettings) -> ServerSettings:
            kept = tuple(each for each in now.words if not _same(each, word))
            if kept == now.words:
                raise UserError("moderation.word_unknown")
            return now.model_copy(update={"words": kept})

        await self._change_words(action, change, setting="words.remove", word=word)

    async def _change_words(
        self, action: AdminAction, change: Callable[[ServerSettings], ServerSettings], *, setting: str, word: str
    ) -> None:
        async with database_timeout("busy"):
            before = await self._services.store.server_settings(action.server)
        body = {"setting": setting, "word": word}
        async with database_timeout(UNSURE):
            after = await self._services.quotas.change_server_settings(action.by, change, body=body)
        is_new = after != before
        done = action.words.say("moderation.words_changed" if is_new else "settings.unchanged")
        await self._reply(action, cards.word_list(action.words, after.words, done=done))
        if is_new:
            words = self._moderators.server_words(action.interaction)
            text = words.say(f"history.setting.{setting.replace('.', '_')}", who=f"<@{action.by.actor}>")
            await self._moderators.log_line(action.by, text)

    async def _list_words(self, action: AdminAction) -> None:
        async with database_timeout("busy"):
            server_settings = await self._services.store.server_settings(action.server)
        await self._reply(action, cards.word_list(action.words, server_settings.words))

    async def _listed(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        words = (await self._services.store.server_settings(action.server)).words
        return [(each, each) for each in words if typed.casefold() in each.casefold()]

    # --- answers

    async def _done(self, action: AdminAction, what: str, user: int, **body: object) -> None:
        """Say what was done, here and in the log channel."""
        text = self._moderators.sentence(action.words, action.by, what, user, **body)
        await self._reply(action, cards.line(text))
        await self._moderators.log(action.interaction, action.by, what, user, **body)

    async def _reply(self, action: AdminAction, view: discord.ui.LayoutView) -> None:
        await self._responder.reply_privately(action.interaction, view)


def _same(one: str, other: str) -> bool:
    """Whether two entries match the same texts."""
    ends = [each.rstrip().endswith("*") for each in (one, other)]
    return fold(one) == fold(other) and ends[0] == ends[1]

"""*Report* behind *More…*, and the buttons of moderators under a report."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import discord

from bot.core.errors import UserError
from bot.core.jobs import Job
from bot.store.complaints import Complaint
from bot.store.queries import JobRecord
from bot.ui.buttons.press import ButtonPress
from bot.ui.cards import moderation as cards
from bot.ui.cards.moderation import MAX_REASON_LENGTH
from bot.ui.cards.texts import Words, discord_url
from bot.ui.interactions.background import Background
from bot.ui.interactions.moderators import Moderators
from bot.ui.interactions.parsing import fields_of
from bot.ui.interactions.responder import Responder
from bot.ui.interactions.visibility import require_seen
from bot.ui.transport.moderation_log import POST_TIMEOUT


class ReportButtons:
    def __init__(self, responder: Responder, moderators: Moderators, *, background: Background) -> None:
        self._responder = responder
        self._services = responder.services
        self._moderators = moderators
        self._background = background
        self._actions: Mapping[str, Callable[[ButtonPress], Awaitable[None]]] = {
            "send": self._send,
            "takedown": self._take_down,
            "dismiss": self._dismiss,
        }

    async def press(self, press: ButtonPress) -> None:
        """Handle a button or a form with the custom id `m1:<job>:<action>`."""
        if press.action not in self._actions:
            raise UserError("button.too_old")
        await self._actions[press.action](press)

    # --- members

    async def open_form(self, press: ButtonPress) -> None:
        """Ask why a result is reported; refused where nobody would read it."""
        await self._reportable(press)
        words = self._responder.words(press.interaction)
        await self._responder.open_form(press.interaction, cards.report_form(words, press.id))

    async def _reportable(self, press: ButtonPress) -> tuple[JobRecord, int]:
        """The record of the result and the server's log channel; `UserError` where the member cannot report it."""
        record = await self._services.store.job_record(press.id)
        seen = require_seen(record, user_id=press.user_id, channel_id=press.interaction.channel_id)
        server = seen.job.place.server
        if seen.job.place.user_id == press.user_id:
            raise UserError("report.own")
        channel = (await self._services.store.server_settings(server)).log if server else None
        if channel is None or press.interaction.guild_id != server:
            raise UserError("report.closed")
        return seen, channel

    async def _send(self, press: ButtonPress) -> None:
        """Record a report, and post it in the log channel; if that fails it is not kept, and can be repeated."""
        record, channel = await self._reportable(press)
        reason = (fields_of(press.interaction).get("reason") or "")[:MAX_REASON_LENGTH]
        complaint_id, complaint = str(press.interaction.id), Complaint(press.user_id, press.received_at, reason)
        view = cards.report(
            self._moderators.server_words(press.interaction),
            complaint,
            job_id=press.id,
            url=discord_url(record.reply.address),
            requester=record.job.place.user_id,
        )
        await self._background.run(self._deliver(complaint_id, record.job, complaint, channel=channel, view=view))
        words = self._responder.words(press.interaction)
        await self._responder.reply_privately(press.interaction, cards.line(words.say("moderation.thanks")))

    async def _deliver(
        self, complaint_id: str, job: Job, complaint: Complaint, *, channel: int, view: discord.ui.LayoutView
    ) -> None:
        if not await self._services.moderation.report(complaint_id, job, complaint):
            raise UserError("report.twice")
        if not await self._moderators.messages.post(channel, view, seconds=POST_TIMEOUT):
            await self._services.moderation.withdraw_report(complaint_id)
            raise UserError("report.unsent")

    # --- moderators

    async def _take_down(self, press: ButtonPress) -> None:
        """Take a result down, and say so in place of the report."""
        by = self._moderators.require(press.interaction, received_at=press.received_at)
        taken_down, finishing = await self._moderators.take_down(press.interaction, by, press.id)
        if not taken_down.done:
            await self._reply(press, taken_down.settled_by)
            return
        user = taken_down.job.place.user_id
        words = self._words(press)
        done = self._moderators.sentence(words, by, "takedown", user, job=press.id)
        await self._responder.replace(press.interaction, cards.settled(words, done, taken_down.complaints))
        await asyncio.wait((finishing,))
        if press.on_ephemeral:  # otherwise the log channel shows it already
            await self._moderators.log(press.interaction, by, "takedown", user, job=press.id)

    async def _dismiss(self, press: ButtonPress) -> None:
        by = self._moderators.require(press.interaction, received_at=press.received_at)
        job = await self._services.store.job(press.id)
        if job is None or job.place.server != by.server:
            raise UserError("moderation.unknown")
        dismissed = await self._background.run(self._services.moderation.dismiss(by, job))
        complaints = await self._services.moderation.reports_about(press.id)
        if not dismissed:
            await self._reply(press, next((each.settled_by for each in complaints if each.settled_by), None))
            return
        words = self._words(press)
        done = self._moderators.sentence(words, by, "dismiss", job.place.user_id, job=press.id)
        await self._responder.replace(press.interaction, cards.settled(words, done, complaints))

    async def _reply(self, press: ButtonPress, settled_by: int | None) -> None:
        view = cards.settled_before(self._responder.words(press.interaction), settled_by)
        await self._responder.reply_privately(press.interaction, view)

    def _words(self, press: ButtonPress) -> Words:
        """The moderator's texts for a private message, the server's for the log channel."""
        if press.on_ephemeral:
            return self._responder.words(press.interaction)
        return self._moderators.server_words(press.interaction)

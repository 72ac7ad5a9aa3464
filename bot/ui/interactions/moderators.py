"""What moderators of a server do with results, whichever command or button they use."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from bot.core.cards import Picture
from bot.core.errors import UserError
from bot.core.jobs import Job
from bot.core.quota import Holder
from bot.store.database import DATABASE_ERRORS
from bot.store.quotas import By, Change
from bot.store.store import Takedown
from bot.ui.cards import moderation as cards
from bot.ui.cards.reports import change
from bot.ui.cards.texts import Words
from bot.ui.interactions.background import Background
from bot.ui.interactions.responder import Interaction, Responder
from bot.ui.transport.moderation_log import ModerationLog

log = logging.getLogger(__name__)

RemoveFiles = Callable[[Sequence[Picture]], Awaitable[None]]


class Moderators:
    def __init__(
        self, responder: Responder, messages: ModerationLog, *, remove_files: RemoveFiles, background: Background
    ) -> None:
        """*remove_files* deletes pictures from the storage."""
        self.messages = messages
        self._responder = responder
        self._services = responder.services
        self._remove_files = remove_files
        self._background = background

    def require(self, interaction: Interaction, *, received_at: int) -> By:
        """The moderator as the author of a change; `UserError` without the permission *Manage Messages* here."""
        server = interaction.guild_id
        if server is None or not self._responder.is_member(interaction):
            raise UserError("admin.server")
        extra = {"guild_id": server, "user_id": interaction.user.id}
        if not (interaction.permissions.manage_messages or interaction.permissions.administrator):
            log.warning("A member without permission tried to moderate", extra={"event": "admin_refused", **extra})
            raise UserError("moderation.permission")
        return By(str(interaction.id), server, interaction.user.id, received_at)

    def server_words(self, interaction: Interaction) -> Words:
        """The texts in the language of the server, for messages that all its moderators read."""
        return self._responder.texts.for_locale(str(interaction.guild_locale or ""))

    async def result(self, given: str, *, server: int) -> Job:
        """The result of this server that *given* names, as in `/show`; `UserError` if there is none."""
        job_id = await self._services.results.find(given, server=server)
        job = await self._services.store.job(job_id) if job_id is not None else None
        if job is None or job.place.server != server or job.deleted_at is not None:
            raise UserError("moderation.unknown")
        return job

    async def take_down(
        self, interaction: Interaction, by: By, job_id: str, *, strike: bool = True
    ) -> tuple[Takedown, "asyncio.Task[None]"]:
        """Delete a result with its files, whether or not the handler times out.

        The task deletes the copy in the gallery and, with *strike*, tells the requester; wait for it after the answer.
        """
        server = interaction.guild.name if interaction.guild else ""
        return await self._background.run(self._take_down(by, job_id, strike=strike, server=server))

    async def _take_down(
        self, by: By, job_id: str, *, strike: bool, server: str
    ) -> tuple[Takedown, "asyncio.Task[None]"]:
        taken_down = await self._services.jobs.take_down(by, job_id, strike=strike)
        await self._remove_files(taken_down.pictures)
        return taken_down, self._background.start(self._finish(taken_down, server=server, tell=strike))

    async def _finish(self, taken_down: Takedown, *, server: str, tell: bool) -> None:
        if taken_down.copy is not None:
            await self.messages.delete(*taken_down.copy)
        if tell and taken_down.done:
            words = self._responder.texts.for_locale(taken_down.locale)
            await self.messages.tell(taken_down.job.place.user_id, cards.told(words, server=server))

    async def log(self, interaction: Interaction, by: By, action: str, user: int, **body: object) -> None:
        """Post in the server's log channel what a moderator did about a member; after the answer."""
        words = self.server_words(interaction)
        await self.log_line(by, self.sentence(words, by, action, user, **body))

    async def log_line(self, by: By, text: str) -> None:
        try:
            channel = (await self._services.store.server_settings(by.server)).log
        except DATABASE_ERRORS as exc:
            log.warning("A log channel could not be read: %s", type(exc).__name__, extra={"event": "moderation_unsent"})
            return
        if channel is not None:
            await self.messages.post(channel, cards.line(text))

    def sentence(self, words: Words, by: By, action: str, user: int, **body: object) -> str:
        """What a moderator did, as the history says it."""
        entry = Change(by.id, by.at, by.actor, action, Holder.USER, user, body)
        return change(entry, words, server=by.server, timed=False)

"""A member's earlier results: `/history`, `/favorites`, `/show`, and the buttons of their pages."""

import logging
from collections.abc import Sequence

import aiohttp
import discord
from discord import ui
from discord.app_commands import Choice

from bot.core.errors import UserError
from bot.core.jobs import Reference
from bot.core.references import result_of
from bot.jobs.delivery import room_for_files
from bot.store.queries import JobRecord
from bot.store.results import NEWEST, Filter
from bot.ui.cards.escape import show
from bot.ui.cards.history import PAGE_LENGTH, Pictures, history_filter, history_page, result_page
from bot.ui.cards.texts import discord_url
from bot.ui.commands.pricing import resolve_model
from bot.ui.interactions.parsing import chosen_in
from bot.ui.interactions.private_delivery import Uploads
from bot.ui.interactions.responder import NOBODY, Interaction, Responder
from bot.ui.interactions.result_links import ResultLinks
from bot.ui.interactions.timeouts import REFERENCE_TIMEOUT
from bot.ui.interactions.visibility import require_seen, sees
from bot.ui.transport.messenger import files_of

log = logging.getLogger(__name__)

MAX_LABEL_LENGTH = 90
ADDITION_ERRORS = (OSError, aiohttp.ClientError, discord.DiscordException)  # the text is shown already


class History:
    def __init__(self, responder: Responder, *, links: ResultLinks, uploads: Uploads) -> None:
        """*uploads* loads a card's pictures and fits them into a message of a given size in bytes."""
        self._responder = responder
        self._services = responder.services
        self._links = links
        self._uploads = uploads

    # --- pages

    async def history(self, interaction: Interaction, words: str | None, model: str | None) -> None:
        key = resolve_model(self._services.catalog, model) or ""
        await self._page(interaction, Filter(words=words or "", model=key), before="", in_place=False)

    async def favorites(self, interaction: Interaction, words: str | None) -> None:
        await self._page(interaction, Filter(words=words or "", favorites=True), before="", in_place=False)

    async def turn(self, interaction: Interaction, parts: Sequence[str]) -> None:
        """Handle a button of a page; it shows the member's own results, whoever's page it was on."""
        wanted, before = history_filter(parts)
        await self._page(interaction, wanted, before=before, in_place=True)

    async def _page(self, interaction: Interaction, wanted: Filter, *, before: str, in_place: bool) -> None:
        """Show the words and jump links at once, then the thumbnails, which have to be asked of Discord."""
        found = await self._services.results.page(
            interaction.user.id, wanted, before=before or NEWEST, limit=PAGE_LENGTH
        )

        def drawn(pictures: Pictures) -> ui.LayoutView:
            return history_page(
                found.records,
                wanted,
                self._responder.words(interaction),
                before=found.before,
                first=not before,
                pictures=pictures,
            )

        await self._answer(interaction, drawn({}), in_place=in_place)
        pictures = await self._links.of(found.records)
        if any(pictures.values()):
            await self._add(interaction, drawn(pictures))

    # --- one result

    async def show(self, interaction: Interaction, result: str) -> None:
        """Show the result that *result* names: an id, a reference, a file's name or the link of a message."""
        job_id = await self._services.results.find(result, user_id=interaction.user.id)
        if job_id is None:
            raise UserError("job.unknown")
        await self._show(interaction, job_id, in_place=False)

    async def press(self, interaction: Interaction, job_id: str, action: str) -> None:
        if action == "pick":
            job_id = next(iter(chosen_in(interaction)), "")
        await self._show(interaction, job_id, in_place=action in ("go", "pick"))

    async def _show(self, interaction: Interaction, job_id: str, *, in_place: bool) -> None:
        record = self._require(interaction, await self._services.store.job_record(job_id))
        tree, user_id = await self._services.results.tree(record.job), interaction.user.id
        ancestors, children = self._seen(interaction, tree.ancestors), self._seen(interaction, tree.children)
        mine = [each.charge for each in (*ancestors, record, *children) if each.job.place.user_id == user_id]
        own = record.job.place.user_id == user_id
        public = record.reply.is_public and record.reply.message_id is not None
        chain_cost = sum(each.settled.micro_usd for each in mine if each.settled) if own else None
        card = await self._services.jobs.card_of(record)

        def drawn(media: Sequence[str] | None) -> ui.LayoutView:
            return result_page(
                card,
                self._responder.words(interaction),
                url=discord_url(record.reply.address) if public else None,
                ancestors=[each.job for each in ancestors],
                children=[each.job for each in children],
                chain_cost=chain_cost,
                media=media,
            )

        await self._answer(interaction, drawn(None), in_place=in_place)
        shown = (await self._links.of([record])).get(job_id, ())
        if not shown and own and record.pictures:  # of a private one only the files are left
            max_bytes = room_for_files(interaction.filesize_limit)
            _, uploads = await self._uploads(card.revealed(), max_bytes=max_bytes)
            view = drawn([f"attachment://{each.name}" for each in uploads])
            await self._add(interaction, view, files=files_of(uploads))
        else:
            await self._add(interaction, drawn([each.url for each in shown]))

    async def pictures(self, interaction: Interaction, result: str) -> tuple[JobRecord, tuple[Reference, ...]]:
        """The pictures of the result that *result* names, to edit them: one if a number is given, else all of them."""
        job_id = await self._services.results.find(result, user_id=interaction.user.id)
        if job_id is None:
            raise UserError("job.unknown")
        record = self._require(interaction, await self._services.store.job_record(job_id))
        shown = (await self._links.of([record], seconds=REFERENCE_TIMEOUT)).get(job_id, ())
        number = (result_of(f"{result.strip().upper()}.png") or ("", 0))[1]
        chosen = [each for each in shown if number in (0, (result_of(each.filename) or ("", 0))[1])]
        if not chosen:
            raise UserError("references.unreadable_result")
        return record, tuple(chosen)

    def _seen(self, interaction: Interaction, records: Sequence[JobRecord]) -> Sequence[JobRecord]:
        """Those of *records* that the member sees."""
        user_id, channel_id = interaction.user.id, interaction.channel_id
        return [each for each in records if sees(each, user_id=user_id, channel_id=channel_id)]

    def _require(self, interaction: Interaction, record: JobRecord | None) -> JobRecord:
        return require_seen(record, user_id=interaction.user.id, channel_id=interaction.channel_id)

    # --- completion

    async def complete(self, interaction: Interaction, typed: str) -> list[Choice[str]]:
        """The member's newest results whose prompt contains *typed*."""
        wanted = Filter(words=typed if len(typed) < MAX_LABEL_LENGTH else "")
        found = await self._services.results.page(interaction.user.id, wanted, limit=25)
        words = self._responder.words(interaction)
        return [
            Choice(name=(show(each.job.request.prompt, max_length=MAX_LABEL_LENGTH) or words.say("results.erased")),
                   value=each.job.id)
            for each in found.records
        ]  # fmt: skip

    # --- answers

    async def _answer(self, interaction: Interaction, view: ui.LayoutView, *, in_place: bool) -> None:
        answer = self._responder.replace if in_place else self._responder.reply_privately
        await answer(interaction, view)

    async def _add(self, interaction: Interaction, view: ui.LayoutView, *, files: Sequence[discord.File] = ()) -> None:
        try:
            await interaction.edit_original_response(view=view, attachments=list(files), allowed_mentions=NOBODY)
        except ADDITION_ERRORS as exc:
            log.warning("Pictures could not be added: %s", exc, extra={"event": "history_pictures_failed"})

"""What the buttons under a result do: edit, vary, upscale, mark, hand out the files, delete."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import discord
from discord import ui

from bot.core.cards import Card
from bot.core.errors import UserError
from bot.core.jobs import Job, Reference, State, Verb
from bot.core.quota import NO_SERVER
from bot.core.references import result_of
from bot.core.request_draft import RequestDraft
from bot.jobs.drafts import can_upscale_by_seed
from bot.store.queries import JobRecord
from bot.ui.buttons.press import ButtonPress
from bot.ui.cards.components import MAX_PICTURES
from bot.ui.cards.job_buttons import Viewer
from bot.ui.cards.job_menu import confirm_deletion, deleted, menu, which_picture, which_size
from bot.ui.cards.notices import notice, short
from bot.ui.cards.texts import discord_url
from bot.ui.commands import request_forms
from bot.ui.interactions.background import Background
from bot.ui.interactions.gallery import Gallery
from bot.ui.interactions.moderators import RemoveFiles
from bot.ui.interactions.parsing import can_open_thread, picture_by_number, place_of
from bot.ui.interactions.private_delivery import PrivateDelivery
from bot.ui.interactions.responder import Responder
from bot.ui.interactions.visibility import require_seen
from bot.ui.transport.errors import DISCORD_ERRORS
from bot.ui.transport.threads import ThreadOpener

THREAD_TIMEOUT = 1.5  # seconds, within those for the answer


class Results:
    """Handlers by action. Each does the checks of the command that it stands for, on every press."""

    def __init__(
        self,
        responder: Responder,
        *,
        private_delivery: PrivateDelivery,
        remove_files: RemoveFiles,
        background: Background,
        gallery: Gallery,
        threads: ThreadOpener | None,
    ) -> None:
        """*remove_files* deletes pictures from the storage.

        *threads* is None if the bot reads no messages, so that there is nothing to continue in a thread.
        """
        self._responder = responder
        self._services = responder.services
        self._private_delivery = private_delivery
        self._remove_files = remove_files
        self._background = background
        self._gallery = gallery
        self._threads = threads
        self.actions: Mapping[str, Callable[[ButtonPress], Awaitable[None]]] = {
            "edit": self._edit,
            "vary": self._vary,
            "upscale": self._upscale,
            "more": self._more,
            "files": self._files,
            "favorite": self._favorite,
            "spoiler": self._spoiler,
            "thread": self._thread,
            "back": self._back,
            "delete": self._delete,
            "erase": self._erase,
        }

    # --- new pictures from a result

    async def _edit(self, press: ButtonPress) -> None:
        """Open the edit form for a picture. Any member may edit it; its URL is read from the button's message.

        Without a number the form asks which one.
        """
        await self._responder.check_form(press.interaction, private=press.on_ephemeral)
        draft = RequestDraft(
            verb=Verb.EDIT,
            prompt="",
            references=self._pictures(press),
            private=press.on_ephemeral,
            parent_id=press.id,
            source=press.source,
        )
        await request_forms.open_draft(self._responder, press.interaction, draft, title="edit", pick=True)

    async def _vary(self, press: ButtonPress) -> None:
        """Make variations of a picture at once; of several pictures ask which one."""
        job, pictures = await self._result(press), self._pictures(press)
        drafts = self._services.drafts
        first = replace(drafts.variation(job, pictures[0], source=press.source), private=press.on_ephemeral)
        if len(pictures) == 1:
            await self._submit(press, first)
            return
        draft_id = await drafts.keep(replace(first, references=pictures), user_id=press.user_id)
        words = self._responder.words(press.interaction)
        asks = which_picture(_numbers(pictures), words, draft_id=draft_id)
        await self._responder.reply_privately(press.interaction, asks)

    async def _upscale(self, press: ButtonPress) -> None:
        """Ask how large, and which of several pictures, with the price of each."""
        job = await self._result(press)
        by_seed = can_upscale_by_seed(job.request, self._services.offered)
        pictures = () if by_seed else self._pictures(press)
        larger = self._services.offered.larger_resolutions(job.request)
        if not larger:
            raise UserError("option.no_host")
        words, drafts = self._responder.words(press.interaction), self._services.drafts
        prices, draft = {}, None
        place = place_of(press.interaction, member=self._responder.is_member(press.interaction))
        server_settings = await self._services.requests.server_settings(place)
        refused = UserError("option.no_host")
        for resolution in larger:
            each = drafts.upscale(job, next(iter(pictures), None), resolution=resolution, source=press.source)
            try:
                request = self._services.requests.request(each, place, server_settings)
            except UserError as error:  # not allowed in this server or channel
                refused = error
                continue
            quote = self._services.routing.quote(request)
            prices[resolution] = words.money(quote.micro_usd, about=quote.estimated)
            draft = replace(each, private=press.on_ephemeral, references=pictures)
        if draft is None:
            raise refused
        draft_id = await drafts.keep(draft, user_id=press.user_id)
        asks = which_size(_numbers(pictures) or [1], prices, words, draft_id=draft_id)
        await self._responder.reply_privately(press.interaction, asks)

    async def chosen(self, press: ButtonPress) -> None:
        """Submit a kept draft with the picture, and the resolution if one is named, of the pressed button."""
        draft = await self._services.drafts.load(press.id, user_id=press.user_id)
        if draft.references:
            pictures = [each for each in draft.references if _number(each) == press.n]
            if not pictures:
                raise UserError("references.none_in_message")
            draft = replace(draft, references=(pictures[0],))
        if press.value:
            draft = replace(draft, asked=replace(draft.asked, resolution=press.value))
        await self._submit(press, draft)

    async def _submit(self, press: ButtonPress, draft: RequestDraft) -> None:
        """Submit a request whose prompt may be another member's."""
        await self._responder.submit_request(press.interaction, draft, received_at=press.received_at, own_words=False)

    async def _result(self, press: ButtonPress) -> Job:
        """The job of a result that the member sees: on its own reply, or their own."""
        card = await self._visible(press)
        if not card.job.request.prompt:
            raise UserError("job.unknown")
        return card.job

    def _pictures(self, press: ButtonPress) -> tuple[Reference, ...]:
        """The pictures of the job in the button's message, whose URLs Discord has just renewed; not empty."""
        message = press.interaction.message
        numbers = (press.n,) if press.n else range(1, MAX_PICTURES + 1)
        found = [picture_by_number(message, press.id, n) for n in numbers] if message else []
        pictures = tuple(each for each in found if each is not None)
        if not pictures:
            raise UserError("references.none_in_message")
        return pictures

    # --- the menu

    async def _more(self, press: ButtonPress) -> None:
        """Show what there is to know of the job and to do with it; only the requester sees what it cost."""
        await self._responder.reply_privately(press.interaction, await self._menu(press, await self._visible(press)))

    async def _menu(self, press: ButtonPress, card: Card) -> ui.LayoutView:
        job = card.job
        viewer = Viewer(
            own=job.place.user_id == press.user_id,
            may_delete=job.state.is_final and press.owner_for(job) == job.place.user_id,
            may_report=job.place.server != NO_SERVER and job.place.user_id != press.user_id,
            favorite=await self._services.favorites.has(press.user_id, job.id),
            can_open_thread=self._can_open_thread(press, card),
            can_step_back=self._threads is not None and self._is_in_thread(press, job),
        )
        return menu(card, self._responder.words(press.interaction), viewer)

    async def _visible(self, press: ButtonPress) -> Card:
        return await self._services.jobs.card_of(await self._seen(press))

    async def _seen(self, press: ButtonPress) -> JobRecord:
        """The record of a job that the member sees: their own, or one that a public reply in this channel shows."""
        record = await self._services.store.job_record(press.id)
        return require_seen(record, user_id=press.user_id, channel_id=press.interaction.channel_id)

    async def _files(self, press: ButtonPress) -> None:
        """Send the pictures privately as they were made, without making them smaller."""
        card = await self._visible(press)
        if card.by_rules and card.job.place.user_id != press.user_id:
            raise UserError("moderation.withheld")
        await self._private_delivery.send_originals(press.interaction, card)

    async def _favorite(self, press: ButtonPress) -> None:
        card = await self._visible(press)
        if not card.job.state.is_final:
            raise UserError("job.running")
        favorites, job_id = self._services.favorites, card.job.id
        favorite = not await favorites.has(press.user_id, job_id)
        await self._background.run(favorites.put(press.user_id, job_id, favorite=favorite, now=self._responder.clock()))
        await self._replace(press, await self._menu(press, card))
        record = await self._services.store.job_record(job_id)
        if favorite and record is not None:
            await self._background.run(self._gallery.consider(record))

    async def _spoiler(self, press: ButtonPress) -> None:
        owner_id = press.owner_for(await self._services.store.job(press.id))
        card = await self._background.run(self._services.jobs.toggle_spoiler(press.id, user_id=owner_id))
        await self._replace(press, await self._menu(press, card))

    # --- threads

    def _can_open_thread(self, press: ButtonPress, card: Card) -> bool:
        interaction, job = press.interaction, card.job
        return (
            self._threads is not None
            and not card.private
            and not card.hidden
            and job.state is State.SUCCEEDED
            and job.place.channel_id == interaction.channel_id
            and can_open_thread(interaction)
            and interaction.permissions.create_public_threads
        )

    def _is_in_thread(self, press: ButtonPress, job: Job) -> bool:
        return job.place.parent_id is not None and job.place.channel_id == press.interaction.channel_id

    async def _thread(self, press: ButtonPress) -> None:
        """Open a thread on the result's message, in which mentions of the bot edit it."""
        record = await self._seen(press)
        card, message_id = await self._services.jobs.card_of(record), record.reply.message_id
        if self._threads is None or message_id is None or not self._can_open_thread(press, card):
            raise UserError("thread.not_here")
        place, prompt = card.job.place, card.job.request.prompt
        opening = self._threads.open(prompt, channel_id=place.channel_id, message_id=message_id, seconds=THREAD_TIMEOUT)
        try:
            thread_id = await self._background.run(opening)
        except discord.Forbidden as exc:
            raise UserError("thread.not_here") from exc
        except DISCORD_ERRORS as exc:
            raise UserError("discord.down") from exc
        words = self._responder.words(press.interaction)
        await self._replace(press, short(words.say("thread.opened", thread=f"<#{thread_id}>", bot=self._bot)))

    async def _back(self, press: ButtonPress) -> None:
        """Have the parent of a result edited next in its thread."""
        job = (await self._visible(press)).job
        parent = await self._services.store.job_record(job.parent_id) if job.parent_id is not None else None
        if (
            self._threads is None
            or parent is None
            or parent.job.deleted_at is not None
            or not self._is_in_thread(press, job)
        ):
            raise UserError("thread.no_parent")
        step = self._services.threads.step_back(job.place.channel_id, job, now=self._responder.clock())
        if not await self._background.run(step):
            raise UserError("thread.no_parent")
        words, url = self._responder.words(press.interaction), discord_url(parent.reply.address)
        await self._replace(press, short(words.say("thread.next", url=url, bot=self._bot)))

    @property
    def _bot(self) -> str:
        return f"<@{self._responder.bot_id}>"

    # --- deletion

    async def _delete(self, press: ButtonPress) -> None:
        """Ask whether to delete; a message that is left over from a deleted job is removed at once."""
        job = await self._services.store.job(press.id)
        owner_id = press.owner_for(job)
        if press.on_reply and job is not None and job.deleted_at is not None and job.place.user_id == owner_id:
            async with self._responder.answering(press.interaction):
                await press.interaction.response.defer()
                await press.interaction.delete_original_response()
            return
        job = await self._services.jobs.own_job(press.id, user_id=owner_id, key="delete.not_yours")
        if not job.state.is_final:
            raise UserError("job.running")
        asks = confirm_deletion(await self._services.jobs.card(job.id), self._responder.words(press.interaction))
        if press.on_reply or not press.on_ephemeral:
            await self._responder.reply_privately(press.interaction, asks)
        else:
            await self._replace(press, asks)

    async def _erase(self, press: ButtonPress) -> None:
        """Delete one picture, or the job's pictures and its prompt; delivery changes or deletes its message."""
        owner_id = press.owner_for(await self._services.store.job(press.id))
        await self._background.run(self._delete_pictures(press.id, n=press.n, owner_id=owner_id))
        words = self._responder.words(press.interaction)
        await self._replace(press, notice("menu.deleted_one", words, n=press.n) if press.n else deleted(words))

    async def _delete_pictures(self, job_id: str, *, n: int, owner_id: int) -> None:
        if n:
            pictures = await self._services.jobs.delete_picture(job_id, n, user_id=owner_id)
        else:
            pictures = await self._services.jobs.delete(job_id, user_id=owner_id)
        await self._remove_files(pictures)

    async def _replace(self, press: ButtonPress, view: ui.LayoutView) -> None:
        """Show *view* in place of the ephemeral message with the button; privately where it is on the reply."""
        show = self._responder.replace if press.on_ephemeral else self._responder.reply_privately
        await show(press.interaction, view)


def _number(picture: Reference) -> int:
    return (result_of(picture.filename) or ("", 0))[1]


def _numbers(pictures: Sequence[Reference]) -> list[int]:
    return [_number(each) for each in pictures]

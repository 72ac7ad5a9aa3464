"""Answers buttons and forms by their custom id alone: nothing is remembered, so they work after every restart."""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import discord

from bot.core.cards import Card, Picture
from bot.core.errors import UserError
from bot.core.jobs import Job, Verb
from bot.core.request_draft import Wish
from bot.ui.admin.base import Admin
from bot.ui.cards.job import render
from bot.ui.cards.prompt import PROMPT_FILE, prompt_page
from bot.ui.commands import request_forms
from bot.ui.interactions.parsing import fields_of, picture_numbered
from bot.ui.interactions.private_delivery import HandOver
from bot.ui.interactions.responder import NOBODY, Front, Interaction

log = logging.getLogger(__name__)

CHANGES = frozenset({"cancel", "hide", "show", "look", "delete"})  # what may be done although nobody could say so
ANSWERED = frozenset({discord.InteractionType.component, discord.InteractionType.modal_submit})

T = TypeVar("T")
RemoveFiles = Callable[[Sequence[Picture]], None]


class Press:
    """A pressed button or a sent form: `<kind and version>:<id>[:<action>[:<n>]]`."""

    def __init__(self, interaction: Interaction, *, received_at: int) -> None:
        data: Mapping[str, Any] = interaction.data or {}
        self.parts = parts = str(data.get("custom_id", "")).split(":")
        self.interaction = interaction
        self.received_at = received_at
        self.kind = parts[0]
        self.id = parts[1] if len(parts) > 1 else ""
        self.action = parts[2] if len(parts) > 2 else ""
        self.n = int(parts[3]) if len(parts) > 3 and parts[3].isdecimal() else 0
        self.user_id = interaction.user.id
        self.on_reply = False  # whether the button is on the job's own card, and not in a list

    @property
    def on_ephemeral(self) -> bool:
        return self.interaction.message is not None and self.interaction.message.flags.ephemeral


class Router:
    def __init__(self, front: Front, *, hand_over: HandOver, remove_files: RemoveFiles, admin: Admin) -> None:
        """*remove_files* takes a job's pictures off the disk; it may block."""
        self._front = front
        self._service = front.service
        self._hand_over = hand_over
        self._remove_files = remove_files
        self._admin = admin
        self._aside: set[asyncio.Task[Any]] = set()
        self._kinds: Mapping[str, Callable[[Press], Awaitable[None]]] = {
            "j1": self._job_button,
            "d1": self._draft_button,
            "f1": self._form,
            "q1": self._admin_button,
        }
        self._actions: Mapping[str, Callable[[Press], Awaitable[None]]] = {
            "cancel": self._cancel,
            "hide": self._hide,
            "show": self._show,
            "look": self._look,
            "prompt": self._prompt,
            "again": self._again,
            "change": self._change,
            "delete": self._delete,
            "edit": self._edit,
        }

    async def on_interaction(self, interaction: Interaction) -> None:
        if interaction.type not in ANSWERED:
            return

        async def handler(received_at: int) -> None:
            press = Press(interaction, received_at=received_at)
            await self._kinds.get(press.kind, _too_old)(press)

        action = Press(interaction, received_at=0).action
        await self._front.handle(interaction, handler, late="unsure" if action in CHANGES else "busy")

    # --- buttons of a job's reply

    async def _job_button(self, press: Press) -> None:
        do = self._actions.get(press.action, _too_old)
        await self._recognise(press)
        await do(press)
        await self._keep_token(press)

    async def _recognise(self, press: Press) -> None:
        """See which message was pressed; a reply that can be pressed is shown, whatever became of our answer."""
        dossier = await self._service.store.dossier(press.id)
        message = press.interaction.message
        if dossier is None or message is None:
            return
        if dossier.reply.message_id is None:  # the answer to our first one was lost
            await self._service.acknowledged(press.id, message_id=message.id, ephemeral=message.flags.ephemeral)
        press.on_reply = dossier.reply.message_id in (None, message.id) and not dossier.reply.gone

    async def _keep_token(self, press: Press) -> None:
        """Let the reply be reached by the press's token: Discord knows that only once the press is answered."""
        message = press.interaction.message
        if press.on_reply and message is not None:
            await self._service.clicked(
                press.id, press.interaction.token, received_at=press.received_at, message_id=message.id
            )

    async def _cancel(self, press: Press) -> None:
        """Show the ending at once; how a host takes a wish to cancel is for delivery to show when it is known."""
        card = await self._to_the_end(self._service.cancel(press.id, user_id=press.user_id))
        await self._answer(press, card if card.job.state.is_final else None)

    async def _hide(self, press: Press) -> None:
        """Take the job out of sight at once."""
        card = await self._to_the_end(self._service.hide(press.id, user_id=press.user_id))
        await self._answer(press, card)
        await self._still_so(card)

    async def _show(self, press: Press) -> None:
        """Show a job that goes on at once; one that has ended is for delivery to show, with its pictures."""
        card = await self._to_the_end(self._service.show(press.id, user_id=press.user_id))
        await self._answer(press, None if card.job.state.is_final else card)
        await self._still_so(card)

    async def _answer(self, press: Press, card: Card | None) -> None:
        """Let the job's own reply show *card*; None, or a press elsewhere, leaves it to delivery."""
        response = press.interaction.response
        async with self._front.answering(press.interaction):
            if card is not None and press.on_reply:
                view = render(card, self._front.words(press.interaction), now=self._front.clock())
                await response.edit_message(view=view, attachments=[], allowed_mentions=NOBODY)
            else:
                await response.defer()

    async def _still_so(self, card: Card) -> None:
        """Our answer may have come after a newer card by another way: that one is sent again."""
        job = await self._service.store.job(card.job.id)
        if job is not None and (job.state, job.hidden_at) != (card.job.state, card.job.hidden_at):
            await self._service.store.want([job.id], now=self._front.clock())

    async def _look(self, press: Press) -> None:
        """Bring the next look, and a result that could not be shown, forward; delivery then changes the card.

        A press in the list of `/jobs` cannot help the reply, so a finished job is handed over there.
        """
        if (await self._service.card(press.id)).job.deleted_at is not None:
            raise UserError("job.unknown")
        await self._service.look_now(press.id)
        async with self._front.answering(press.interaction):
            await press.interaction.response.defer()
        card = await self._service.card(press.id)
        if not card.job.state.is_final:
            return
        if press.on_reply:  # only a card from before the end has this button, even if /jobs gave the result away
            await self._service.store.want([press.id], now=self._front.clock())
        elif card.job.place.user_id == press.user_id:
            await self._hand_over.give(press.interaction, card)

    async def _prompt(self, press: Press) -> None:
        job = await self._own_job(press)
        page = prompt_page(job.request.prompt, self._front.words(press.interaction))
        file = discord.File(io.BytesIO(job.request.prompt.encode()), filename=PROMPT_FILE) if page.attach else None
        await self._front.whisper(press.interaction, page.view, files=[file] if file else [])

    async def _again(self, press: Press) -> None:
        wish = self._service.wish_again(await self._own_job(press))
        wish = replace(wish, private=press.on_ephemeral)
        dossier = await self._service.store.dossier(press.id)
        said = dossier.charge.reserved.micro_usd if dossier else None  # the price on the button
        await self._front.ask(press.interaction, wish, received_at=press.received_at, most=said)

    async def _change(self, press: Press) -> None:
        wish = self._service.wish_again(await self._own_job(press))
        await self._front.check_form(press.interaction, private=press.on_ephemeral)
        await request_forms.open_draft(self._front, press.interaction, replace(wish, private=press.on_ephemeral))

    async def _edit(self, press: Press) -> None:
        """Whoever sees a picture may edit it; its link is read from the message the button is on."""
        await self._front.check_form(press.interaction, private=press.on_ephemeral)
        message = press.interaction.message
        picture = picture_numbered(message, press.id, press.n) if message else None
        if picture is None:
            raise UserError("references.none_in_message")
        wish = Wish(
            verb=Verb.EDIT, prompt="", references=(picture,), private=press.on_ephemeral, parent_id=press.id
        )  # fmt: skip
        await request_forms.open_draft(self._front, press.interaction, wish, title="edit")

    async def _delete(self, press: Press) -> None:
        """Forget the pictures, then take the message away; one left over by a broken line goes with the next press."""
        press.on_reply = False  # there is nothing left to reach
        job = await self._service.store.job(press.id)
        owner_id = _deletes_for(press, job)
        if job is None or job.deleted_at is None or job.place.user_id != owner_id:
            await self._to_the_end(self._forget(press.id, owner_id=owner_id))
        async with self._front.answering(press.interaction):
            await press.interaction.response.defer()
            await press.interaction.delete_original_response()

    async def _forget(self, job_id: str, *, owner_id: int) -> None:
        pictures = await self._service.delete(job_id, user_id=owner_id)
        await asyncio.to_thread(self._remove_files, pictures)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* also where there is no time left to wait for it: what was written is to be followed up."""
        self._aside.add(task := asyncio.create_task(work))
        task.add_done_callback(self._ended)
        await asyncio.wait((task,))
        return task.result()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._aside.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.debug("What a button was to do: %s", exc)

    async def _own_job(self, press: Press) -> Job:
        return await self._service.own_job(press.id, user_id=press.user_id)

    # --- what admins look at

    async def _admin_button(self, press: Press) -> None:
        await self._admin.press(press.interaction, received_at=press.received_at, parts=press.parts)

    # --- drafts and forms

    async def _draft_button(self, press: Press) -> None:
        if press.action != "change":
            await _too_old(press)
        wish = await self._service.draft(press.id, user_id=press.user_id)
        await request_forms.show_draft(self._front, press.interaction, wish, draft_id=press.id)

    async def _form(self, press: Press) -> None:
        wish = await self._service.draft(press.id, user_id=press.user_id)
        usual = await request_forms.usual_here(self._front, press.interaction, wish.verb)
        wish = request_forms.filled_in(wish, fields_of(press.interaction), self._service.offered, usual=usual)
        await self._front.ask(press.interaction, wish, received_at=press.received_at)


def _deletes_for(press: Press, job: Job | None) -> int:
    """Whose job the presser may delete: their own, or any of their server if they may delete messages there."""
    interaction = press.interaction
    if job is None or interaction.guild_id is None or job.place.guild_id != interaction.guild_id:
        return press.user_id
    return job.place.user_id if interaction.permissions.manage_messages else press.user_id


async def _too_old(_: Press) -> None:
    raise UserError("button.too_old")

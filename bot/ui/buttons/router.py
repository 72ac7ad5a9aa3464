"""Routes buttons and submitted forms by custom id. No state is kept in memory, so they work after a restart."""

import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import discord

from bot.core.cards import Card
from bot.core.errors import UserError
from bot.core.jobs import Job
from bot.ui.admin.permissions import Admin
from bot.ui.buttons.press import ButtonPress
from bot.ui.buttons.reports import ReportButtons
from bot.ui.buttons.results import Results
from bot.ui.cards.job import render
from bot.ui.cards.prompt import PROMPT_FILE, prompt_page
from bot.ui.commands import request_forms
from bot.ui.commands.history import History
from bot.ui.commands.preferences import MemberPages
from bot.ui.commands.tray import TrayCommands
from bot.ui.interactions.background import Background
from bot.ui.interactions.gallery import Gallery
from bot.ui.interactions.moderators import Moderators, RemoveFiles
from bot.ui.interactions.parsing import fields_of, files_in
from bot.ui.interactions.private_delivery import PrivateDelivery
from bot.ui.interactions.responder import Interaction, Responder
from bot.ui.transport.threads import ThreadOpener

CHANGING_ACTIONS = frozenset(
    {
        "cancel",
        "hide",
        "show",
        "look",
        "erase",
        "favorite",
        "spoiler",
        "erase_all",
        "send",
        "takedown",
        "dismiss",
        "thread",
        "back",
    }
)  # may take effect although unanswered
HANDLED_TYPES = frozenset({discord.InteractionType.component, discord.InteractionType.modal_submit})


class Router:
    """Calls the handler of a pressed button or a submitted form, and answers errors."""

    def __init__(
        self,
        responder: Responder,
        *,
        private_delivery: PrivateDelivery,
        remove_files: RemoveFiles,
        admin: Admin,
        tray: TrayCommands,
        history: History,
        pages: MemberPages,
        show_jobs: Callable[[Interaction], Awaitable[None]],
        gallery: Gallery,
        moderators: Moderators,
        background: Background,
        threads: ThreadOpener | None,
    ) -> None:
        """*remove_files* deletes a job's pictures from the storage."""
        self._responder = responder
        self._services = responder.services
        self._private_delivery = private_delivery
        self._admin = admin
        self._tray = tray
        self._history = history
        self._pages = pages
        self._show_jobs = show_jobs
        self.background = background
        self._reports = ReportButtons(responder, moderators, background=background)
        self._results = Results(
            responder,
            private_delivery=private_delivery,
            remove_files=remove_files,
            background=self.background,
            gallery=gallery,
            threads=threads,
        )
        self._kinds: Mapping[str, Callable[[ButtonPress], Awaitable[None]]] = {
            "j1": self._job_button,
            "d1": self._draft_button,
            "f1": self._form,
            "q1": self._admin_button,
            "a1": self._admin_form,
            "t1": self._tray_button,
            "h1": self._history_button,
            "s1": self._show_button,
            "p1": self._page_control,
            "l1": self._list_jobs,
            "m1": self._reports.press,
        }
        self._actions: Mapping[str, Callable[[ButtonPress], Awaitable[None]]] = {
            "cancel": self._cancel,
            "hide": self._hide,
            "show": self._show,
            "look": self._poll_now,
            "prompt": self._prompt,
            "again": self._repeat,
            "change": self._change,
            "report": self._reports.open_form,
            **self._results.actions,
        }

    async def on_interaction(self, interaction: Interaction) -> None:
        if interaction.type not in HANDLED_TYPES:
            return

        async def handler(received_at: int) -> None:
            press = ButtonPress(interaction, received_at)
            await self._kinds.get(press.kind, _reject_outdated)(press)

        late = self._late_error(ButtonPress(interaction, 0))
        await self._responder.handle(interaction, handler, late=late)

    def _late_error(self, press: ButtonPress) -> str:
        """The error key for a press that timed out."""
        if press.kind == "a1":
            return self._admin.late_error(press.parts)
        return "unsure" if press.action in CHANGING_ACTIONS else "busy"

    # --- buttons of a job's reply

    async def _job_button(self, press: ButtonPress) -> None:
        handler = self._actions.get(press.action, _reject_outdated)
        press = await self._locate(press)
        await handler(press)
        await self._refresh_token(press)

    async def _locate(self, press: ButtonPress) -> ButtonPress:
        """Return *press* with `on_reply` set. A pressed reply is evidently shown, so it is recorded as acknowledged."""
        record = await self._services.store.job_record(press.id)
        message = press.interaction.message
        if record is None or message is None:
            return press
        if record.reply.message_id is None:  # Discord's response to the first answer was lost
            await self._services.requests.acknowledged(
                press.id, message_id=message.id, ephemeral=message.flags.ephemeral
            )
        on_reply = record.reply.message_id in (None, message.id) and not record.reply.gone
        return replace(press, on_reply=on_reply)

    async def _refresh_token(self, press: ButtonPress) -> None:
        """Store the press's token for the reply. Discord accepts it only after the press has been answered."""
        message = press.interaction.message
        if press.on_reply and message is not None:
            await self._services.jobs.button_clicked(
                press.id, press.interaction.token, received_at=press.received_at, message_id=message.id
            )

    async def _cancel(self, press: ButtonPress) -> None:
        """Cancel. A job that has ended with that is shown at once; otherwise delivery shows the provider's answer."""
        card = await self.background.run(self._services.jobs.cancel(press.id, user_id=press.user_id))
        await self._answer(press, card if card.job.state.is_final else None)

    async def _hide(self, press: ButtonPress) -> None:
        """Hide the job, at once on its own reply."""
        card = await self.background.run(self._services.jobs.hide(press.id, user_id=press.user_id))
        await self._answer(press, card)
        await self._redraw_if_changed(card)

    async def _show(self, press: ButtonPress) -> None:
        """Show a hidden job again, at once if it is active; delivery shows an ended one with its pictures."""
        card = await self.background.run(self._services.jobs.show(press.id, user_id=press.user_id))
        await self._answer(press, None if card.job.state.is_final else card)
        await self._redraw_if_changed(card)

    async def _answer(self, press: ButtonPress, card: Card | None) -> None:
        """Answer the press, with *card* if it was on the job's own reply; otherwise delivery updates the reply."""
        if card is not None and press.on_reply:
            words = self._responder.texts.for_locale(card.locale)  # of the reply, whoever pressed
            await self._responder.replace(press.interaction, render(card, words, now=self._responder.clock()))
            return
        async with self._responder.answering(press.interaction):
            await press.interaction.response.defer()

    async def _redraw_if_changed(self, card: Card) -> None:
        """Request a redraw if the job has changed since *card*: the answer may have overwritten a newer card."""
        job = await self._services.store.job(card.job.id)
        if job is not None and (job.state, job.hidden_at) != (card.job.state, card.job.hidden_at):
            await self._services.store.request_redraw([job.id], now=self._responder.clock())

    async def _poll_now(self, press: ButtonPress) -> None:
        """Poll the provider now and retry a failed delivery; delivery then updates the reply.

        A press in the list of `/jobs` does not make the reply reachable, so a finished job is delivered privately.
        """
        if (await self._services.jobs.card(press.id)).job.deleted_at is not None:
            raise UserError("job.unknown")
        await self._services.jobs.poll_now(press.id)
        async with self._responder.answering(press.interaction):
            await press.interaction.response.defer()
        card = await self._services.jobs.card(press.id)
        if not card.job.state.is_final:
            return
        # On a reply only cards of active jobs have this button: it is outdated, even if /jobs has delivered the result.
        if press.on_reply:
            await self._services.store.request_redraw([press.id], now=self._responder.clock())
        elif card.job.place.user_id == press.user_id:
            await self._private_delivery.send(press.interaction, card)

    async def _prompt(self, press: ButtonPress) -> None:
        job = await self._own_job(press)
        page = prompt_page(job.request.prompt, self._responder.words(press.interaction))
        file = discord.File(io.BytesIO(job.request.prompt.encode()), filename=PROMPT_FILE) if page.attach else None
        await self._responder.reply_privately(press.interaction, page.view, files=[file] if file else [])

    async def _repeat(self, press: ButtonPress) -> None:
        draft = self._services.drafts.repeat(await self._own_job(press))
        record = await self._services.store.job_record(press.id)
        draft = replace(draft, private=record.reply.ephemeral if record else press.on_ephemeral)
        price = record.charge.reserved.micro_usd if record else None  # as shown on the button
        await self._responder.submit_request(press.interaction, draft, received_at=press.received_at, max_price=price)

    async def _change(self, press: ButtonPress) -> None:
        """Open the form with the job's request; the new job is as private as this one, also from the ephemeral menu."""
        draft = self._services.drafts.repeat(await self._own_job(press))
        record = await self._services.store.job_record(press.id)
        private = record.reply.ephemeral if record else press.on_ephemeral
        await self._responder.check_form(press.interaction, private=private)
        await request_forms.open_draft(self._responder, press.interaction, replace(draft, private=private))

    async def _own_job(self, press: ButtonPress) -> Job:
        return await self._services.jobs.own_job(press.id, user_id=press.user_id)

    # --- buttons and forms of admins

    async def _admin_button(self, press: ButtonPress) -> None:
        await self._admin.press(press.interaction, received_at=press.received_at, parts=press.parts)

    async def _admin_form(self, press: ButtonPress) -> None:
        await self._admin.submit(press.interaction, received_at=press.received_at, parts=press.parts)

    async def _tray_button(self, press: ButtonPress) -> None:
        await self._tray.press(press.interaction, press.action)

    async def _history_button(self, press: ButtonPress) -> None:
        await self._history.turn(press.interaction, press.parts)

    async def _show_button(self, press: ButtonPress) -> None:
        await self._history.press(press.interaction, press.id, press.action)

    async def _page_control(self, press: ButtonPress) -> None:
        await self._pages.press(press.interaction, press.id, press.action)

    async def _list_jobs(self, press: ButtonPress) -> None:
        await self._show_jobs(press.interaction)

    # --- drafts and forms

    async def _draft_button(self, press: ButtonPress) -> None:
        if press.action in ("vary", "upscale"):
            await self._results.chosen(press)
            return
        if press.action != "change":
            await _reject_outdated(press)
        draft = await self._services.drafts.load(press.id, user_id=press.user_id)
        await request_forms.show_draft(self._responder, press.interaction, draft, draft_id=press.id)

    async def _form(self, press: ButtonPress) -> None:
        draft = await self._services.drafts.load(press.id, user_id=press.user_id)
        default_model = await request_forms.default_model_here(self._responder, press.interaction, draft.verb)
        fields = fields_of(press.interaction)
        draft = request_forms.apply_fields(
            draft, fields, self._services.offered, default_model=default_model, files=files_in(press.interaction)
        )
        await self._responder.submit_request(press.interaction, draft, received_at=press.received_at)


async def _reject_outdated(_: ButtonPress) -> None:
    raise UserError("button.too_old")

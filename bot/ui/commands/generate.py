"""The members' commands: `/imagine`, `/edit`, `/jobs`, `/usage`, `/help`, and the message menu for editing.

Their options and choices are generated from the catalogue.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Reference, Verb
from bot.core.references import result_of
from bot.core.request_draft import RequestDraft
from bot.core.routes import Number, Options, Words
from bot.jobs.build import Services
from bot.ui.cards import texts
from bot.ui.cards.history import MAX_WORDS_LENGTH
from bot.ui.cards.job_list import jobs_list
from bot.ui.cards.notices import ModelFact, help_page
from bot.ui.commands import request_forms
from bot.ui.commands.completion import OptionCompletion
from bot.ui.commands.history import History
from bot.ui.commands.preferences import MemberPages
from bot.ui.commands.pricing import default_quote, resolve_model, resolve_resolution
from bot.ui.commands.tray import TrayCommands, pictures_in_tray
from bot.ui.commands.usage import DrawChart, UsageCommand
from bot.ui.interactions.parsing import address_of, avatar_of, place_of, reference_of
from bot.ui.interactions.private_delivery import PrivateDelivery
from bot.ui.interactions.responder import Interaction, Responder

MAX_PROMPT = 4000  # characters; the limit of a form, so that every prompt can be changed
MAX_CHOICES = 25  # Discord's limit
Search = app_commands.Range[str, 1, MAX_WORDS_LENGTH]
COMPLETED_OPTIONS = ("model", "style", "resolution", "count")  # see `OptionCompletion`
PICTURES = ("image", *(f"image{n}" for n in range(2, 11)))  # a command has 25 options in all
MAX_PRIVATE_DELIVERIES = 4  # of one `/jobs`; for a user install Discord allows five follow-up messages


class Commands:
    """Registers and runs the commands."""

    def __init__(
        self,
        responder: Responder,
        *,
        private_delivery: PrivateDelivery,
        provider_names: Sequence[str],
        keep_hours: int,
        keep_days: int,
        user_install: bool,
        chart: DrawChart,
        history: History,
        pages: MemberPages,
    ) -> None:
        """*provider_names*: display names of the providers. Pictures are kept *keep_hours*, prompts *keep_days*."""
        self._responder = responder
        self._private_delivery = private_delivery
        self.tray = TrayCommands(responder)
        self.history = history
        self._pages = pages
        self._usage = UsageCommand(responder, chart)
        self._provider_names = tuple(provider_names)
        self._retention = {"keep_hours": keep_hours, "keep_days": keep_days}
        self._english = responder.texts.for_locale(texts.ENGLISH)
        self.contexts: dict[str, Any] = {
            "allowed_installs": app_commands.AppInstallationType(guild=True, user=user_install),
            "allowed_contexts": app_commands.AppCommandContext(
                guild=True, dm_channel=True, private_channel=user_install
            ),
        }

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        for verb in Verb:
            if self._offered.models_for(verb):
                tree.add_command(self._slash_command(verb))
        if self._offered.models_for(Verb.EDIT):
            tree.add_command(self._message_menu("edit_menu", self._edit_message))
            tree.add_command(self._message_menu("tray_menu", self.tray.add))
            tree.add_command(self._user_menu())
        commands = {
            "jobs": self.show_jobs,
            "usage": self._usage.show,
            "tray": self.tray.show,
            "preferences": self._pages.preferences,
            "privacy": self._pages.privacy,
            "help": self._help,
        }
        for name, handler in commands.items():
            tree.add_command(self._simple_command(name, handler))
        for command in self._history_commands():
            tree.add_command(command)

    @property
    def _offered(self) -> Catalog:
        """The catalogue of what is available now; before the first check, everything that our providers have."""
        return self._responder.services.offered

    # --- registration

    def _slash_command(self, verb: Verb) -> app_commands.Command[Any, ..., None]:
        responder = self._responder

        async def callback(interaction: Interaction, **given: Any) -> None:
            async def handler(received_at: int) -> None:
                draft = draft_from_options(responder.services.catalog, verb, given)
                if draft.thread:
                    responder.check_thread(interaction, private=draft.private)
                if given.get("use_tray"):
                    tray = await pictures_in_tray(responder, interaction)
                    draft = replace(draft, references=(*draft.references, *tray))
                if given.get("result"):
                    record, pictures = await self.history.pictures(interaction, given["result"])
                    source = None if record.reply.ephemeral else record.reply.address
                    draft = replace(
                        draft, references=(*pictures, *draft.references), parent_id=record.job.id, source=source
                    )
                draft = await request_forms.with_flags(responder, interaction, draft)
                place = place_of(interaction, member=responder.is_member(interaction))
                draft = await responder.services.requests.fill(draft, place, private=given.get("private"))
                await responder.submit_request(interaction, draft, received_at=received_at)

            await responder.handle(interaction, handler)

        parameters, choices = options_of(self._offered, verb)
        prices = OptionCompletion(responder, verb)
        offers: dict[str, Any] = {name: getattr(prices, name) for name in COMPLETED_OPTIONS}
        offers["result"] = self.history.complete
        first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Interaction)
        callback.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
        app_commands.choices(**choices)(callback)
        app_commands.autocomplete(**{each.name: offers[each.name] for each in parameters if each.name in offers})(
            callback
        )
        app_commands.describe(**{each.name: self._localized(f"option.{each.name}") for each in parameters})(callback)
        return app_commands.Command(
            name=verb.value, description=self._localized(verb), callback=callback, **self.contexts
        )

    def _message_menu(
        self, name: str, work: Callable[[Interaction, discord.Message], Awaitable[None]]
    ) -> app_commands.ContextMenu:
        async def callback(interaction: Interaction, message: discord.Message) -> None:
            async def handler(_: int) -> None:
                await work(interaction, message)

            await self._responder.handle(interaction, handler)

        return app_commands.ContextMenu(name=self._localized(name), callback=callback, **self.contexts)

    def _user_menu(self) -> app_commands.ContextMenu:
        async def callback(interaction: Interaction, user: discord.User | discord.Member) -> None:
            async def handler(_: int) -> None:
                await self._edit_avatar(interaction, user)

            await self._responder.handle(interaction, handler)

        return app_commands.ContextMenu(name=self._localized("avatar_menu"), callback=callback, **self.contexts)

    def _simple_command(
        self, name: str, work: Callable[[Interaction], Awaitable[None]]
    ) -> app_commands.Command[Any, ..., None]:
        async def callback(interaction: Interaction) -> None:
            async def handler(_: int) -> None:
                await work(interaction)

            await self._responder.handle(interaction, handler)

        return app_commands.Command(name=name, description=self._localized(name), callback=callback, **self.contexts)

    def _history_commands(self) -> list[app_commands.Command[Any, ..., None]]:
        responder, history = self._responder, self.history

        async def own(interaction: Interaction, words: Search | None = None, model: str | None = None) -> None:
            await responder.handle(interaction, lambda _: history.history(interaction, words, model))

        async def favorites(interaction: Interaction, words: Search | None = None) -> None:
            await responder.handle(interaction, lambda _: history.favorites(interaction, words))

        async def show(interaction: Interaction, result: str) -> None:
            await responder.handle(interaction, lambda _: history.show(interaction, result))

        async def models(_: Interaction, typed: str) -> list[app_commands.Choice[str]]:
            known = responder.services.catalog.models
            found = [(key, each.name) for key, each in known.items() if typed.casefold() in each.name.casefold()]
            return [app_commands.Choice(name=name, value=key) for key, name in found[:MAX_CHOICES]]

        described = {"words": self._localized("results_option.words"), "model": self._localized("results_option.model")}
        app_commands.describe(**described)(own)
        app_commands.autocomplete(model=models)(own)
        app_commands.describe(words=described["words"])(favorites)
        app_commands.describe(result=self._localized("option.result"))(show)
        app_commands.autocomplete(result=history.complete)(show)
        callbacks: Mapping[str, Any] = {"history": own, "favorites": favorites, "show": show}
        return [
            app_commands.Command(name=name, description=self._localized(name), callback=callback, **self.contexts)
            for name, callback in callbacks.items()
        ]

    def _localized(self, key: str) -> locale_str:
        return locale_str(self._english.say(f"command.{key}"), key=f"command.{key}")

    # --- handlers

    async def _edit_message(self, interaction: Interaction, message: discord.Message) -> None:
        """Open the edit form for the pictures in *message*; Discord has just renewed their URLs."""
        await self._responder.check_form(interaction, private=False)
        pictures = await self._responder.pictures_of(message)
        if not pictures:
            raise UserError("references.none_in_message")
        draft = RequestDraft(
            verb=Verb.EDIT,
            prompt="",
            references=tuple(pictures[: self._max_references()]),
            parent_id=self._job_shown_in(message, pictures),
            source=address_of(interaction, message),
        )
        await request_forms.open_draft(self._responder, interaction, draft, title="edit")

    def _job_shown_in(self, message: discord.Message, pictures: Sequence[Reference]) -> str | None:
        """The job whose results *message* shows, if it is one of our own."""
        named = result_of(pictures[0].filename) if message.author.id == self._responder.bot_id else None
        return named[0] if named else None

    async def _edit_avatar(self, interaction: Interaction, user: discord.User | discord.Member) -> None:
        """Open the edit form for a user's avatar."""
        await self._responder.check_form(interaction, private=False)
        self._max_references()
        draft = RequestDraft(verb=Verb.EDIT, prompt="", references=(avatar_of(user),))
        await request_forms.open_draft(self._responder, interaction, draft, title="edit")

    def _max_references(self) -> int:
        """How many pictures can be edited together; `UserError` where no model edits now."""
        if not (limit := request_forms.max_references(self._offered)):
            raise UserError("option.no_host")
        return limit

    async def show_jobs(self, interaction: Interaction) -> None:
        responder = self._responder
        cards, more = await responder.services.jobs.open_jobs(interaction.user.id)
        await responder.reply_privately(
            interaction, jobs_list(cards, responder.words(interaction), responder.clock(), more=more)
        )
        waiting = [each for each in cards if each.job.state.is_final and not each.hidden and not each.by_rules]
        for card in waiting[:MAX_PRIVATE_DELIVERIES]:
            await self._private_delivery.send(interaction, card)

    async def _help(self, interaction: Interaction) -> None:
        words = self._responder.words(interaction)
        models = model_facts(self._responder.services)
        await self._responder.reply_privately(
            interaction, help_page(words, models=models, provider_names=self._provider_names, **self._retention)
        )  # fmt: skip


def draft_from_options(catalog: Catalog, verb: Verb, given: dict[str, Any]) -> RequestDraft:
    """The options of a command as an unchecked request; `UserError` for an unresolved attachment."""
    asked = {name: given.get(name) for name in Options.model_fields}
    asked["resolution"] = resolve_resolution(catalog, given.get("resolution"))
    attached = [given[name] for name in PICTURES if given.get(name) is not None]
    if not all(
        isinstance(each, discord.Attachment) for each in attached
    ):  # an id that the interaction does not resolve
        raise UserError("command.outdated")
    return RequestDraft(
        verb=verb,
        prompt=given["prompt"],
        model=resolve_model(catalog, given.get("model")),
        asked=RequestedOptions(**asked),
        references=tuple(reference_of(each) for each in attached),
        private=bool(given.get("private")),
        style=(given.get("style") or "").strip() or None,
        thread=bool(given.get("thread")),
    )


def options_of(
    catalog: Catalog, verb: Verb
) -> tuple[list[inspect.Parameter], dict[str, list[app_commands.Choice[str]]]]:
    """The options of a command, combined over all its models, as parameters and choices by option name.

    An option that no model has, or that the operator's ceilings forbid, is left out.
    """
    models = catalog.models_for(verb)
    options = [endpoint.options for model in models.values() if (endpoint := model.endpoint(verb)) is not None]
    max_prompt = min(catalog.ceilings.prompt, MAX_PROMPT)
    parameters = [_parameter("prompt", app_commands.Range[str, 1, max_prompt], required=True)]
    if verb is Verb.EDIT:
        limit = max(model.edit.references for model in models.values() if model.edit)
        parameters += [_parameter(each, discord.Attachment) for each in PICTURES[:limit]]
        parameters += [_parameter("result", str), _parameter("use_tray", bool)]
    parameters += [_parameter("model", str), _parameter("style", str)]
    choices: dict[str, list[app_commands.Choice[str]]] = {}  # only of options without autocompletion
    for name in ("aspect_ratio", "resolution", "count", "seed", "format", "thinking", "web_search", "safety"):
        specs = [spec for each in options if (spec := getattr(each, name)) is not None]
        if not specs or (name == "web_search" and not catalog.ceilings.web_search):
            continue
        if isinstance(specs[0], Words):
            parameters.append(_parameter(name, str))
            if name not in COMPLETED_OPTIONS:
                choices[name] = [app_commands.Choice(name=each, value=each) for each in all_words(specs)]
        elif isinstance(specs[0], Number):
            low, high = min(each.min for each in specs), max(each.max for each in specs)
            high = min(high, catalog.ceilings.max_safety) if name == "safety" else high
            parameters.append(_parameter(name, app_commands.Range[int, low, high]))
        else:
            parameters.append(_parameter(name, bool))
    parameters.append(_parameter("private", bool))
    if verb is Verb.EDIT:
        parameters.append(_parameter("thread", bool))
    return parameters, choices


def all_words(specs: Sequence[Words]) -> list[str]:
    """The choices of all models, in the models' order, without duplicates; at most 25."""
    return list(dict.fromkeys(choice for each in specs for choice in each.choices))[:MAX_CHOICES]


def _parameter(name: str, annotation: Any, *, required: bool = False) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def model_facts(services: Services) -> list[ModelFact]:
    """Each model with the price of one picture now, with the model's default options."""
    facts = []
    for key, model in services.offered.models.items():
        quote = default_quote(services, key, Verb.IMAGINE if model.imagine else Verb.EDIT)
        facts.append(ModelFact(model.name, model.about, quote.micro_usd, quote.estimated))
    return facts

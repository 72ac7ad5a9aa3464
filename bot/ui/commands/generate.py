"""The slash commands and the message menu: what can be typed comes from the catalogue, what it does from Front."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.request_draft import RequestDraft
from bot.core.routes import Number, Options, Words
from bot.jobs.build import Services
from bot.ui.cards import texts
from bot.ui.cards.job_list import jobs_list
from bot.ui.cards.notices import ModelFact, help_page
from bot.ui.commands import request_forms
from bot.ui.commands.completion import OptionCompletion
from bot.ui.commands.pricing import resolve_model, resolve_resolution, usual_quote
from bot.ui.commands.usage import Draw, Usage
from bot.ui.interactions.parsing import reference_of
from bot.ui.interactions.private_delivery import PrivateDelivery
from bot.ui.interactions.responder import Interaction, Responder

MOST_PROMPT = 4000  # what a form takes too, so that every prompt can be changed
MOST_CHOICES = 25
COMPLETED = ("model", "resolution", "count")  # with prices, while they are typed
PICTURES = ("image1", "image2", "image3", "image4")
HANDED_OVER_AT_ONCE = 4  # where only its user installed the bot, Discord takes five messages after the first


class Commands:
    def __init__(
        self,
        responder: Responder,
        *,
        private_delivery: PrivateDelivery,
        hosts: Sequence[str],
        keep_hours: int,
        keep_days: int,
        user_install: bool,
        chart: Draw,
    ) -> None:
        """*hosts* are the providers' names for people; pictures stay *keep_hours*, prompts *keep_days*."""
        self._responder = responder
        self._hand_over = private_delivery
        self._usage = Usage(responder, chart)
        self._hosts = tuple(hosts)
        self._kept = {"keep_hours": keep_hours, "keep_days": keep_days}
        self._english = responder.texts.for_locale(texts.ENGLISH)
        self._where: dict[str, Any] = {
            "allowed_installs": app_commands.AppInstallationType(guild=True, user=user_install),
            "allowed_contexts": app_commands.AppCommandContext(
                guild=True, dm_channel=True, private_channel=user_install
            ),
        }

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        for verb in Verb:
            if self._offered.models_for(verb):
                tree.add_command(self._drawing(verb))
        if self._offered.models_for(Verb.EDIT):
            tree.add_command(self._menu())
        for name, handler in (("jobs", self._jobs), ("usage", self._usage.show), ("help", self._help)):
            tree.add_command(self._plain(name, handler))

    @property
    def _offered(self) -> Catalog:
        """What can be had now; when the commands are made, before anything is looked at, all that our hosts have."""
        return self._responder.services.offered

    # --- what Discord is told

    def _drawing(self, verb: Verb) -> app_commands.Command[Any, ..., None]:
        responder = self._responder

        async def callback(interaction: Interaction, **given: Any) -> None:
            async def handler(received_at: int) -> None:
                await responder.submit_request(
                    interaction, draft_from_options(responder.services.catalog, verb, given), received_at=received_at
                )

            await responder.handle(interaction, handler)

        parameters, choices = options_of(self._offered, verb)
        prices = OptionCompletion(responder, verb)
        offers = {name: getattr(prices, name) for name in COMPLETED}
        first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Interaction)
        callback.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
        app_commands.choices(**choices)(callback)
        app_commands.autocomplete(**{each.name: offers[each.name] for each in parameters if each.name in offers})(
            callback
        )
        app_commands.describe(**{each.name: self._said(f"option.{each.name}") for each in parameters})(callback)
        return app_commands.Command(name=verb.value, description=self._said(verb), callback=callback, **self._where)

    def _menu(self) -> app_commands.ContextMenu:
        async def callback(interaction: Interaction, message: discord.Message) -> None:
            async def handler(_: int) -> None:
                await self._edit_message(interaction, message)

            await self._responder.handle(interaction, handler)

        return app_commands.ContextMenu(name=self._said("edit_menu"), callback=callback, **self._where)

    def _plain(self, name: str, work: Callable[[Interaction], Awaitable[None]]) -> app_commands.Command[Any, ..., None]:
        async def callback(interaction: Interaction) -> None:
            async def handler(_: int) -> None:
                await work(interaction)

            await self._responder.handle(interaction, handler)

        return app_commands.Command(name=name, description=self._said(name), callback=callback, **self._where)

    def _said(self, key: str) -> locale_str:
        return locale_str(self._english.say(f"command.{key}"), key=f"command.{key}")

    # --- what they do

    async def _edit_message(self, interaction: Interaction, message: discord.Message) -> None:
        """Open the form; pictures come from the message as it was handed to us, its links are fresh."""
        await self._responder.check_form(interaction, private=False)
        pictures = await self._responder.pictures_of(message)
        if not pictures:
            raise UserError("references.none_in_message")
        most = [each.edit.references for each in self._offered.models.values() if each.edit]
        if not most:
            raise UserError("option.no_host")
        draft = RequestDraft(verb=Verb.EDIT, prompt="", references=tuple(pictures[: max(most)]))
        await request_forms.open_draft(self._responder, interaction, draft, title="edit")

    async def _jobs(self, interaction: Interaction) -> None:
        responder = self._responder
        cards, more = await responder.services.jobs.open_jobs(interaction.user.id)
        await responder.reply_privately(
            interaction, jobs_list(cards, responder.words(interaction), responder.clock(), more=more)
        )
        waiting = [each for each in cards if each.job.state.is_final and not each.hidden]
        for card in waiting[:HANDED_OVER_AT_ONCE]:
            await self._hand_over.send(interaction, card)

    async def _help(self, interaction: Interaction) -> None:
        words = self._responder.words(interaction)
        models = model_facts(self._responder.services)
        await self._responder.reply_privately(
            interaction, help_page(words, models=models, hosts=self._hosts, **self._kept)
        )  # fmt: skip


def draft_from_options(catalog: Catalog, verb: Verb, given: dict[str, Any]) -> RequestDraft:
    """What was typed as options of a command."""
    asked = {name: given.get(name) for name in Options.model_fields}
    asked["resolution"] = resolve_resolution(catalog, given.get("resolution"))
    attached = [given[name] for name in PICTURES if given.get(name) is not None]
    if not all(isinstance(each, discord.Attachment) for each in attached):  # a number that Discord does not explain
        raise UserError("command.outdated")
    return RequestDraft(
        verb=verb,
        prompt=given["prompt"],
        model=resolve_model(catalog, given.get("model")),
        asked=RequestedOptions(**asked),
        references=tuple(reference_of(each) for each in attached),
        private=bool(given.get("private")),
    )


def options_of(
    catalog: Catalog, verb: Verb
) -> tuple[list[inspect.Parameter], dict[str, list[app_commands.Choice[str]]]]:
    """The options of a command, over all its models; one that no model has, or the operator rules out, is absent."""
    models = catalog.models_for(verb)
    has = [endpoint.options for model in models.values() if (endpoint := model.endpoint(verb)) is not None]
    most = min(catalog.ceilings.prompt, MOST_PROMPT)
    parameters = [_parameter("prompt", app_commands.Range[str, 1, most], required=True)]
    if verb is Verb.EDIT:
        parameters += [_parameter(each, discord.Attachment, required=each == PICTURES[0]) for each in PICTURES]
    parameters.append(_parameter("model", str))
    choices: dict[str, list[app_commands.Choice[str]]] = {}  # of what is not completed while it is typed
    for name in ("aspect_ratio", "resolution", "count", "seed", "format", "thinking", "web_search", "safety"):
        specs = [spec for each in has if (spec := getattr(each, name)) is not None]
        if not specs or (name == "web_search" and not catalog.ceilings.web_search):
            continue
        if isinstance(specs[0], Words):
            parameters.append(_parameter(name, str))
            if name not in COMPLETED:
                choices[name] = [app_commands.Choice(name=each, value=each) for each in all_words(specs)]
        elif isinstance(specs[0], Number):
            low, high = min(each.min for each in specs), max(each.max for each in specs)
            high = min(high, catalog.ceilings.max_safety) if name == "safety" else high
            parameters.append(_parameter(name, app_commands.Range[int, low, high]))
        else:
            parameters.append(_parameter(name, bool))
    parameters.append(_parameter("private", bool))
    return parameters, choices


def all_words(specs: Sequence[Words]) -> list[str]:
    """Every choice that any model has, in the order of the models; Discord shows 25."""
    return list(dict.fromkeys(choice for each in specs for choice in each.choices))[:MOST_CHOICES]


def _parameter(name: str, annotation: Any, *, required: bool = False) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def model_facts(services: Services) -> list[ModelFact]:
    """What one picture of each model costs now with the model's own choices."""
    facts = []
    for key, model in services.offered.models.items():
        quote = usual_quote(services, key, Verb.IMAGINE if model.imagine else Verb.EDIT)
        facts.append(ModelFact(model.name, model.about, quote.micro_usd, quote.estimated))
    return facts

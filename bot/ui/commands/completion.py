"""Autocompletion of model, resolution and count, each with its price and the member's remaining quota."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from discord.app_commands import Choice, Namespace

from bot.core import quota
from bot.core.cards import granted, tightest
from bot.core.catalog import Catalog, Quote, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Place, Verb
from bot.core.preferences import SAMPLE_PROMPT, SAMPLE_REFERENCE
from bot.core.request_draft import RequestDraft
from bot.core.routes import Options, Wire
from bot.core.server_settings import ServerSettings
from bot.core.style_choice import style_name, styles_here
from bot.store.database import DATABASE_ERRORS
from bot.store.queries import QuotaStatus
from bot.ui.cards import quota_text
from bot.ui.cards import styles as style_cards
from bot.ui.cards.texts import Words
from bot.ui.commands.pricing import (
    SEPARATOR,
    chosen_value,
    price_per_picture,
    resolve_model,
    resolve_resolution,
)
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import Interaction, Responder

MAX_CHOICES = 25
MAX_NAME_LENGTH = 100
TIMEOUT = 1.5  # seconds for the quota; Discord waits three, and a member who types waits less
STATUS_ERRORS: tuple[type[Exception], ...] = (UserError, *DATABASE_ERRORS)
OPTION_TYPES: Mapping[str, type] = {
    "aspect_ratio": str,
    "count": int,
    "format": str,
    "safety": int,
    "thinking": str,
    "web_search": bool,
}


@dataclass(frozen=True, slots=True)
class _Context:
    """Where a command is typed, and the options filled in so far."""

    place: Place
    server_settings: ServerSettings
    status: QuotaStatus | None  # None if the place is closed, or if the query fails or times out
    words: Words
    model: str | None
    filled: Mapping[str, Wire]  # the other options
    style: str | None = None


class OptionCompletion:
    """The autocompletion of one command; choices that would be refused here are left out."""

    def __init__(self, responder: Responder, verb: Verb) -> None:
        self._responder = responder
        self._verb = verb

    @property
    def _offered(self) -> Catalog:
        return self._responder.services.offered

    async def model(self, interaction: Interaction, typed: str) -> list[Choice[str]]:
        context = await self._context(interaction)
        choices = []
        for key, each in self._offered.models_for(self._verb).items():
            quote = self._quote(context, key)
            if quote is not None and _matches(typed, key, each.name):
                choices.append(
                    Choice(
                        name=_label(each.name, price_per_picture(context.words, quote), *_remaining(context, quote)),
                        value=key,
                    )
                )
        return choices[:MAX_CHOICES]

    async def resolution(self, interaction: Interaction, typed: str) -> list[Choice[str]]:
        context = await self._context(interaction)
        model, options = self._model_and_options(context)
        choices = []
        for each in options.resolution.choices if options.resolution else ():
            quote = self._quote(context, model, resolution=each)
            if quote is not None and _matches(typed, each):
                choices.append(
                    Choice(
                        name=_label(each, price_per_picture(context.words, quote), *_remaining(context, quote)),
                        value=each,
                    )
                )
        return choices[:MAX_CHOICES]

    async def count(self, interaction: Interaction, typed: str | int) -> list[Choice[int]]:
        context = await self._context(interaction)
        model, options = self._model_and_options(context)
        numbers = range(options.count.min, options.count.max + 1) if options.count else range(1, 2)
        choices = []
        prefix = str(typed).strip().partition(" ")[0]  # the number, also of a chosen label (see `chosen_value`)
        for each in (each for each in numbers if str(each).startswith(prefix)):
            quote = self._quote(context, model, count=each)
            if quote is not None:
                pictures = quota_text.amount(context.words, quota.Unit.IMAGES, each)
                price = context.words.money(quote.micro_usd * each, about=quote.estimated)
                choices.append(Choice(name=_label(pictures, price, *_remaining(context, quote)), value=each))
        return choices[:MAX_CHOICES]

    async def style(self, interaction: Interaction, typed: str) -> list[Choice[str]]:
        server_settings = (await self._context(interaction)).server_settings
        catalog = self._responder.services.catalog
        models = {key: each.name for key, each in catalog.models.items()}
        return [
            Choice(name=style_cards.choice(name, each, models), value=name)
            for name, each in styles_here(self._offered, server_settings).items()
            if _matches(typed, name)
        ][:MAX_CHOICES]

    # --- context and prices

    async def _context(self, interaction: Interaction) -> _Context:
        responder, filled = self._responder, interaction.namespace
        place = place_of(interaction, member=responder.is_member(interaction))
        status = await self._quota_status(interaction, place)
        return _Context(
            place=place,
            server_settings=status.server_settings if status else ServerSettings(),
            status=status,
            words=responder.words(interaction),
            model=resolve_model(responder.services.catalog, filled.model),
            filled=self._filled_options(filled),
            style=self._style(filled.style, status.server_settings if status else ServerSettings()),
        )

    def _style(self, typed: object, server_settings: ServerSettings) -> str | None:
        if not isinstance(typed, str):
            return None
        return style_name(typed, styles_here(self._offered, server_settings))

    def _filled_options(self, typed: Namespace) -> Mapping[str, Wire]:
        # While an option is typed, Discord may send a value of another type for it.
        options = {
            name: getattr(typed, name) for name, kind in OPTION_TYPES.items() if isinstance(getattr(typed, name), kind)
        }
        resolution = resolve_resolution(self._responder.services.catalog, typed.resolution)
        return {"resolution": resolution, **options} if resolution is not None else options

    async def _quota_status(self, interaction: Interaction, place: Place) -> QuotaStatus | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._responder.check_place(interaction)
                status = await self._responder.services.usage.quota_status(place)
        except STATUS_ERRORS:
            return None
        return status if status.server_settings.allows(place.channels) else None

    def _model_and_options(self, context: _Context) -> tuple[str | None, Options]:
        """The model filled in, or the default model if that one is not available here, and its options."""
        for model in (context.model, None):
            request = self._request(context, model, RequestedOptions())
            if request is not None:
                return request.model, self._offered.endpoint(request.model, self._verb).options
        return None, Options()

    def _quote(
        self, context: _Context, model: str | None, *, resolution: str | None = None, count: int | None = None
    ) -> Quote | None:
        """The price of one picture with these options, and with those filled in that can be combined with them.

        None if the request would be refused.
        """
        options = RequestedOptions(resolution=resolution, count=count)
        best = self._request(context, model, options)
        for name, value in context.filled.items():
            if best is not None and getattr(options, name) is None:
                fuller = replace(options, **{name: value})  # type: ignore[arg-type]
                if (request := self._request(context, model, fuller)) is not None:
                    options, best = fuller, request
        return self._responder.services.routing.quote(best) if best is not None else None

    def _request(self, context: _Context, model: str | None, asked: RequestedOptions) -> ImageRequest | None:
        references = (SAMPLE_REFERENCE,) if self._verb is Verb.EDIT else ()
        draft = RequestDraft(
            verb=self._verb, prompt=SAMPLE_PROMPT, model=model, asked=asked, references=references, style=context.style
        )
        try:
            return self._responder.services.requests.request(draft, context.place, context.server_settings)
        except UserError:
            return None


def _label(*facts: str) -> str:
    return SEPARATOR.join(facts)[:MAX_NAME_LENGTH]


def _matches(typed: str, *names: str) -> bool:
    return any(chosen_value(typed).casefold() in each.casefold() for each in names)


def _remaining(context: _Context, quote: Quote) -> list[str]:
    """What the member has left now: of the tightest limit at this price, and of their bonus, as texts."""
    if context.status is None:
        return []
    allowance = tightest(quota.allowances(context.status.limits, context.status.used), price=quote.micro_usd)
    left = quota_text.left(context.words, allowance, price=quote.micro_usd) if allowance else ""
    return [each for each in (left, quota_text.bonus(context.words, granted(context.status.grants))) if each]

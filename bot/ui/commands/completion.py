"""Offers models, resolutions and counts while a command is typed, each with its price and what is left."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from discord.app_commands import Choice, Namespace

from bot.core import quota
from bot.core.cards import granted, tightest
from bot.core.catalog import Catalog, Quote, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Place, Verb
from bot.core.request_draft import RequestDraft
from bot.core.routes import Options, Wire
from bot.core.server_settings import ServerSettings
from bot.store.database import DATABASE_ERRORS
from bot.store.queries import QuotaStatus
from bot.ui.cards import quota_text
from bot.ui.cards.texts import Words
from bot.ui.commands.pricing import ANY_PROMPT, SAMPLE, SEPARATOR, _first, each_costs, resolve_model, resolve_resolution
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import Interaction, Responder

MOST_CHOICES = 25
MOST_NAME = 100
QUICK = 1.5  # seconds; Discord waits for three, and the one who types for less
NOTHING_KNOWN: tuple[type[Exception], ...] = (UserError, *DATABASE_ERRORS)
FILLED: Mapping[str, type] = {
    "aspect_ratio": str,
    "count": int,
    "format": str,
    "safety": int,
    "thinking": str,
    "web_search": bool,
}


@dataclass(frozen=True, slots=True)
class _Counter:
    """Where somebody types, and what has been filled in so far."""

    place: Place
    server_settings: ServerSettings
    standing: QuotaStatus | None  # None where no pictures are made, or nothing is known in time
    words: Words
    model: str | None
    filled: Mapping[str, Wire]  # the other options


class OptionCompletion:
    """The autocompletion of one command; what is offered is what would be accepted."""

    def __init__(self, responder: Responder, verb: Verb) -> None:
        self._responder = responder
        self._verb = verb

    @property
    def _offered(self) -> Catalog:
        return self._responder.services.offered

    async def model(self, interaction: Interaction, typed: str) -> list[Choice[str]]:
        at = await self._counter(interaction)
        offers = []
        for key, each in self._offered.models_for(self._verb).items():
            quote = self._quote(at, key)
            if quote is not None and _matches(typed, key, each.name):
                offers.append(Choice(name=_name(each.name, each_costs(at.words, quote), *_left(at, quote)), value=key))
        return offers[:MOST_CHOICES]

    async def resolution(self, interaction: Interaction, typed: str) -> list[Choice[str]]:
        at = await self._counter(interaction)
        model, options = self._chosen(at)
        offers = []
        for each in options.resolution.choices if options.resolution else ():
            quote = self._quote(at, model, resolution=each)
            if quote is not None and _matches(typed, each):
                offers.append(Choice(name=_name(each, each_costs(at.words, quote), *_left(at, quote)), value=each))
        return offers[:MOST_CHOICES]

    async def count(self, interaction: Interaction, typed: str | int) -> list[Choice[int]]:
        at = await self._counter(interaction)
        model, options = self._chosen(at)
        numbers = range(options.count.min, options.count.max + 1) if options.count else range(1, 2)
        offers = []
        begins = str(typed).strip().partition(" ")[0]  # of a whole line too, as in `_first`
        for each in (each for each in numbers if str(each).startswith(begins)):
            quote = self._quote(at, model, count=each)
            if quote is not None:
                pictures = quota_text.amount(at.words, quota.Unit.IMAGES, each)
                price = at.words.money(quote.micro_usd * each, about=quote.estimated)
                offers.append(Choice(name=_name(pictures, price, *_left(at, quote)), value=each))
        return offers[:MOST_CHOICES]

    # --- where, and what would come of it

    async def _counter(self, interaction: Interaction) -> _Counter:
        responder, filled = self._responder, interaction.namespace
        place = place_of(interaction, member=responder.is_member(interaction))
        standing = await self._standing(interaction, place)
        return _Counter(
            place=place,
            server_settings=standing.server_settings if standing else ServerSettings(),
            standing=standing,
            words=responder.words(interaction),
            model=resolve_model(responder.services.catalog, filled.model),
            filled=self._filled(filled),
        )

    def _filled(self, typed: Namespace) -> Mapping[str, Wire]:
        found = {name: getattr(typed, name) for name, kind in FILLED.items() if isinstance(getattr(typed, name), kind)}
        resolution = resolve_resolution(self._responder.services.catalog, typed.resolution)
        return {"resolution": resolution, **found} if resolution is not None else found

    async def _standing(self, interaction: Interaction, place: Place) -> QuotaStatus | None:
        try:
            async with asyncio.timeout(QUICK):
                await self._responder.check_place(interaction)
                found = await self._responder.services.usage.quota_status(place)
        except NOTHING_KNOWN:
            return None
        return found if found.server_settings.opens(place.channels) else None

    def _chosen(self, at: _Counter) -> tuple[str | None, Options]:
        """The model that was filled in, or where that cannot be had here, the one that would be taken."""
        for model in (at.model, None):
            request = self._request(at, model, RequestedOptions())
            if request is not None:
                return request.model, self._offered.endpoint(request.model, self._verb).options
        return None, Options()

    def _quote(
        self, at: _Counter, model: str | None, *, resolution: str | None = None, count: int | None = None
    ) -> Quote | None:
        """The price of a picture with these; what else was filled in counts as far as it goes with them."""
        offered = RequestedOptions(resolution=resolution, count=count)
        best = self._request(at, model, offered)
        for name, value in at.filled.items():
            if best is not None and getattr(offered, name) is None:
                fuller = replace(offered, **{name: value})  # type: ignore[arg-type]
                if (request := self._request(at, model, fuller)) is not None:
                    offered, best = fuller, request
        return self._responder.services.routing.quote(best) if best is not None else None

    def _request(self, at: _Counter, model: str | None, asked: RequestedOptions) -> ImageRequest | None:
        references = (SAMPLE,) if self._verb is Verb.EDIT else ()
        draft = RequestDraft(verb=self._verb, prompt=ANY_PROMPT, model=model, asked=asked, references=references)
        try:
            return self._responder.services.requests.request(draft, at.place, at.server_settings)
        except UserError:
            return None


def _name(*facts: str) -> str:
    return SEPARATOR.join(facts)[:MOST_NAME]


def _matches(typed: str, *names: str) -> bool:
    return any(_first(typed).casefold() in each.casefold() for each in names)


def _left(at: _Counter, quote: Quote) -> list[str]:
    """What is left before the press: of the member's tightest limit at this price, and of their bonus."""
    if at.standing is None:
        return []
    allowance = tightest(quota.allowances(at.standing.limits, at.standing.used), price=quote.micro_usd)
    left = quota_text.left(at.words, allowance) if allowance else ""
    return [each for each in (left, quota_text.bonus(at.words, granted(at.standing.grants))) if each]


# --- prices from memory, and what was meant by words typed by hand

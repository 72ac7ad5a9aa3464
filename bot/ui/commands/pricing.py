"""Prices of one picture from the catalogue in memory, and models and resolutions from typed text."""

from collections.abc import Mapping

from bot.core.catalog import Catalog, Quote, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.preferences import SAMPLE_PROMPT, SAMPLE_REFERENCE
from bot.core.server_settings import resolutions
from bot.jobs.build import Services
from bot.ui.cards.texts import Words

SEPARATOR = " · "


def chosen_value(typed: str) -> str:
    """The value at the start of *typed*: after a choice is edited, Discord sends its whole label."""
    return typed.partition(SEPARATOR)[0].strip()


def price_per_picture(words: Words, quote: Quote) -> str:
    """`about $0.08 a picture`."""
    return words.say("charge.each", price=words.money(quote.micro_usd, about=quote.estimated))


def default_quote(services: Services, model: str, verb: Verb, *, asked: RequestedOptions | None = None) -> Quote:
    """The price of one picture by *model* now, with the options in *asked* that it has, and its defaults."""
    supported = services.offered.still_offered(model, verb, asked or RequestedOptions())
    try:
        return _quote(services, model, verb, supported)
    except UserError:  # no provider has this combination
        return _quote(services, model, verb, RequestedOptions())


def _quote(services: Services, model: str, verb: Verb, asked: RequestedOptions) -> Quote:
    references = (SAMPLE_REFERENCE,) if verb is Verb.EDIT else ()
    request = services.offered.request(
        model, verb, prompt=SAMPLE_PROMPT, asked=asked, references=references, drawn_seed=0
    )
    return services.routing.quote(request)


def resolve_model(catalog: Catalog, typed: object) -> str | None:
    """The id of the model with this id or name, ignoring case; *typed* if there is none, None if it is empty."""
    known = {name: key for key, each in catalog.models.items() for name in (each.name.casefold(), key.casefold())}
    return _resolve(known, typed)


def resolve_resolution(catalog: Catalog, typed: object) -> str | None:
    """The resolution as the catalogue spells it; *typed* if there is none, None if it is empty."""
    return _resolve({each.casefold(): each for each in resolutions(catalog)}, typed)


def _resolve(known: Mapping[str, str], typed: object) -> str | None:
    if not isinstance(typed, str) or not typed.strip():
        return None
    return known.get(chosen_value(typed).casefold(), typed.strip())

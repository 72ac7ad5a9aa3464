"""What a picture costs for the model and the options that were typed."""

from collections.abc import Mapping

from bot.core.catalog import Catalog, Quote, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Reference, Verb
from bot.core.server_settings import resolutions
from bot.jobs.build import Services
from bot.ui.cards.texts import Words

SEPARATOR = " · "
SAMPLE = Reference("https://cdn.discordapp.com/sample.png", "sample.png")  # for what is still to be attached


ANY_PROMPT = "a picture"  # long enough for every host


def _first(typed: str) -> str:
    """What was chosen, where somebody went on typing behind a choice and Discord sends its whole line."""
    return typed.partition(SEPARATOR)[0].strip()


def each_costs(words: Words, quote: Quote) -> str:
    """`about $0.08 a picture`."""
    return words.say("charge.each", price=words.money(quote.micro_usd, about=quote.estimated))


def usual_quote(services: Services, model: str, verb: Verb, *, asked: RequestedOptions | None = None) -> Quote:
    """What a picture by *model* would cost now with what of *asked* it has, and else as it makes it by itself."""
    kept = services.offered.still(model, verb, asked or RequestedOptions())
    try:
        return _quoted(services, model, verb, kept)
    except UserError:  # no host makes these together
        return _quoted(services, model, verb, RequestedOptions())


def _quoted(services: Services, model: str, verb: Verb, asked: RequestedOptions) -> Quote:
    references = (SAMPLE,) if verb is Verb.EDIT else ()
    request = services.offered.request(model, verb, prompt=ANY_PROMPT, asked=asked, references=references, drawn_seed=0)
    return services.routing.quote(request)


def resolve_model(catalog: Catalog, typed: object) -> str | None:
    """The model that *typed* names by its id or its name; *typed* itself where there is none."""
    known = {name: key for key, each in catalog.models.items() for name in (each.name.casefold(), key.casefold())}
    return _meant(known, typed)


def resolve_resolution(catalog: Catalog, typed: object) -> str | None:
    return _meant({each.casefold(): each for each in resolutions(catalog)}, typed)


def _meant(known: Mapping[str, str], typed: object) -> str | None:
    if not isinstance(typed, str) or not typed.strip():
        return None
    return known.get(_first(typed).casefold(), typed.strip())

"""Forms around a wish: opened from memory over a draft, and read back when they are sent."""

from collections.abc import Mapping
from dataclasses import replace

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.jobs import Verb
from bot.core.request_draft import RequestDraft
from bot.core.server_settings import usual_model
from bot.jobs.build import Services
from bot.ui.cards.forms import Choices, prompt_form
from bot.ui.cards.texts import Words
from bot.ui.commands.pricing import each_costs, usual_quote
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import Interaction, Responder

MOST_COUNTS = 10


def form_id(draft_id: str) -> str:
    """What a form over a draft is called; `f1` is the version of its fields."""
    return f"f1:{draft_id}"


async def open_draft(
    responder: Responder, interaction: Interaction, draft: RequestDraft, *, title: str = "change"
) -> None:
    """Keep *wish* for a quarter of an hour and show it as a form; sending that asks anew."""
    draft_id = await responder.services.drafts.keep(draft, user_id=interaction.user.id)
    await show_draft(responder, interaction, draft, draft_id=draft_id, title=title)


async def show_draft(
    responder: Responder, interaction: Interaction, draft: RequestDraft, *, draft_id: str, title: str = "change"
) -> None:  # fmt: skip
    services, words = responder.services, responder.words(interaction)
    usual = await usual_here(responder, interaction, draft.verb)
    form = prompt_form(
        words,
        custom_id=form_id(draft_id),
        prompt=draft.prompt,
        limit=services.offered.ceilings.prompt,
        title=title,
        choices=choices_for(draft, services, usual=usual, words=words),
    )
    await responder.open_form(interaction, form)


async def usual_here(responder: Responder, interaction: Interaction, verb: Verb) -> str | None:
    """The model that is taken where a wish names none."""
    place = place_of(interaction, member=responder.is_member(interaction))
    return usual_model(await responder.services.requests.server_settings(place), responder.services.offered, verb)


def choices_for(draft: RequestDraft, services: Services, *, usual: str | None, words: Words) -> Choices:
    """What a form offers: everything that any model of the verb has, with the wish's own choices chosen.

    Each model says what a picture would cost now with what was chosen, as far as it has that; see `filled_in`.
    *usual* is the model that is taken where none is named.
    """
    models = services.offered.models_for(draft.verb)
    has = [endpoint.options for model in models.values() if (endpoint := model.endpoint(draft.verb)) is not None]
    ratios = [choice for each in has if each.aspect_ratio for choice in each.aspect_ratio.choices]
    resolutions = [choice for each in has if each.resolution for choice in each.resolution.choices]
    most = max((each.count.max for each in has if each.count), default=1)
    return Choices(
        models=[(key, model.name) for key, model in models.items()],
        ratios=list(dict.fromkeys(ratios)),
        resolutions=list(dict.fromkeys(resolutions)),
        counts=range(1, min(most, MOST_COUNTS) + 1) if most > 1 else (),
        model=draft.model,
        ratio=draft.asked.aspect_ratio,
        resolution=draft.asked.resolution,
        count=draft.asked.count,
        prices={
            key: each_costs(words, usual_quote(services, key, draft.verb, asked=_followed(draft, key, usual=usual)))
            for key in models
        },
    )


def _followed(draft: RequestDraft, model: str, *, usual: str | None) -> RequestedOptions:
    """What of *wish* holds for *model*: what the form has, and the rest where it is the model it was chosen for."""
    asked = draft.asked
    if model == (draft.model or usual):
        return asked
    return RequestedOptions(aspect_ratio=asked.aspect_ratio, resolution=asked.resolution, count=asked.count)


def filled_in(
    draft: RequestDraft, fields: Mapping[str, str | None], catalog: Catalog, *, usual: str | None
) -> RequestDraft:
    """*wish* with what a form says; options that only the old model had do not follow to another one.

    Of what the form does not ask for, only what *catalog* still offers is left: nobody could take it out of a form.
    """
    model = fields.get("model") if "model" in fields else draft.model
    taken = model or usual
    asked = draft.asked if taken == (draft.model or usual) else RequestedOptions()
    asked = catalog.still(taken, draft.verb, asked) if taken else asked
    count = fields.get("count") or ""
    changes: dict[str, str | int | None] = {
        name: fields[name] for name in ("aspect_ratio", "resolution") if name in fields
    }  # fmt: skip
    if "count" in fields:
        changes["count"] = int(count) if count.isdecimal() else None
    return replace(draft, prompt=fields.get("prompt") or "", model=model, asked=replace(asked, **changes))  # type: ignore[arg-type]

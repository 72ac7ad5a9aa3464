"""Forms to write or change a request: shown for a stored draft, and read when submitted."""

from collections.abc import Mapping
from dataclasses import replace

from bot.core.catalog import Catalog, RequestedOptions, resolution_size
from bot.core.jobs import Reference, Verb
from bot.core.prompt_flags import apply_flags, asks_for_largest
from bot.core.request_draft import RequestDraft
from bot.core.server_settings import ServerSettings, default_model
from bot.jobs.build import Services
from bot.ui.cards.forms import Choices, prompt_form
from bot.ui.cards.texts import Words
from bot.ui.commands.pricing import default_quote, price_per_picture
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import Interaction, Responder

MAX_COUNT = 10  # pictures, in the form's select


def form_id(draft_id: str) -> str:
    """The custom id of a draft's form; `f1` is the version of its fields."""
    return f"f1:{draft_id}"


async def open_draft(
    responder: Responder, interaction: Interaction, draft: RequestDraft, *, title: str = "change", pick: bool = False
) -> None:
    """Store *draft* for 15 minutes and show it as a form; submitting the form submits the request.

    *pick*: the form asks which one of the draft's pictures to edit.
    """
    if title == "edit":  # a new request
        place = place_of(interaction, member=responder.is_member(interaction))
        draft = await responder.services.requests.fill(draft, place, private=draft.private or None)
    draft_id = await responder.services.drafts.keep(draft, user_id=interaction.user.id)
    await show_draft(responder, interaction, draft, draft_id=draft_id, title=title, pick=pick)


async def show_draft(
    responder: Responder,
    interaction: Interaction,
    draft: RequestDraft,
    *,
    draft_id: str,
    title: str = "change",
    pick: bool = False,
) -> None:
    services, words = responder.services, responder.words(interaction)
    place = place_of(interaction, member=responder.is_member(interaction))
    server_settings = await services.requests.server_settings(place)
    used_model = default_model(server_settings, services.offered, draft.verb)
    form = prompt_form(
        words,
        custom_id=form_id(draft_id),
        prompt=draft.prompt,
        limit=services.offered.ceilings.prompt,
        title=title,
        choices=replace(
            choices_for(
                draft,
                services,
                default_model=used_model,
                words=words,
                server_settings=server_settings,
                channels=place.channels,
            ),
            pictures=len(draft.references) if pick else 1,
            files=max(0, max_references(services.offered) - (1 if pick else len(draft.references)))
            if draft.verb is Verb.EDIT
            else 0,
        ),
    )
    await responder.open_form(interaction, form)


def max_references(catalog: Catalog) -> int:
    """How many pictures the model takes that takes the most."""
    return max((each.edit.references for each in catalog.models.values() if each.edit), default=0)


async def with_flags(responder: Responder, interaction: Interaction, draft: RequestDraft) -> RequestDraft:
    """The draft of a command with the flags of its prompt as options; the database is read for `--hd` only."""
    model = draft.model
    if model is None and asks_for_largest(draft.prompt):
        model = await default_model_here(responder, interaction, draft.verb)
    return apply_flags(draft, responder.services.offered, model=model)


async def default_model_here(responder: Responder, interaction: Interaction, verb: Verb) -> str | None:
    """The model that is used here if a request names none."""
    place = place_of(interaction, member=responder.is_member(interaction))
    return default_model(await responder.services.requests.server_settings(place), responder.services.offered, verb)


def choices_for(
    draft: RequestDraft,
    services: Services,
    *,
    default_model: str | None,
    words: Words,
    server_settings: ServerSettings,
    channels: tuple[int, ...],
) -> Choices:
    """The choices of a form: those that the server and the channel allow, with the draft's own selected.

    What the draft leaves open is selected as it will be. Each model has the price of one picture now, with the draft's
    options as far as they apply to it. *default_model* is used if the draft names none.
    """
    cap = server_settings.ceiling(channels)
    used = effective(draft, services.offered, default_model=default_model)
    offered = services.offered.models_for(draft.verb)
    models = {key: each for key, each in offered.items() if key not in server_settings.models}
    options = [endpoint.options for model in models.values() if (endpoint := model.endpoint(draft.verb)) is not None]
    ratios = [choice for each in options if each.aspect_ratio for choice in each.aspect_ratio.choices]
    specs = [each.resolution for each in options if each.resolution]
    resolutions = [choice for each in specs for choice in each.choices if cap.allows_resolution(choice)]
    max_count = min(max((each.count.max for each in options if each.count), default=1), cap.count or MAX_COUNT)
    resolution, count = used.resolution, used.count
    if draft.asked.resolution is None and resolution is not None and resolution not in resolutions:
        resolution = max(resolutions, key=resolution_size, default=None)  # as the request will be lowered
    if draft.asked.count is None and count is not None:
        count = min(count, max_count)
    return Choices(
        models=[(key, model.name) for key, model in models.items()],
        ratios=list(dict.fromkeys(ratios)),
        resolutions=list(dict.fromkeys(resolutions)),
        counts=range(1, min(max_count, MAX_COUNT) + 1) if max_count > 1 else (),
        model=draft.model or default_model,
        ratio=used.aspect_ratio,
        resolution=resolution,
        count=count,
        prices={
            key: price_per_picture(
                words,
                default_quote(
                    services, key, draft.verb, asked=_applicable_options(draft, key, default_model=default_model)
                ),
            )
            for key in models
        },
    )


def _applicable_options(draft: RequestDraft, model: str, *, default_model: str | None) -> RequestedOptions:
    """The draft's options that apply to *model*: those in the form, and others only for the draft's own model."""
    asked = draft.asked
    if model == (draft.model or default_model):
        return asked
    return RequestedOptions(aspect_ratio=asked.aspect_ratio, resolution=asked.resolution, count=asked.count)


def effective(draft: RequestDraft, catalog: Catalog, *, default_model: str | None) -> RequestedOptions:
    """The draft's options in a form, with the model's defaults where it leaves them open."""
    model = catalog.models.get(draft.model or default_model or "")
    endpoint = model.endpoint(draft.verb) if model else None
    if endpoint is None:
        return draft.asked
    asked, options = draft.asked, endpoint.options
    return replace(
        asked,
        aspect_ratio=asked.aspect_ratio or (options.aspect_ratio.default if options.aspect_ratio else None),
        resolution=asked.resolution or (options.resolution.default if options.resolution else None),
        count=asked.count or ((options.count.default or 1) if options.count else None),
    )


def apply_fields(
    draft: RequestDraft,
    fields: Mapping[str, str | None],
    catalog: Catalog,
    *,
    default_model: str | None,
    files: tuple[Reference, ...] = (),
) -> RequestDraft:
    """*draft* with the values of a submitted form, its *files*, and the flags of its prompt as options.

    Options that the form does not have are dropped if the model changes, or if *catalog* does not offer them any
    more: the member could not remove them in the form. What was selected because it is the default stays open, so that
    another model and the server's settings can have another one. A flag applies unless its option was changed in the
    form.
    """
    used = effective(draft, catalog, default_model=default_model)
    model = fields.get("model") if "model" in fields else draft.model
    model = None if draft.model is None and model == default_model else model
    new_model = model or default_model
    asked = draft.asked if new_model == (draft.model or default_model) else RequestedOptions()
    asked = catalog.still_offered(new_model, draft.verb, asked) if new_model else asked
    count = fields.get("count") or ""
    changes: dict[str, str | int | None] = {
        name: fields[name] for name in ("aspect_ratio", "resolution") if name in fields
    }  # fmt: skip
    if "count" in fields:
        changes["count"] = int(count) if count.isdecimal() else None
    chosen = {name for name, value in changes.items() if value != getattr(used, name)}
    for name, value in list(changes.items()):
        if getattr(draft.asked, name) is None and value == getattr(used, name):
            changes[name] = None
    if (number := fields.get("picture") or "").isdecimal() and 1 <= int(number) <= len(draft.references):
        draft = replace(draft, references=(draft.references[int(number) - 1],))
    draft = replace(draft, references=(*draft.references, *files))
    draft = replace(draft, prompt=fields.get("prompt") or "", model=model, asked=replace(asked, **changes))  # type: ignore[arg-type]
    return apply_flags(draft, catalog, model=new_model, chosen=chosen)

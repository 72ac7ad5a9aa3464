"""Which styles a member can choose, and a request with the chosen one. Pure."""

from collections.abc import Mapping
from dataclasses import fields, replace

from bot.core.catalog import Catalog, RequestedOptions, resolution_size
from bot.core.errors import UserError
from bot.core.jobs import AppliedStyle
from bot.core.request_draft import RequestDraft
from bot.core.routes import Options
from bot.core.server_settings import ChannelCeiling, ServerSettings, default_model
from bot.core.styles import Style
from bot.core.visible import visible

SEPARATOR = " · "  # between the name and the rest of a choice
OPTION_NAMES = frozenset(each.name for each in fields(RequestedOptions))


def styles_here(catalog: Catalog, server_settings: ServerSettings) -> Mapping[str, Style]:
    """The styles by name: the server's, then the operator's that the server has no style of the same name for."""
    own = {_folded(name) for name in server_settings.styles}
    configured = {each.name: each.style for each in catalog.styles.values() if _folded(each.name) not in own}
    return {**server_settings.styles, **configured}


def style_name(typed: str, styles: Mapping[str, Style]) -> str | None:
    """The name in *styles* that is meant by *typed*, whatever its case; None where there is none.

    After a choice is edited, Discord sends its whole label, which begins with the name.
    """
    wanted = (_folded(typed), _folded(typed.partition(SEPARATOR)[0]))
    return next((name for each in wanted for name in styles if _folded(name) == each), None)


def apply_style(
    draft: RequestDraft,
    catalog: Catalog,
    server_settings: ServerSettings,
    *,
    channels: tuple[int, ...],
    default: str | None = None,
) -> RequestDraft:
    """*draft* with the style that it names: its words, and its model and options where the draft leaves them open.

    What is not possible here is lowered or left out. A draft without a style, or with one that is applied already, is
    returned unchanged. `UserError` for an unknown style. *default*: the model that is used if neither the draft nor
    the style has one; by default the server's.
    """
    if not isinstance(draft.style, str):
        return draft
    styles = styles_here(catalog, server_settings)
    if (name := style_name(draft.style, styles)) is None:
        raise UserError("style.unknown" if styles else "style.none", given=draft.style, choices=list(styles))
    style = styles[name]
    model = draft.model or _possible_model(style, draft, catalog, server_settings)
    used = model or default or default_model(server_settings, catalog, draft.verb)
    cap = server_settings.ceiling(channels)
    return replace(
        draft,
        model=model,
        asked=draft.asked if used is None else _with_options(style, draft, catalog, model=used, cap=cap),
        style=AppliedStyle(name, before=style.before.strip(), after=style.after.strip()),
    )


def _folded(name: str) -> str:
    return visible(name).casefold()


def _possible_model(
    style: Style, draft: RequestDraft, catalog: Catalog, server_settings: ServerSettings
) -> str | None:  # fmt: skip
    """The style's model, if it is available here and can do what the member asked for."""
    model, verb = style.model, draft.verb
    if model is None or model in server_settings.models or model not in catalog.models_for(verb):
        return None
    fits = len(draft.references) <= catalog.endpoint(model, verb).references
    return model if fits and catalog.can_combine(model, verb, draft.asked) else None


def _with_options(
    style: Style, draft: RequestDraft, catalog: Catalog, *, model: str, cap: ChannelCeiling
) -> RequestedOptions:
    """The draft's options with those of *style* that it leaves open and that *model* can do together with the rest."""
    asked, verb = draft.asked, draft.verb
    if model not in catalog.models_for(verb):
        return asked
    wanted = {
        name: value
        for name, value in style.options.items()
        if name in OPTION_NAMES and getattr(asked, name) is None and catalog.has_value(name, value)
    }
    offered = catalog.still_offered(model, verb, RequestedOptions(**wanted))  # type: ignore[arg-type]
    offered = _lowered(offered, catalog.endpoint(model, verb).options, cap)
    for name in wanted:
        value = getattr(offered, name)
        fuller = replace(asked, **{name: value})
        if value is not None and catalog.can_combine(model, verb, fuller):
            asked = fuller
    return asked


def _lowered(asked: RequestedOptions, options: Options, cap: ChannelCeiling) -> RequestedOptions:
    """*asked* within a channel's limits; None where no resolution is."""
    resolution, count = asked.resolution, asked.count
    if resolution and options.resolution and cap.resolution:
        limit = min(resolution, cap.resolution, key=resolution_size)
        allowed = [each for each in options.resolution.choices if resolution_size(each) <= resolution_size(limit)]
        resolution = max(allowed, key=resolution_size, default=None)
    if count and cap.count:
        count = min(count, cap.count)
    return replace(asked, resolution=resolution, count=count)

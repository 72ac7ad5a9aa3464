"""A server's settings (calendar, channels, models, channel limits), and applying them to a request."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bot.core.catalog import Catalog, RequestedOptions, resolution_size
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.routes import Options, Words
from bot.core.styles import Style
from bot.core.windows import Pin

MAX_NAMED_CHANNELS = 5  # in one refusal


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer version may have written more fields


class ChannelCeiling(_Part):
    """The limits of one channel; None leaves the model's."""

    resolution: str | None = None
    count: Annotated[int, Field(ge=1)] | None = None

    def allows_resolution(self, resolution: str) -> bool:
        return self.resolution is None or resolution_size(resolution) <= resolution_size(self.resolution)


class Flagged(StrEnum):
    """What happens with pictures that the provider marks as not safe for work."""

    SPOILER = "spoiler"
    WITHHOLD = "withhold"  # nothing of them is shown in the server


class ServerSettings(_Part):
    """A server's settings, stored as JSON. By default every channel and every model is allowed."""

    timezone: str = "UTC"
    pin: Pin | None = None  # from the last change of timezone
    alerts: int | None = None  # the channel for limit warnings
    allowed: tuple[int, ...] = ()  # channels; unless empty, all others are closed
    denied: tuple[int, ...] = ()  # channels
    caps: Mapping[int, ChannelCeiling] = Field(default_factory=dict)  # by channel
    models: tuple[str, ...] = ()  # disabled in this server
    default_model: str | None = None  # None: the catalogue's
    max_safety: Annotated[int, Field(ge=1)] | None = None  # the most permissive content filter; None: the operator's
    web_search: bool = True  # where the operator allows it
    private: bool = False  # replies are ephemeral unless a member asks otherwise
    language: str | None = None  # of public cards; None: the requester's
    prices: bool = False  # shown on public cards
    threads: bool = False  # a thread for each job
    log: int | None = None  # the channel for reports and what moderators do
    gallery: int | None = None  # the channel for results that members like
    gallery_stars: Annotated[int, Field(ge=1, le=100)] = 3  # favorites that a result needs for it
    generation: tuple[int, ...] = ()  # channels in which a message that mentions the bot is a request
    styles: Mapping[str, Style] = Field(default_factory=dict)  # by name
    words: tuple[str, ...] = ()  # that prompts must not contain; never shown to members
    flagged: Flagged = Flagged.SPOILER

    def allows(self, channels: Iterable[int]) -> bool:
        """Whether a channel may be used; for a thread, *channels* includes its parent."""
        here = set(channels)
        return not here & set(self.denied) and (not self.allowed or bool(here & set(self.allowed)))

    def check_channel(self, channels: Iterable[int]) -> None:
        """Raise `UserError` where the channel may not be used, naming channels that may."""
        if not self.allows(channels):
            usable = [each for each in self.allowed if each not in self.denied]
            raise UserError("house.channel" if usable else "house.denied", channels=usable[:MAX_NAMED_CHANNELS])

    def ceiling(self, channels: Iterable[int]) -> ChannelCeiling:
        """The limits of a channel; a thread's own come before its parent's."""
        return next((self.caps[each] for each in channels if each in self.caps), ChannelCeiling())


def apply_settings(
    server_settings: ServerSettings,
    catalog: Catalog,
    verb: Verb,
    *,
    model: str | None,
    asked: RequestedOptions,
    channels: tuple[int, ...],
) -> tuple[str, RequestedOptions]:
    """The model and options after the server's settings: defaults are lowered to the channel's limits.

    `UserError` where a value that was asked for is not allowed, naming values or channels that are.
    """
    server_settings.check_channel(channels)
    chosen = model or default_model(server_settings, catalog, verb)
    if chosen is None or chosen in server_settings.models:
        offered = [each.name for key, each in catalog.models_for(verb).items() if key not in server_settings.models]
        raise UserError("house.model", given=model or catalog.default, choices=offered)
    cap = server_settings.ceiling(channels)
    unrestricted = [
        each
        for each in server_settings.allowed
        if each not in server_settings.denied and server_settings.ceiling((each,)) == ChannelCeiling()
    ][:MAX_NAMED_CHANNELS]
    options = catalog.endpoint(chosen, verb).options
    resolution = _resolution(cap, catalog, options.resolution, asked=asked.resolution, unrestricted=unrestricted)
    count = asked.count
    if cap.count is not None:
        if count is not None and count > cap.count:
            raise UserError("house.count", limit=cap.count, given=count, channels=unrestricted)
        if count is None and options.count is not None and (options.count.default or 1) > cap.count:
            count = cap.count
    return chosen, replace(_ceilings(server_settings, options, asked), resolution=resolution, count=count)


def _ceilings(server_settings: ServerSettings, options: Options, asked: RequestedOptions) -> RequestedOptions:
    """*asked* within the server's content filter; `UserError` for a value above it, and for a search that is off."""
    limit, spec = server_settings.max_safety, options.safety
    if asked.web_search and not server_settings.web_search:
        raise UserError("house.web_search")
    if limit is None or spec is None:
        return asked
    if asked.safety is not None and asked.safety > limit:
        raise UserError("house.safety", given=asked.safety, limit=limit)
    default = spec.default if spec.default is not None else spec.min
    return replace(asked, safety=max(spec.min, min(default, limit))) if asked.safety is None else asked


def narrowed(
    error: UserError, server_settings: ServerSettings, catalog: Catalog, verb: Verb, *, channels: tuple[int, ...]
) -> UserError:
    """*error* about a wrong option, naming only what the server and the channel allow."""
    cap, values = server_settings.ceiling(channels), dict(error.values)
    if error.key == "option.model":
        names = [each.name for key, each in catalog.models_for(verb).items() if key not in server_settings.models]
        return UserError(error.key, **{**values, "choices": names})
    if error.key == "option.choice" and values.get("option") == "resolution":
        choices = [str(each) for each in values["choices"] if cap.allows_resolution(str(each))]  # type: ignore[attr-defined]
        return UserError(error.key, **{**values, "choices": choices})
    if error.key == "option.range" and values.get("option") == "count" and cap.count is not None:
        return UserError(error.key, **{**values, "high": min(int(str(values["high"])), cap.count)})
    return error


def default_model(server_settings: ServerSettings, catalog: Catalog, verb: Verb) -> str | None:
    """The model that is used where none is given; None where none is offered."""
    offered = [key for key in catalog.models_for(verb) if key not in server_settings.models]
    preferred = (server_settings.default_model, catalog.default)
    return next((each for each in preferred if each in offered), next(iter(offered), None))


def _resolution(
    cap: ChannelCeiling, catalog: Catalog, has: Words | None, *, asked: str | None, unrestricted: list[int]
) -> str | None:  # fmt: skip
    if cap.resolution is None or has is None:
        return asked
    allowed = [each for each in has.choices if resolution_size(each) <= resolution_size(cap.resolution)]
    if asked in resolutions(catalog) and asked not in allowed:
        raise UserError("house.resolution", limit=cap.resolution, given=asked, channels=unrestricted)
    if asked is None and has.default not in allowed:
        if not allowed:
            raise UserError("house.resolution", limit=cap.resolution, given=has.choices[0], channels=unrestricted)
        return max(allowed, key=resolution_size)
    return asked


def resolutions(catalog: Catalog) -> list[str]:
    """Every resolution of any model, smallest first."""
    choices = {
        choice
        for model in catalog.models.values()
        for verb in Verb
        if (endpoint := model.endpoint(verb)) and endpoint.options.resolution
        for choice in endpoint.options.resolution.choices
    }
    return sorted(choices, key=resolution_size)

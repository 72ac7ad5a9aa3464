"""How a server wants its pictures made: its calendar, where they may be made, with which models, how large."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.routes import Words
from bot.core.windows import Pin

MOST_NAMED = 5  # channels that a refusal names


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer Darkroom may have known more


class ChannelCeiling(_Part):
    """The most that one channel takes; None is as the model has it."""

    resolution: str | None = None
    count: Annotated[int, Field(ge=1)] | None = None


class ServerSettings(_Part):
    """A server's own settings. By default every channel and every model is open."""

    timezone: str = "UTC"
    pin: Pin | None = None  # the day that the last change of timezone left in force
    alerts: int | None = None  # the channel that hears of limits which come near their end
    allowed: tuple[int, ...] = ()  # where any is named, pictures are made nowhere else
    denied: tuple[int, ...] = ()
    caps: Mapping[int, ChannelCeiling] = Field(default_factory=dict)  # by channel
    models: tuple[str, ...] = ()  # those that are not offered here

    def opens(self, channels: Iterable[int]) -> bool:
        """Whether pictures are made in a channel; of a thread, *channels* names its parent too."""
        here = set(channels)
        return not here & set(self.denied) and (not self.allowed or bool(here & set(self.allowed)))

    def check_channel(self, channels: Iterable[int]) -> None:
        if not self.opens(channels):
            elsewhere = [each for each in self.allowed if each not in self.denied]
            raise UserError("house.channel" if elsewhere else "house.denied", channels=elsewhere[:MOST_NAMED])

    def ceiling(self, channels: Iterable[int]) -> ChannelCeiling:
        """What holds in a channel; a thread's own caps come before its parent's."""
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
    """The model and options to go on with: what was not asked for is lowered to what is allowed here.

    `UserError` where what was asked for is not, naming what or where would do.
    """
    server_settings.check_channel(channels)
    chosen = model or usual_model(server_settings, catalog, verb)
    if chosen is None or chosen in server_settings.models:
        offered = [each.name for key, each in catalog.models_for(verb).items() if key not in server_settings.models]
        raise UserError("house.model", given=model or catalog.default, choices=offered)
    cap = server_settings.ceiling(channels)
    roomier = [
        each
        for each in server_settings.allowed
        if each not in server_settings.denied and server_settings.ceiling((each,)) == ChannelCeiling()
    ][:MOST_NAMED]
    options = catalog.endpoint(chosen, verb).options
    resolution = _resolution(cap, catalog, options.resolution, asked=asked.resolution, roomier=roomier)
    count = asked.count
    if cap.count is not None:
        if count is not None and count > cap.count:
            raise UserError("house.count", limit=cap.count, given=count, channels=roomier)
        if count is None and options.count is not None and (options.count.default or 1) > cap.count:
            count = cap.count
    return chosen, replace(asked, resolution=resolution, count=count)


def usual_model(server_settings: ServerSettings, catalog: Catalog, verb: Verb) -> str | None:
    """The model that is taken where none is named; None where none is offered."""
    offered = [key for key in catalog.models_for(verb) if key not in server_settings.models]
    return catalog.default if catalog.default in offered else next(iter(offered), None)


def _resolution(
    cap: ChannelCeiling, catalog: Catalog, has: Words | None, *, asked: str | None, roomier: list[int]
) -> str | None:  # fmt: skip
    if cap.resolution is None or has is None:
        return asked
    allowed = [each for each in has.choices if _size(each) <= _size(cap.resolution)]
    if asked in resolutions(catalog) and asked not in allowed:
        raise UserError("house.resolution", limit=cap.resolution, given=asked, channels=roomier)
    if asked is None and has.default not in allowed:
        if not allowed:
            raise UserError("house.resolution", limit=cap.resolution, given=has.choices[0], channels=roomier)
        return max(allowed, key=_size)
    return asked


def resolutions(catalog: Catalog) -> list[str]:
    """Every resolution that any model has, smallest first."""
    found = {
        choice
        for model in catalog.models.values()
        for verb in Verb
        if (endpoint := model.endpoint(verb)) and endpoint.options.resolution
        for choice in endpoint.options.resolution.choices
    }
    return sorted(found, key=_size)


def _size(resolution: str) -> tuple[float, str]:
    """`0.5K` before `1K` before `4K`; what is no number stands behind, by its letters."""
    try:
        return float(resolution.rstrip("Kk")), resolution
    except ValueError:
        return float("inf"), resolution

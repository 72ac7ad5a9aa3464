"""Draws what a server has set for itself, and what a change to it came to. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from discord import ui

from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.zones import zone_of
from bot.ui.cards.components import BLURPLE, YELLOW, box, page, paragraph
from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words

MOST_MODELS = 20
MOST_NAMED = 15  # channels of one list; all lists together stay within a message


@dataclass(frozen=True, slots=True)
class SettingsView:
    """What a server's numbers stand for. *gone*: channels that Discord does not have any more."""

    models: Mapping[str, str]  # names by key
    gone: frozenset[int] = frozenset()
    nowhere: bool = False  # no channel is left where pictures can be made
    mute: bool = False  # the bot may not write where alerts go
    absent: frozenset[str] = frozenset()  # models that no image service has now


def changed(done: str, lines: Iterable[str], words: Words, *, warning: bool = False) -> ui.LayoutView:
    """What was done, and under it what holds now."""
    return page(box(paragraph(words.say("settings.title"), done, "", *lines), colour=YELLOW if warning else BLURPLE))


def everything(server_settings: ServerSettings, words: Words, *, known: SettingsView, now: int) -> ui.LayoutView:
    lines = [
        *channels(server_settings, words, known=known),
        *models(server_settings, words, known=known),
        *calendar(server_settings, words, now=now),
        *alerts(server_settings, words, known=known),
    ]
    return page(box(paragraph(words.say("settings.title"), *lines), colour=BLURPLE))


def channels(server_settings: ServerSettings, words: Words, *, known: SettingsView) -> list[str]:
    """Where pictures are made, and how large."""
    open_ones = [each for each in server_settings.allowed if each not in server_settings.denied]
    if not server_settings.allowed:
        lines = [words.say("settings.open")]
    else:
        lines = [words.say("settings.only", channels=_named(open_ones, words, known=known))] if open_ones else []
    if server_settings.denied:
        lines.append(words.say("settings.denied", channels=_named(server_settings.denied, words, known=known)))
    caps = list(server_settings.caps.items())
    if caps:
        told = [f"{channel(each, words, known=known)}: {cap_of(cap, words)}" for each, cap in caps[:MOST_NAMED]]
        told += [words.say("settings.more", count=len(caps) - MOST_NAMED)] if len(caps) > MOST_NAMED else []
        lines += [words.say("settings.caps"), *(f"- {each}" for each in told)]
    return [*lines, words.say("settings.nowhere")] if known.nowhere else lines


def models(server_settings: ServerSettings, words: Words, *, known: SettingsView) -> list[str]:
    offered = [
        show(name, most=40) for key, name in known.models.items() if key not in {*server_settings.models, *known.absent}
    ]
    lines = [words.say("settings.models", models=_first(offered, words))]
    hidden = [show(known.models.get(key, key), most=40) for key in server_settings.models]
    return [*lines, words.say("settings.models_hidden", models=_first(hidden, words))] if hidden else lines


def calendar(server_settings: ServerSettings, words: Words, *, now: int) -> list[str]:
    local = datetime.fromtimestamp(now / 1000, zone_of(server_settings))
    return [
        words.say("settings.timezone", timezone=show(server_settings.timezone, most=60), time=f"{local:%Y-%m-%d %H:%M}")
    ]


def alerts(server_settings: ServerSettings, words: Words, *, known: SettingsView) -> list[str]:
    if server_settings.alerts is None:
        return [words.say("settings.alerts_none")]
    told = channel(server_settings.alerts, words, known=known)
    lines = [words.say("settings.alerts", channel=told)]
    return [*lines, words.say("settings.alerts_mute", channel=told)] if known.mute else lines


def channel(number: int, words: Words, *, known: SettingsView) -> str:
    return words.say("settings.gone", id=number) if number in known.gone else f"<#{number}>"


def cap_of(cap: ChannelCeiling, words: Words) -> str:
    """`up to 1K · up to 2 pictures`."""
    told = [words.say("settings.cap_resolution", limit=cap.resolution)] if cap.resolution else []
    told += [words.say("settings.cap_count", limit=words.say("card.asked", count=cap.count))] if cap.count else []
    return " · ".join(told)


def _named(numbers: Sequence[int], words: Words, *, known: SettingsView) -> str:
    return _first([channel(each, words, known=known) for each in numbers], words, most=MOST_NAMED)


def _first(told: Sequence[str], words: Words, *, most: int = MOST_MODELS) -> str:
    hidden = len(told) - most
    return ", ".join([*told[:most], words.say("settings.more", count=hidden)] if hidden > 0 else told)

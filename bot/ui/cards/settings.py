"""Draws a server's settings, and the replies to changes of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from discord import ui

from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.zones import zone_of
from bot.ui.cards.components import BLURPLE, YELLOW, box, page, paragraph
from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words

MAX_MODELS = 20
MAX_CHANNELS = 15  # in one list; all lists together fit into a message


@dataclass(frozen=True, slots=True)
class SettingsView:
    """What is needed to draw settings: names of models, and facts about channels. *gone*: deleted channels."""

    models: Mapping[str, str]  # names by key
    deleted: frozenset[int] = frozenset()
    all_closed: bool = False  # pictures can be made in no channel
    alerts_unwritable: bool = False  # the bot cannot write in the alerts channel
    log_unwritable: bool = False  # the bot cannot write in the log channel
    unavailable: frozenset[str] = frozenset()  # models that no provider has now


def changed(done: str, lines: Iterable[str], words: Words, *, warning: bool = False) -> ui.LayoutView:
    """The reply to a change: what was done, and the settings now."""
    return page(box(paragraph(words.say("settings.title"), done, "", *lines), colour=YELLOW if warning else BLURPLE))


def everything(server_settings: ServerSettings, words: Words, *, view: SettingsView, now: int) -> ui.LayoutView:
    lines = [
        *channels(server_settings, words, view=view),
        *models(server_settings, words, view=view),
        *calendar(server_settings, words, now=now),
        *alerts(server_settings, words, view=view),
        *log(server_settings, words, view=view),
        *(threads(server_settings, words) if server_settings.threads else []),
        *(generation(server_settings, words, view=view) if server_settings.generation else []),
        *flagged(server_settings, words),
    ]
    return page(box(paragraph(words.say("settings.title"), *lines), colour=BLURPLE))


def channels(server_settings: ServerSettings, words: Words, *, view: SettingsView) -> list[str]:
    """Lines about the channels where pictures may be made, and their ceilings."""
    allowed = [each for each in server_settings.allowed if each not in server_settings.denied]
    if not server_settings.allowed:
        lines = [words.say("settings.open")]
    else:
        lines = [words.say("settings.only", channels=_named(allowed, words, view=view))] if allowed else []
    if server_settings.denied:
        lines.append(words.say("settings.denied", channels=_named(server_settings.denied, words, view=view)))
    caps = list(server_settings.caps.items())
    if caps:
        shown = [f"{channel(each, words, view=view)}: {cap_of(cap, words)}" for each, cap in caps[:MAX_CHANNELS]]
        shown += [words.say("settings.more", count=len(caps) - MAX_CHANNELS)] if len(caps) > MAX_CHANNELS else []
        lines += [words.say("settings.caps"), *(f"- {each}" for each in shown)]
    return [*lines, words.say("settings.nowhere")] if view.all_closed else lines


def models(server_settings: ServerSettings, words: Words, *, view: SettingsView) -> list[str]:
    offered = [
        show(name, max_length=40)
        for key, name in view.models.items()
        if key not in {*server_settings.models, *view.unavailable}
    ]
    lines = [words.say("settings.models", models=_list(offered, words))]
    hidden = [show(view.models.get(key, key), max_length=40) for key in server_settings.models]
    return [*lines, words.say("settings.models_hidden", models=_list(hidden, words))] if hidden else lines


def calendar(server_settings: ServerSettings, words: Words, *, now: int) -> list[str]:
    local = datetime.fromtimestamp(now / 1000, zone_of(server_settings))
    return [
        words.say(
            "settings.timezone", timezone=show(server_settings.timezone, max_length=60), time=f"{local:%Y-%m-%d %H:%M}"
        )
    ]


def alerts(server_settings: ServerSettings, words: Words, *, view: SettingsView) -> list[str]:
    if server_settings.alerts is None:
        return [words.say("settings.alerts_none")]
    shown = channel(server_settings.alerts, words, view=view)
    lines = [words.say("settings.alerts", channel=shown)]
    return [*lines, words.say("settings.alerts_mute", channel=shown)] if view.alerts_unwritable else lines


def log(server_settings: ServerSettings, words: Words, *, view: SettingsView) -> list[str]:
    if server_settings.log is None:
        return [words.say("settings.log_none")]
    shown = channel(server_settings.log, words, view=view)
    lines = [words.say("settings.log", channel=shown)]
    return [*lines, words.say("settings.alerts_mute", channel=shown)] if view.log_unwritable else lines


def generation(server_settings: ServerSettings, words: Words, *, view: SettingsView) -> list[str]:
    """Where a message that mentions the bot is a request."""
    if not server_settings.generation:
        return [words.say("settings.generation_none")]
    return [words.say("settings.generation", channels=_named(server_settings.generation, words, view=view))]


def threads(server_settings: ServerSettings, words: Words) -> list[str]:
    return [words.say("settings.threads" if server_settings.threads else "settings.threads_off")]


def flagged(server_settings: ServerSettings, words: Words) -> list[str]:
    return [words.say(f"settings.flagged.{server_settings.flagged}")]


def channel(number: int, words: Words, *, view: SettingsView) -> str:
    return words.say("settings.gone", id=number) if number in view.deleted else f"<#{number}>"


def cap_of(cap: ChannelCeiling, words: Words) -> str:
    """`up to 1K · up to 2 pictures`."""
    shown = [words.say("settings.cap_resolution", limit=cap.resolution)] if cap.resolution else []
    shown += [words.say("settings.cap_count", limit=words.say("card.asked", count=cap.count))] if cap.count else []
    return " · ".join(shown)


def _named(numbers: Sequence[int], words: Words, *, view: SettingsView) -> str:
    return _list([channel(each, words, view=view) for each in numbers], words, limit=MAX_CHANNELS)


def _list(shown: Sequence[str], words: Words, *, limit: int = MAX_MODELS) -> str:
    hidden = len(shown) - limit
    return ", ".join([*shown[:limit], words.say("settings.more", count=hidden)] if hidden > 0 else shown)

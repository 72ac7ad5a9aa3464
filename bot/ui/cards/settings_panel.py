"""Draws the panel of a server's defaults: a select for each of them. Pure."""

from collections.abc import Sequence
from typing import Any

import discord
from discord import ui

from bot.core.server_settings import ServerSettings
from bot.ui.cards.components import BLURPLE, Part, box, page, paragraph
from bot.ui.cards.texts import Words

DEFAULT = "-"  # the value of the option that removes a setting
YES_NO = ("yes", "no")
STARS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30)
MAX_LABEL_LENGTH = 100
MAX_OPTIONS = 25


def panel_control(name: str) -> str:
    """The custom id of the select for a setting."""
    return f"q1:panel:{name}"


def settings_panel(
    server_settings: ServerSettings,
    words: Words,
    *,
    models: Sequence[tuple[str, str]],
    languages: Sequence[tuple[str, str]],
    max_safety: int,
    done: str = "",
) -> ui.LayoutView:
    """The panel. *models* and *languages*: value and label; *max_safety*: the operator's; *done*: what was changed."""
    now = server_settings
    safety = [(str(each), str(each)) for each in range(1, max_safety + 1)]
    yes_no = [(each, words.say(f"panel.{each}")) for each in YES_NO]
    stars = [(str(each), str(each)) for each in STARS]
    default = words.say("panel.default")
    parts: list[Part] = [
        paragraph(words.say("panel.title"), done or words.say("panel.about")),
        _select(words, "default_model", [(DEFAULT, default), *models], chosen=now.default_model),
        _select(words, "private", [(each, words.say(f"preferences.private_{each}")) for each in YES_NO],
                chosen=_yes(now.private)),
        _select(words, "language", [(DEFAULT, words.say("panel.requesters")), *languages], chosen=now.language),
        _select(words, "prices", yes_no, chosen=_yes(now.prices)),
        _select(words, "web_search", yes_no, chosen=_yes(now.web_search)),
        _select(words, "max_safety", [(DEFAULT, default), *safety],
                chosen=None if now.max_safety is None else str(now.max_safety)),
        _channel(words, "gallery", chosen=now.gallery),
        _select(words, "gallery_stars", stars, chosen=str(now.gallery_stars)),
    ]  # fmt: skip
    return page(box(*parts, colour=BLURPLE))


def _yes(value: bool) -> str:  # noqa: FBT001 - the value itself
    return "yes" if value else "no"


def _select(words: Words, name: str, options: Sequence[tuple[str, str]], *, chosen: str | None) -> Part:
    title = words.say(f"panel.{name}")
    offered = [
        discord.SelectOption(
            label=f"{title}: {label}"[:MAX_LABEL_LENGTH], value=value, default=value == (chosen or DEFAULT)
        )
        for value, label in options[:MAX_OPTIONS]
    ]
    select: ui.Select[Any] = ui.Select(custom_id=panel_control(name), options=offered, placeholder=title)
    row: ui.ActionRow[Any] = ui.ActionRow(select)
    return row


def _channel(words: Words, name: str, *, chosen: int | None) -> Part:
    """A select for a channel; choosing none removes it."""
    select: ui.ChannelSelect[Any] = ui.ChannelSelect(
        custom_id=panel_control(name),
        channel_types=[discord.ChannelType.text, discord.ChannelType.news],
        placeholder=words.say(f"panel.{name}"),
        min_values=0,
        max_values=1,
        default_values=[discord.Object(chosen)] if chosen is not None else [],
    )
    row: ui.ActionRow[Any] = ui.ActionRow(select)
    return row

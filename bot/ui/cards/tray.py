"""Draws a member's tray: the pictures that they have put aside to edit. Pure."""

from typing import Any

import discord
from discord import ui

from bot.store.tray import Tray
from bot.ui.cards.components import BLURPLE, MAX_PICTURES, PRIMARY, Part, box, button, page, paragraph, rows, small
from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words

MAX_NAME_LENGTH = 60


def tray_button(action: str) -> str:
    """The custom id of a tray's button or select; `t1` is the version of the format."""
    return f"t1:tray:{action}"


def tray_page(tray: Tray, words: Words, *, added: int | None = None, limit: int) -> ui.LayoutView:
    """The tray with thumbnails. *added*: how many pictures were just put into it; *limit*: how many it holds."""
    news = [] if added is None else [words.say("tray.added", count=added) if added else words.say("tray.nothing_new")]
    if not tray:
        return page(box(paragraph(words.say("tray.title"), *news, words.say("tray.empty")), colour=BLURPLE))
    holds = small(words.say("tray.holds", count=len(tray), limit=limit), words.say("tray.life"))
    parts: list[Part] = [paragraph(words.say("tray.title"), *news)]
    for at in range(0, len(tray), MAX_PICTURES):
        gallery: ui.MediaGallery[Any] = ui.MediaGallery()
        for position, (_, each) in enumerate(tray[at : at + MAX_PICTURES], start=at + 1):
            gallery.add_item(media=each.url, description=f"{position}. {each.filename}"[:MAX_NAME_LENGTH])
        parts.append(gallery)
    parts.append(paragraph(holds))
    if len(tray) > 1:
        parts.append(_select(tray, words, "first", most=1))
    parts.append(_select(tray, words, "remove", most=len(tray)))
    edit = button(words.say("button.edit"), tray_button("edit"), style=PRIMARY)
    return page(box(*parts, *rows([edit, button(words.say("button.clear"), tray_button("clear"))]), colour=BLURPLE))


def _select(tray: Tray, words: Words, action: str, *, most: int) -> Part:
    options = [
        discord.SelectOption(label=f"{position}. {show(each.filename, max_length=MAX_NAME_LENGTH)}", value=str(n))
        for position, (n, each) in enumerate(tray, start=1)
    ]
    select: ui.Select[Any] = ui.Select(
        custom_id=tray_button(action), placeholder=words.say(f"tray.{action}"), options=options, max_values=most
    )
    row: ui.ActionRow[Any] = ui.ActionRow(select)
    return row

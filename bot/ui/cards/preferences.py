"""Draws a member's preferences and what is stored about them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.core.preferences import Notify, Preferences
from bot.store.members import Kept
from bot.ui.cards.components import BLURPLE, DANGER, GREY, Part, box, button, page, paragraph, rows, small
from bot.ui.cards.texts import Words

NO_PREFERENCE = "-"  # the value of the option that removes a preference
MAX_OPTIONS = 25
MAX_LABEL_LENGTH = 100


def preference_control(name: str) -> str:
    """The custom id of the select for a preference; `p1` is the version of the format."""
    return f"p1:preferences:{name}"


def privacy_button(action: str) -> str:
    return f"p1:privacy:{action}"


def preferences_page(
    preferences: Preferences,
    words: Words,
    *,
    choices: Mapping[str, Sequence[tuple[str, str]]],
    languages: Sequence[tuple[str, str]],
) -> ui.LayoutView:
    """A select for each preference. *choices*: by option, pairs of value and label; *languages* likewise by locale."""
    chosen = {name: getattr(preferences, name) for name in choices}
    selects = [_select(words, name, options, chosen=chosen[name]) for name, options in choices.items() if options]
    private = {None: NO_PREFERENCE, True: "yes", False: "no"}[preferences.private]
    answers = [(each, words.say(f"preferences.private_{each}")) for each in ("yes", "no")]
    ways = [(each.value, words.say(f"preferences.notify_{each}")) for each in Notify]
    selects += [
        _select(words, "private", answers, chosen=private),
        _select(words, "notify", ways, chosen=preferences.notify, required=True),
        _select(words, "language", languages, chosen=preferences.language),
    ]
    about = paragraph(words.say("preferences.title"), words.say("preferences.about"))
    return page(box(about, *selects, colour=BLURPLE))


def _select(
    words: Words, name: str, options: Sequence[tuple[str, str]], *, chosen: str | None, required: bool = False
) -> Part:
    title, none = words.say(f"preferences.{name}"), words.say("preferences.none")
    every = options if required else [(NO_PREFERENCE, none), *options]
    offered = [
        discord.SelectOption(
            label=f"{title}: {label}"[:MAX_LABEL_LENGTH], value=value, default=value == (chosen or NO_PREFERENCE)
        )
        for value, label in every[:MAX_OPTIONS]
    ]
    select: ui.Select[Any] = ui.Select(custom_id=preference_control(name), options=offered, placeholder=title)
    row: ui.ActionRow[Any] = ui.ActionRow(select)
    return row


def privacy_page(
    kept: Kept, words: Words, *, keep_hours: int, keep_days: int, provider_names: Sequence[str]
) -> ui.LayoutView:
    """What is stored about a member, for how long, and the buttons to export and erase it."""
    stored = [
        words.say("privacy.prompts", count=kept.prompts),
        words.say("privacy.pictures", count=kept.pictures, size=words.size(kept.bytes)),
        words.say("privacy.favorites", count=kept.favorites),
        words.say("privacy.tray", count=kept.tray),
    ]
    terms = (
        words.say("privacy.pictures_for", hours=keep_hours),
        words.say("privacy.prompts_for", days=keep_days),
        words.say("privacy.tray_for"),
        words.say("privacy.ledger"),
        words.say("privacy.providers", hosts=words.either(list(provider_names))),
        words.say("privacy.deleted"),
    )
    buttons = [
        button(words.say("button.export"), privacy_button("export")),
        button(words.say("button.erase"), privacy_button("erase")),
    ]
    return page(
        box(
            paragraph(words.say("privacy.title"), *(f"- {each}" for each in stored)),
            paragraph(words.say("privacy.terms"), *(f"- {each}" for each in terms)),
            *rows(buttons),
            colour=BLURPLE,
        )
    )


def confirm_erasure(kept: Kept, words: Words) -> ui.LayoutView:
    """The question whether everything is to be erased."""
    asks = paragraph(words.say("privacy.confirm", count=kept.jobs), small(words.say("privacy.confirm_about")))
    yes = button(words.say("button.erase_all"), privacy_button("erase_all"), style=DANGER)
    return page(box(asks, *rows([yes]), colour=GREY))


def exported(words: Words, *, file: str) -> ui.LayoutView:
    """The message with the exported *file*."""
    return page(paragraph(words.say("privacy.exported")), ui.File(f"attachment://{file}"))

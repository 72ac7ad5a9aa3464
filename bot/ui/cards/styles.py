"""Draws styles: what each adds, their list, and the form of one. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.core.styles import MAX_NAME_LENGTH, MAX_WORDS_LENGTH, Style
from bot.ui.cards.components import BLURPLE, box, page, paragraph, small
from bot.ui.cards.escape import show
from bot.ui.cards.forms import MAX_OPTIONS, MAX_TITLE_LENGTH
from bot.ui.cards.texts import Words

SEPARATOR = " · "
GAP = "…"  # stands for the prompt
PLAIN_OPTIONS = frozenset({"aspect_ratio", "resolution", "format"})  # whose values need no name
MAX_CHOICE_LENGTH = 100
MAX_LIST_LENGTH = 3700  # characters of all lines together; a message holds 4000
MAX_LINE_LENGTH = 300
MIN_LINE_LENGTH = 10


def choice(name: str, style: Style, models: Mapping[str, str]) -> str:
    """A style's name and what it adds, in at most 100 characters."""
    text = " ".join(SEPARATOR.join(each for each in (name, added(style, models)) if each).split())
    return text if len(text) <= MAX_CHOICE_LENGTH else text[: MAX_CHOICE_LENGTH - 1].rstrip() + "…"


def added(style: Style, models: Mapping[str, str]) -> str:
    """`soft washes · 16:9 · Nano Banana Pro`: what a style adds; *models* has names by key. Not escaped."""
    return SEPARATOR.join([each for each in (style.about.strip() or words_of(style), *_options(style, models)) if each])


def words_of(style: Style) -> str:
    """`before … after`; empty for a style without words."""
    before, after = style.before.strip(), style.after.strip()
    return " ".join(each for each in (before, GAP, after) if each) if before or after else ""


def _options(style: Style, models: Mapping[str, str]) -> Iterator[str]:
    for name, value in style.options.items():
        yield str(value) if name in PLAIN_OPTIONS else f"{name} {str(value).lower()}"
    if style.model is not None:
        yield models.get(style.model, style.model)


# --- messages


def styles_page(styles: Mapping[str, Style], words: Words, *, models: Mapping[str, str]) -> ui.LayoutView:
    """All styles with what each adds, cut so that they fit into one message."""
    title = words.say("style.title")
    if not styles:
        return page(box(paragraph(title, words.say("style.none")), colour=BLURPLE))
    room = MAX_LIST_LENGTH // len(styles)
    lines = [_line(name, style, models, max_length=room) for name, style in styles.items()]
    return page(box(paragraph(title, *lines, small(words.say("style.use"))), colour=BLURPLE))


def _line(name: str, style: Style, models: Mapping[str, str], *, max_length: int) -> str:
    shown = f"- **{show(name, max_length=MAX_NAME_LENGTH)}**"
    room = min(max_length - len(shown) - len(SEPARATOR), MAX_LINE_LENGTH)
    adds = show(added(style, models), max_length=max(room, MIN_LINE_LENGTH))
    return SEPARATOR.join(each for each in (shown, adds) if each)


def changed(
    key: str, words: Words, *, name: str, style: Style | None, models: Mapping[str, str]
) -> ui.LayoutView:  # fmt: skip
    """The reply to a change: what was done, and the *style* now; None where it was removed."""
    done = words.say(key, style=show(name, max_length=MAX_NAME_LENGTH))
    adds = [show(each, max_length=1200) for each in ((words_of(style), *_options(style, models)) if style else ())]
    return page(box(paragraph(words.say("style.title"), done, *(f"> {each}" for each in adds if each)), colour=BLURPLE))


def style_form(
    words: Words, *, custom_id: str, name: str, style: Style, models: Mapping[str, str], ratios: Sequence[str]
) -> ui.Modal:
    """The form with the fields `name`, `before`, `after`, `model` and `aspect_ratio`; *name* is empty for a new style.

    It is stopped, so that discord.py does not store it.
    """
    title = words.say("form.style_edit" if name else "form.style_add")
    form = ui.Modal(title=title[:MAX_TITLE_LENGTH], custom_id=custom_id, timeout=None)
    form.add_item(
        ui.Label(
            text=words.say("form.style_name"),
            component=ui.TextInput(custom_id="name", default=name or None, max_length=MAX_NAME_LENGTH),
        )
    )
    for field, text in (("before", style.before), ("after", style.after)):
        box_: ui.TextInput[Any] = ui.TextInput(
            custom_id=field,
            style=discord.TextStyle.paragraph,
            default=text or None,
            required=False,
            max_length=MAX_WORDS_LENGTH,
        )
        form.add_item(ui.Label(text=words.say(f"form.style_{field}"), component=box_))
    ratio = style.options.get("aspect_ratio")
    form.add_item(_select(words, "model", list(models.items()), chosen=style.model))
    if ratios:
        form.add_item(_select(words, "aspect_ratio", [(each, each) for each in ratios], chosen=ratio))
    form.stop()
    return form


def _select(words: Words, name: str, options: Sequence[tuple[str, str]], *, chosen: object) -> ui.Label[Any]:
    offered = [
        discord.SelectOption(label=label[:MAX_CHOICE_LENGTH], value=value, default=value == chosen)
        for value, label in options[:MAX_OPTIONS]
    ]
    field: ui.Select[Any] = ui.Select(
        custom_id=name, options=offered, placeholder=words.say("form.style_any"), min_values=0, required=False
    )
    return ui.Label(text=words.say(f"form.{name}"), component=field)

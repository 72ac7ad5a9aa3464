"""Components that all messages are built from: pages, text, buttons, and formatted values in sentences."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words, relative

BLURPLE = 0x5865F2
YELLOW = 0xFEE75C
GREEN = 0x57F287
RED = 0xED4245
GREY = 0x99AAB5

PRIMARY = discord.ButtonStyle.primary
SECONDARY = discord.ButtonStyle.secondary
DANGER = discord.ButtonStyle.danger

MAX_LABEL_LENGTH = 80  # characters, Discord's limit; the locales keep to 38
BUTTONS_PER_ROW = 5
MAX_PICTURES = 10  # Discord's limit for a gallery and for the files of a message
OPTION_NAME = re.compile(r"[a-z_]{1,32}")
SIZE_ERRORS = frozenset({"references.large", "references.heavy"})  # errors whose numbers are bytes

Part = ui.Item[Any]


def page(*parts: Part) -> ui.LayoutView:
    """A whole message. The view is stopped, so that discord.py does not store it: `Router` answers the buttons."""
    view = ui.LayoutView(timeout=None)
    for each in parts:
        view.add_item(each)
    view.stop()
    return view


def box(*parts: Part, colour: int) -> Part:
    return ui.Container(*parts, accent_colour=colour)


def paragraph(*lines: str) -> ui.TextDisplay[Any]:
    """Lines of text; empty ones are left out."""
    return ui.TextDisplay("\n".join(each for each in lines if each))


def small(*facts: str) -> str:
    """Facts on one line of small text; empty ones are left out."""
    text = " · ".join(each for each in facts if each)
    return f"-# {text}" if text else ""


def bold(prompt: str, *, max_length: int) -> str:
    shown = show(prompt, max_length=max_length)
    return f"**{shown}**" if shown else ""


def quoted(prompt: str, *, max_length: int) -> str:
    shown = show(prompt, max_length=max_length)
    return f"> {shown}" if shown else ""


def job_button(job_id: str, action: str, *, n: int | None = None) -> str:
    """The custom id of a job's button; `j1` is the version of the format."""
    return f"j1:{job_id}:{action}" if n is None else f"j1:{job_id}:{action}:{n}"


def draft_button(draft_id: str, action: str) -> str:
    return f"d1:{draft_id}:{action}"


def button(label: str, custom_id: str, *, style: discord.ButtonStyle = SECONDARY) -> ui.Button[Any]:
    return ui.Button(label=label[:MAX_LABEL_LENGTH], custom_id=custom_id, style=style)


def rows(buttons: Sequence[ui.Button[Any]]) -> list[Part]:
    return [ui.ActionRow(*buttons[at : at + BUTTONS_PER_ROW]) for at in range(0, len(buttons), BUTTONS_PER_ROW)]


def sentence(words: Words, key: str, values: Mapping[str, object], *, kind: str = "") -> str:
    """The sentence for *key*, with texts in *values* escaped and numbers formatted.

    Values whose names end in `_at` are UTC milliseconds, those in `micro_usd` money. A value `unit` ("bytes",
    "micro_usd") is the unit of the other numbers; so is *kind*, an error's key, for errors about sizes.
    """
    unit = "bytes" if kind in SIZE_ERRORS else str(values.get("unit", ""))
    formatted = {name: _format_value(words, name, value, unit=unit) for name, value in values.items()}
    return words.say(key, **formatted)


def _format_value(words: Words, name: str, value: object, *, unit: str) -> object:
    match value:
        case str():
            return _format_text(words, name, value)
        case bool():
            return str(value).lower()
        case int():
            return _format_number(words, name, value, unit=unit)
        case None:
            return words.say("format.none")
        case Iterable():
            return words.either([show(str(each), max_length=60) for each in value][:25])
        case _:
            return show(str(value), max_length=100)


def _format_text(words: Words, name: str, value: str) -> str:
    if name == "option" and OPTION_NAME.fullmatch(value):
        return value  # shown as code, where an escaping backslash would be visible
    if name == "outage" and words.knows(f"outage.{value}"):
        return words.say(f"outage.{value}")
    return show(value, max_length=100) or "…"


def _format_number(words: Words, name: str, value: int, *, unit: str) -> object:
    if name.endswith("_at"):
        return relative(value)
    if unit == "micro_usd" or name.endswith("micro_usd"):
        return words.money(value)
    if unit == "bytes":
        return words.size(value)
    return value

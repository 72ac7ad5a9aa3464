"""The pieces every reply is built from: pages, texts, buttons, and the values put into sentences."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words, relative

BLURPLE = 0x5865F2
YELLOW = 0xFEE75C
RED = 0xED4245
GREY = 0x99AAB5

PRIMARY = discord.ButtonStyle.primary
SECONDARY = discord.ButtonStyle.secondary
DANGER = discord.ButtonStyle.danger

MOST_LABEL = 80  # Discord's limit; ours is 38, and the texts keep to it
IN_A_ROW = 5
MOST_PICTURES = 10  # Discord's limit for a gallery and for the files of a message
OPTION_NAME = re.compile(r"[a-z_]{1,32}")
BYTES = frozenset({"references.large", "references.heavy"})  # errors whose numbers are sizes

Part = ui.Item[Any]


def page(*parts: Part) -> ui.LayoutView:
    """A whole message. Stopped, so that the library keeps nothing of it: our router answers the buttons."""
    view = ui.LayoutView(timeout=None)
    for each in parts:
        view.add_item(each)
    view.stop()
    return view


def box(*parts: Part, colour: int) -> Part:
    return ui.Container(*parts, accent_colour=colour)


def paragraph(*lines: str) -> Part:
    """Lines under each other; empty ones are left out."""
    return ui.TextDisplay("\n".join(each for each in lines if each))


def small(*facts: str) -> str:
    """Facts on one line in small print."""
    told = " · ".join(each for each in facts if each)
    return f"-# {told}" if told else ""


def quoted(prompt: str, *, most: int) -> str:
    shown = show(prompt, most=most)
    return f"> {shown}" if shown else ""


def job_button(job_id: str, action: str, *, n: int | None = None) -> str:
    """What a button of a job's reply is called; `j1` is the version of this form."""
    return f"j1:{job_id}:{action}" if n is None else f"j1:{job_id}:{action}:{n}"


def draft_button(draft_id: str, action: str) -> str:
    return f"d1:{draft_id}:{action}"


def button(label: str, custom_id: str, *, style: discord.ButtonStyle = SECONDARY) -> ui.Button[Any]:
    return ui.Button(label=label[:MOST_LABEL], custom_id=custom_id, style=style)


def rows(buttons: Sequence[ui.Button[Any]]) -> list[Part]:
    return [ui.ActionRow(*buttons[at : at + IN_A_ROW]) for at in range(0, len(buttons), IN_A_ROW)]


def sentence(words: Words, key: str, values: Mapping[str, object], *, kind: str = "") -> str:
    """The sentence for *key* with members' and hosts' words made harmless and numbers made readable.

    Names ending in `_at` are UTC milliseconds; a value named `unit` says what the other numbers count.
    """
    unit = "bytes" if kind in BYTES else str(values.get("unit", ""))
    told = {name: _told(words, name, value, unit=unit) for name, value in values.items()}
    return words.say(key, **told)


def _told(words: Words, name: str, value: object, *, unit: str) -> object:
    match value:
        case str():
            return _told_text(words, name, value)
        case bool():
            return str(value).lower()
        case int():
            return _told_number(words, name, value, unit=unit)
        case None:
            return words.say("format.none")
        case Iterable():
            return words.either([show(str(each), most=60) for each in value][:25])
        case _:
            return show(str(value), most=100)


def _told_text(words: Words, name: str, value: str) -> str:
    if name == "option" and OPTION_NAME.fullmatch(value):
        return value  # stands between backticks, where a backslash would be seen
    if name == "outage" and words.knows(f"outage.{value}"):
        return words.say(f"outage.{value}")
    return show(value, most=100) or "…"


def _told_number(words: Words, name: str, value: int, *, unit: str) -> object:
    if name.endswith("_at"):
        return relative(value)
    if unit == "micro_usd" or name.endswith("micro_usd"):
        return words.money(value)
    if unit == "bytes":
        return words.size(value)
    return value

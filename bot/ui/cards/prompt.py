"""Draws a whole prompt, with a file if it cannot be shown or copied exactly. Pure."""

from dataclasses import dataclass
from typing import Any

from discord import ui

from bot.ui.cards.components import page, paragraph, small
from bot.ui.cards.escape import ZERO_WIDTH, clean, show
from bot.ui.cards.texts import Words

MAX_PROMPT_LENGTH = 3500
NO_LIMIT = 100_000  # characters; more than any prompt has after escaping
PROMPT_FILE = "prompt.txt"


@dataclass(frozen=True, slots=True)
class PromptPage:
    """The message; *attach*: the prompt must be attached as `prompt.txt`."""

    view: ui.LayoutView
    attach: bool


def prompt_page(prompt: str, words: Words) -> PromptPage:
    """The whole prompt if it fits into a message, with a file if it does not, or if escaping has changed it."""
    shown = show(prompt, max_length=NO_LIMIT, lines=True)
    title, text = words.say("prompt.title"), shown or words.say("prompt.empty")
    file: ui.File[Any] = ui.File(f"attachment://{PROMPT_FILE}")
    if len(shown) > MAX_PROMPT_LENGTH:
        return PromptPage(page(paragraph(title, words.say("prompt.attached")), file), attach=True)
    if clean(prompt) != prompt or ZERO_WIDTH in shown:
        note = small(words.say("prompt.exact"))
        return PromptPage(page(paragraph(title), paragraph(text), paragraph(note), file), attach=True)
    return PromptPage(page(paragraph(title), paragraph(text)), attach=False)

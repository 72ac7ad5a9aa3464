"""Draws the page that shows a whole prompt, with a file where it is too long for a message."""

from dataclasses import dataclass
from typing import Any

from discord import ui

from bot.ui.cards.components import page, paragraph, small
from bot.ui.cards.escape import ZERO_WIDTH, clean, show
from bot.ui.cards.texts import Words

PROMPT_IN_PAGE = 3500
UNCUT = 100_000  # characters; more than any prompt has after escaping
PROMPT_FILE = "prompt.txt"


@dataclass(frozen=True, slots=True)
class PromptPage:
    """The view, and whether the prompt has to be sent along as a file called `prompt.txt`."""

    view: ui.LayoutView
    attach: bool


def prompt_page(prompt: str, words: Words) -> PromptPage:
    """The whole prompt in the message where it fits; as a file too where it could not be copied from there exactly."""
    shown = show(prompt, most=UNCUT, lines=True)
    title, text = words.say("prompt.title"), shown or words.say("prompt.empty")
    file: ui.File[Any] = ui.File(f"attachment://{PROMPT_FILE}")
    if len(shown) > PROMPT_IN_PAGE:
        return PromptPage(page(paragraph(title, words.say("prompt.attached")), file), attach=True)
    if clean(prompt) != prompt or ZERO_WIDTH in shown:
        note = small(words.say("prompt.exact"))
        return PromptPage(page(paragraph(title), paragraph(text), paragraph(note), file), attach=True)
    return PromptPage(page(paragraph(title), paragraph(text)), attach=False)

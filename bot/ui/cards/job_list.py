"""Draws a member's list of jobs, for `/jobs`. Pure."""

from collections.abc import Sequence
from typing import Any

from discord import ui

from bot.core.cards import Card
from bot.ui.cards.components import BLURPLE, Part, box, button, job_button, page, paragraph, quoted, small
from bot.ui.cards.job import cost, details, end_reason, reserved, shape_of
from bot.ui.cards.job_buttons import stop_buttons
from bot.ui.cards.texts import Words, moment, relative

MAX_JOBS = 10
MAX_JOBS_WITH_TWO_BUTTONS = 9  # ten jobs with two buttons each would exceed Discord's limit of 40 components
MAX_PROMPT_LENGTH = 50


def jobs_list(cards: Sequence[Card], words: Words, now: int, *, more: int = 0) -> ui.LayoutView:
    """The list of active, undelivered and hidden jobs: the first ten of *cards*, and how many *more* there are."""
    if not cards:
        return page(box(paragraph(words.say("jobs.title"), words.say("jobs.none")), colour=BLURPLE))
    shown = cards[:MAX_JOBS]
    more += len(cards) - len(shown)
    parts: list[Part] = [paragraph(words.say("jobs.title"), words.say("jobs.more", count=more) if more else "")]
    for each in shown:
        parts += [
            _entry(each, words, now=now),
            _entry_buttons(each, words, both=len(shown) <= MAX_JOBS_WITH_TWO_BUTTONS),
        ]
    return page(*parts)


def _entry(card: Card, words: Words, *, now: int) -> Part:
    job = card.job
    marks = [words.say("state.hidden")] if card.hidden else []
    return paragraph(
        " · ".join([f"**{words.say(f'state.{shape_of(card)}')}**", *marks, relative(min(job.created_at, now))]),
        f"{_why_listed(card, words)} {cost(card, words)}" if job.state.is_final else "",
        small(details(card, words), reserved(card, words)),
        quoted(job.request.prompt, max_length=MAX_PROMPT_LENGTH),
    )


def _why_listed(card: Card, words: Words) -> str:
    """The sentence for why an ended job is in the list."""
    if card.by_rules and card.pictures and not card.hidden:
        return words.say("jobs.by_rules", when=moment(card.listed_until))
    if not card.hidden and not card.by_rules:
        return words.say("jobs.undelivered")
    if card.job.images == 0:
        return end_reason(card, words)
    return words.say("jobs.hidden", when=moment(card.listed_until)) if card.pictures else words.say("card.gone")


def _entry_buttons(card: Card, words: Words, *, both: bool) -> Part:
    buttons = stop_buttons(card, words)
    if both or not buttons:
        buttons.append(button(words.say("button.look"), job_button(card.job.id, "look")))
    row: ui.ActionRow[Any] = ui.ActionRow(*buttons)
    return row

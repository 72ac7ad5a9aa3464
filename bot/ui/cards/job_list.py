"""Draws what belongs to a member rather than to one job: open jobs, usage, a whole prompt. Pure."""

from collections.abc import Sequence
from typing import Any

from discord import ui

from bot.core.cards import Card
from bot.ui.cards.components import BLURPLE, Part, box, button, job_button, page, paragraph, quoted, small
from bot.ui.cards.job import cost, meta, shape_of, why
from bot.ui.cards.job_buttons import stop
from bot.ui.cards.texts import Words, moment, relative

MOST_JOBS = 10
BOTH_BUTTONS = 9  # with two buttons each, ten jobs would pass Discord's 40 components
PROMPT_IN_LIST = 80


def jobs_list(cards: Sequence[Card], words: Words, now: int, *, more: int = 0) -> ui.LayoutView:
    """A member's unfinished, undelivered and hidden jobs, the first ten of *cards*; there are *more* beside those."""
    if not cards:
        return page(box(paragraph(words.say("jobs.title"), words.say("jobs.none")), colour=BLURPLE))
    shown = cards[:MOST_JOBS]
    more += len(cards) - len(shown)
    parts = [paragraph(words.say("jobs.title"), words.say("jobs.more", count=more) if more else "")]
    for each in shown:
        parts += [_entry(each, words, now=now), _entry_buttons(each, words, both=len(shown) <= BOTH_BUTTONS)]
    return page(*parts)


def _entry(card: Card, words: Words, *, now: int) -> Part:
    job = card.job
    marks = [words.say("state.hidden")] if card.hidden else []
    return paragraph(
        " · ".join([f"**{words.say(f'state.{shape_of(card)}')}**", *marks, relative(min(job.created_at, now))]),
        f"{_where(card, words)} {cost(card, words)}" if job.state.is_final else "",
        small(meta(card, words)),
        quoted(job.request.prompt, most=PROMPT_IN_LIST),
    )


def _where(card: Card, words: Words) -> str:
    """Why an ended job is in the list."""
    if not card.hidden:
        return words.say("jobs.undelivered")
    if card.job.images == 0:
        return why(card, words)
    return words.say("jobs.hidden", when=moment(card.in_jobs_until)) if card.pictures else words.say("card.gone")


def _entry_buttons(card: Card, words: Words, *, both: bool) -> Part:
    found = stop(card, words)
    if both or not found:
        found.append(button(words.say("button.look"), job_button(card.job.id, "look")))
    row: ui.ActionRow[Any] = ui.ActionRow(*found)
    return row

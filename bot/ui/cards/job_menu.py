"""Draws the ephemeral menu of a job behind *More…*, and the question before it is deleted. Pure."""

from collections.abc import Iterator

from discord import ui

from bot.core.cards import Card
from bot.core.jobs import State
from bot.ui.cards.components import BLURPLE, DANGER, GREY, box, button, job_button, page, paragraph, quoted, rows, small
from bot.ui.cards.escape import show
from bot.ui.cards.job import cost, details, end_reason, remaining_quota, shape_of
from bot.ui.cards.job_buttons import menu_buttons
from bot.ui.cards.texts import Words, moment

MAX_PROMPT_LENGTH = 1000


def menu(card: Card, words: Words, *, own: bool, deletable: bool) -> ui.LayoutView:
    """What there is to know of a job and to do with it. *own*: for the requester, who also sees what it cost."""
    job = card.job
    facts = paragraph(
        f"### {words.say(f'state.{shape_of(card)}')}",
        end_reason(card, words) if job.state is not State.SUCCEEDED else "",
        cost(card, words) if own else "",
        quoted(job.request.prompt, max_length=MAX_PROMPT_LENGTH),
    )
    fine_print = paragraph(small(details(card, words)), small(*_facts(card, words)))
    left = paragraph(small(*remaining_quota(card, words))) if own and remaining_quota(card, words) else None
    buttons = rows(menu_buttons(card, words, own=own, deletable=deletable))
    return page(box(facts, fine_print, *([left] if left else []), *buttons, colour=BLURPLE))


def _facts(card: Card, words: Words) -> Iterator[str]:
    job = card.job
    yield words.say("card.drawn_by", provider=show(card.provider, max_length=60))
    if "seed" in job.request.options:
        yield words.say("card.seed", seed=job.request.options["seed"])
    yield moment(job.ended_at or job.created_at)
    yield words.say("card.reference", reference=show(job.id[-8:], max_length=20))


def confirm_deletion(card: Card, words: Words) -> ui.LayoutView:
    """The question whether a job is to be deleted."""
    asks = paragraph(words.say("menu.delete", count=max(1, len(card.pictures))))
    yes = button(words.say("button.delete"), job_button(card.job.id, "erase"), style=DANGER)
    return page(box(asks, *rows([yes]), colour=GREY))


def deleted(words: Words) -> ui.LayoutView:
    """What replaces the question once the job is deleted."""
    return page(box(paragraph(words.say("menu.deleted")), colour=GREY))

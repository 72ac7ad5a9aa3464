"""Draws the ephemeral menu of a job behind *More…*, and the question before it is deleted. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from discord import ui

from bot.core.cards import Card
from bot.core.jobs import State
from bot.ui.cards.components import (
    BLURPLE,
    DANGER,
    GREY,
    MAX_PICTURES,
    Part,
    box,
    button,
    draft_button,
    job_button,
    page,
    paragraph,
    quoted,
    rows,
    small,
)
from bot.ui.cards.escape import show
from bot.ui.cards.job import cost, details, end_reason, job_ended_without, remaining_quota, shape_of, source_link
from bot.ui.cards.job_buttons import Viewer, links, menu_buttons
from bot.ui.cards.texts import Words, moment

MAX_PROMPT_LENGTH = 1000
ACTIVE = tuple(each for each in State if not each.is_final)


def menu(card: Card, words: Words, viewer: Viewer) -> ui.LayoutView:
    """What there is to know of a job and to do with it; only the requester sees what it cost, and why it failed."""
    job = card.job
    shows_words = viewer.own or not job_ended_without(card)
    facts = paragraph(
        f"### {words.say(f'state.{shape_of(card)}')}",
        end_reason(card, words) if shows_words and job.state not in (State.SUCCEEDED, *ACTIVE) else "",
        cost(card, words) if viewer.own and job.state.is_final else "",
        quoted(job.request.prompt, max_length=MAX_PROMPT_LENGTH) if shows_words else words.say("menu.not_yours"),
    )
    fine_print = paragraph(small(source_link(card, words), details(card, words)), small(*_facts(card, words)))
    left = paragraph(small(*remaining_quota(card, words))) if viewer.own and remaining_quota(card, words) else None
    buttons = rows(menu_buttons(card, words, viewer))
    return page(box(facts, fine_print, *([left] if left else []), *buttons, colour=BLURPLE))


def _facts(card: Card, words: Words) -> Iterator[str]:
    job = card.job
    yield words.say("card.drawn_by", provider=show(card.provider, max_length=60))
    if "seed" in job.request.options:
        yield words.say("card.seed", seed=job.request.options["seed"])
    if job.ended_at is not None and job.state is State.SUCCEEDED:
        yield words.say("card.took", seconds=max(1, round((job.ended_at - job.created_at) / 1000)))
    yield moment(job.ended_at or job.created_at)
    yield words.say("card.reference", reference=show(job.id[-8:], max_length=20))


def confirm_deletion(card: Card, words: Words) -> ui.LayoutView:
    """The question whether a job is to be deleted; of several pictures each one can be."""
    asks = paragraph(words.say("menu.delete", count=max(1, len(card.pictures))))
    label = words.say("button.delete_all" if len(card.pictures) > 1 else "button.delete")
    yes = button(label, job_button(card.job.id, "erase"), style=DANGER)
    ones = [
        button(words.say("button.delete_one", n=each.n), job_button(card.job.id, "erase", n=each.n))
        for each in card.pictures[:MAX_PICTURES]
    ]
    return page(box(asks, *rows([yes]), *rows(ones if len(ones) > 1 else []), colour=GREY))


def which_picture(numbers: Sequence[int], words: Words, *, draft_id: str) -> ui.LayoutView:
    """The question which picture of several is to be varied."""
    buttons = [
        button(words.say("button.picture", n=n), f"{draft_button(draft_id, 'vary')}:{n}")
        for n in numbers[:MAX_PICTURES]
    ]
    return page(box(paragraph(words.say("menu.which")), *rows(buttons), colour=BLURPLE))


def which_size(numbers: Sequence[int], prices: Mapping[str, str], words: Words, *, draft_id: str) -> ui.LayoutView:
    """The question how large the picture, or which of several, is to be made; *prices* by resolution."""
    parts: list[Part] = [paragraph(words.say("menu.size"))]
    for resolution, price in prices.items():
        buttons = []
        for n in numbers[:MAX_PICTURES]:
            label = resolution if len(numbers) == 1 else words.say("button.picture_at", n=n, resolution=resolution)
            text = words.say("button.priced", label=label, price=price)
            buttons.append(button(text, f"{draft_button(draft_id, 'upscale')}:{n}:{resolution}"))
        parts += rows(buttons)
    return page(box(*parts, colour=BLURPLE))


def deleted(words: Words) -> ui.LayoutView:
    """What replaces the question once the job is deleted."""
    return page(box(paragraph(words.say("menu.deleted")), colour=GREY))


def original_files(card: Card, words: Words, *, files: Sequence[str]) -> ui.LayoutView:
    """The message with the pictures as they were made: uploaded *files*, and links to those too large for Discord."""
    missing = len(card.pictures) - len(files) - len(card.links)
    lines = [words.say("menu.files", count=len(files))] if files else []
    lines += [words.say("card.links", count=len(card.links))] if card.links else []
    lines += [words.say("menu.files_missing", count=max(1, missing))] if missing or not (files or card.links) else []
    parts: list[Part] = [ui.File(f"attachment://{name}") for name in files]
    return page(paragraph(*lines), *parts, *rows(links(card, words)))

"""Draws the buttons of a job's message, with prices where they cost something. Pure."""

from dataclasses import dataclass
from typing import Any

import discord
from discord import ui

from bot.core.cards import HIDEABLE, Card
from bot.core.jobs import Cancel, State
from bot.ui.cards.components import DANGER, MAX_PICTURES, PRIMARY, SECONDARY, button, job_button
from bot.ui.cards.texts import Words

MAX_LINK_LENGTH = 512  # characters, Discord's limit
CANCELLABLE = frozenset({State.ACCEPTED, State.SUBMITTING, State.QUEUED})
# After these reasons a retry of the same request would fail again: only another prompt or other pictures help.
FINAL_REASONS = frozenset({"bad_input_picture", "inputs_expired", "rejected", "model_gone"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a job behind *More…*: its requester (*own*), somebody who may delete it, and so on."""

    own: bool
    may_delete: bool
    may_report: bool = False
    favorite: bool = False  # the job is one of their favorites
    can_open_thread: bool = False  # on the job's message, to go on there
    can_step_back: bool = False  # in the thread that the job is in


def can_cancel(card: Card) -> bool:
    job = card.job
    return job.state in CANCELLABLE and job.cancel is Cancel.NONE and not can_hide(card) and not card.hidden


def can_hide(card: Card) -> bool:
    return card.hide_only and card.job.state in HIDEABLE and not card.hidden


def buttons(card: Card, words: Words, *, now: int) -> list[ui.Button[Any]]:
    """The buttons of a card without pictures."""
    job = card.job
    if job.deleted_at is not None:
        return []
    if card.hidden:
        return _hidden(card, words)
    if not job.state.is_final:
        return [*stop_buttons(card, words), _button(card, words, "look"), _button(card, words, "prompt")]
    retry = _retry(card, words, "revive" if job.state is State.CANCELLED else "retry", now=now)
    change = _button(card, words, "change", style=SECONDARY if retry else PRIMARY)
    return [*retry, change, _button(card, words, "prompt"), _button(card, words, "delete")]


def short_buttons(card: Card, words: Words, *, now: int) -> list[ui.Button[Any]]:
    """The buttons of the one line about a job that ended without pictures; the rest is behind *More…*."""
    retry = _retry(card, words, "revive" if card.job.state is State.CANCELLED else "retry", now=now)
    return [*retry, _button(card, words, "more")]


def stop_buttons(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The button to cancel or hide an active job, if either is possible."""
    if can_cancel(card):
        return [_button(card, words, "cancel", style=DANGER)]
    return [_button(card, words, "hide")] if can_hide(card) else []


def _hidden(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The buttons of a hidden job; those that cost something appear once it is shown."""
    ended = card.job.state.is_final
    last = _button(card, words, "delete") if ended else _button(card, words, "look")
    return [_button(card, words, "show"), _button(card, words, "prompt"), last]


def _retry(card: Card, words: Words, label: str, *, now: int) -> list[ui.Button[Any]]:
    job = card.job
    links_expired = job.inputs_expire_at is not None and now >= job.inputs_expire_at
    if links_expired or job.state is State.REFUSED or job.reason in FINAL_REASONS:
        return []
    return [_repeat(card, words, label, style=PRIMARY)]


def _repeat(card: Card, words: Words, label: str, *, style: discord.ButtonStyle = SECONDARY) -> ui.Button[Any]:
    """The button that repeats the request, with its price where the card shows prices."""
    text = words.say(f"button.{label}")
    if card.shows_prices:
        price = words.money(card.charge.reserved.micro_usd, about=card.estimated)
        text = words.say("button.priced", label=text, price=price)
    return button(text, job_button(card.job.id, "again"), style=style)


def done_buttons(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The buttons under finished pictures: everything else is behind *More…*."""
    again = [] if card.job.request.prompt == "" else [_repeat(card, words, "again")]
    return [*_edit(card, words), *again, *_from_result(card, words), _button(card, words, "more")]


def _from_result(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The buttons that make new pictures from these; of several pictures they ask which one."""
    if not card.pictures or not card.job.request.prompt or card.by_rules:
        return []
    variations = [_button(card, words, "vary")] if card.editable else []
    return [*variations, *([_button(card, words, "upscale")] if card.larger else [])]


def _edit(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The button to edit; of several pictures its form asks which one."""
    if not card.pictures or card.by_rules:
        return []
    n = card.pictures[0].n if len(card.pictures) == 1 else None
    return [button(words.say("button.edit"), job_button(card.job.id, "edit", n=n), style=PRIMARY)]


def menu_buttons(card: Card, words: Words, viewer: Viewer) -> list[ui.Button[Any]]:
    """The buttons behind *More…* for *viewer*."""
    favorite = "unfavorite" if viewer.favorite else "favorite"
    covered = [_button(card, words, "uncover" if card.job.spoiler else "spoiler")] if not card.job.flagged else []
    mine = [_button(card, words, "change"), _button(card, words, "prompt")] if viewer.own else []
    files = [_button(card, words, "files")] if card.pictures and (viewer.own or not card.by_rules) else []
    marks = [button(words.say(f"button.{favorite}"), job_button(card.job.id, "favorite"))] if card.job.images else []
    marks += covered if viewer.may_delete and card.pictures else []
    thread = [_button(card, words, "thread")] if viewer.can_open_thread and card.pictures else []
    back = [_button(card, words, "back")] if viewer.can_step_back and card.job.parent_id is not None else []
    delete = [_button(card, words, "delete")] if viewer.may_delete else []
    report = [_button(card, words, "report")] if viewer.may_report and card.pictures else []
    return [*mine, *files, *marks, *thread, *back, *delete, *report] if card.job.state.is_final else mine


def links(card: Card, words: Words) -> list[ui.Button[Any]]:
    """Link buttons for pictures that are too large for Discord."""
    fitting = [each for each in card.links if len(each) <= MAX_LINK_LENGTH]
    return [
        ui.Button(label=words.say("button.picture", n=n), url=each)
        for n, each in enumerate(fitting[:MAX_PICTURES], start=1)
    ]


def _button(
    card: Card, words: Words, action: str, *, style: discord.ButtonStyle = SECONDARY
) -> ui.Button[Any]:  # fmt: skip
    acts = "spoiler" if action == "uncover" else action
    return button(words.say(f"button.{action}"), job_button(card.job.id, acts), style=style)

"""Draws the buttons of a job's message, with prices where they cost something. Pure."""

from typing import Any

import discord
from discord import ui

from bot.core.cards import HIDEABLE, Card, Picture
from bot.core.jobs import Cancel, State
from bot.ui.cards.components import DANGER, MAX_PICTURES, PRIMARY, SECONDARY, button, job_button, rows
from bot.ui.cards.texts import Words

MAX_LINK_LENGTH = 512  # characters, Discord's limit
CANCELLABLE = frozenset({State.ACCEPTED, State.SUBMITTING, State.QUEUED})
# After these reasons a retry of the same request would fail again: only another prompt or other pictures help.
FINAL_REASONS = frozenset({"bad_input_picture", "inputs_expired", "rejected", "model_gone"})


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
    return [*retry, change, _button(card, words, "prompt"), _button(card, words, "delete", style=DANGER)]


def stop_buttons(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The button to cancel or hide an active job, if either is possible."""
    if can_cancel(card):
        return [_button(card, words, "cancel", style=DANGER)]
    return [_button(card, words, "hide")] if can_hide(card) else []


def _hidden(card: Card, words: Words) -> list[ui.Button[Any]]:
    """The buttons of a hidden job; those that cost something appear once it is shown."""
    ended = card.job.state.is_final
    last = _button(card, words, "delete", style=DANGER) if ended else _button(card, words, "look")
    return [_button(card, words, "show"), _button(card, words, "prompt"), last]


def _retry(card: Card, words: Words, label: str, *, now: int) -> list[ui.Button[Any]]:
    job = card.job
    links_expired = job.inputs_expire_at is not None and now >= job.inputs_expire_at
    if links_expired or job.state is State.REFUSED or job.reason in FINAL_REASONS:
        return []
    label_text = words.say(f"button.{label}", price=_price(card, words))
    return [button(label_text, job_button(job.id, "again"), style=PRIMARY)]


def done_rows(card: Card, words: Words) -> list[ui.Item[Any]]:
    """The rows under finished pictures."""
    retry = words.say("button.again", price=_price(card, words))
    last = [
        button(retry, job_button(card.job.id, "again")),
        _button(card, words, "change"),
        _button(card, words, "prompt"),
        _button(card, words, "delete", style=DANGER),
    ]
    return [*rows(_edits(card, words)), *rows(last)]


def _edits(card: Card, words: Words) -> list[ui.Button[Any]]:
    if len(card.pictures) == 1:
        return [button(words.say("button.edit"), _edit_id(card, card.pictures[0]), style=PRIMARY)]
    return [
        button(words.say("button.edit_one", n=each.n), _edit_id(card, each)) for each in card.pictures[:MAX_PICTURES]
    ]


def _edit_id(card: Card, picture: Picture) -> str:
    return job_button(card.job.id, "edit", n=picture.n)


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
    return button(words.say(f"button.{action}"), job_button(card.job.id, action), style=style)


def _price(card: Card, words: Words) -> str:
    return words.money(card.charge.reserved.micro_usd, about=card.estimated)

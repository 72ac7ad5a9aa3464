"""Draws what belongs to a member rather than to one job: open jobs, usage, a whole prompt. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from discord import ui

from bot.core.cards import Card
from bot.core.quota import Allowance, Amount
from bot.ui.escape import show
from bot.ui.parts import BLURPLE, DANGER, Part, box, button, job_button, page, paragraph, quoted, small
from bot.ui.render import can_cancel, cost, meta, shape_of
from bot.ui.texts import Words, relative

MOST_JOBS = 10
BOTH_BUTTONS = 9  # with two buttons each, ten jobs would pass Discord's 40 components
PROMPT_IN_LIST = 80
PROMPT_IN_PAGE = 3500
UNCUT = 100_000  # characters; more than any prompt has after escaping
BAR = 10  # characters
PROMPT_FILE = "prompt.txt"


@dataclass(frozen=True, slots=True)
class PromptPage:
    """The view, and whether the prompt has to be sent along as a file called `prompt.txt`."""

    view: ui.LayoutView
    attach: bool


def jobs_list(cards: Sequence[Card], words: Words, now: int) -> ui.LayoutView:
    """A member's unfinished and undelivered jobs, the first ten of *cards*."""
    if not cards:
        return page(box(paragraph(words.say("jobs.title"), words.say("jobs.none")), colour=BLURPLE))
    shown = cards[:MOST_JOBS]
    hidden = len(cards) - len(shown)
    parts = [paragraph(words.say("jobs.title"), words.say("jobs.more", count=hidden) if hidden else "")]
    for each in shown:
        parts += [_entry(each, words, now=now), _entry_buttons(each, words, both=len(shown) <= BOTH_BUTTONS)]
    return page(*parts)


def _entry(card: Card, words: Words, *, now: int) -> Part:
    job = card.job
    asked_at = relative(min(job.created_at, now))
    return paragraph(
        f"**{words.say(f'state.{shape_of(job)}')}** · {asked_at}",
        f"{words.say('jobs.undelivered')} {cost(card, words)}" if job.state.is_final else "",
        meta(card, words),
        quoted(job.request.prompt, most=PROMPT_IN_LIST),
    )


def _entry_buttons(card: Card, words: Words, *, both: bool) -> Part:
    job = card.job
    row: ui.ActionRow[Any] = ui.ActionRow()
    if can_cancel(job):
        row.add_item(button(words.say("button.cancel"), job_button(job.id, "cancel"), style=DANGER))
    if both or not can_cancel(job):
        row.add_item(button(words.say("button.look"), job_button(job.id, "look")))
    return row


def usage(allowances: Sequence[Allowance], words: Words, *, reserved: Amount, now: int) -> ui.LayoutView:
    """What is used of every limit that applies, with bars; *reserved* is the part held for unfinished jobs."""
    lines = [_limit(each, words, now=now) for each in allowances] or [words.say("usage.none")]
    held = words.say("usage.held", price=words.money(reserved.micro_usd)) if reserved != Amount() else ""
    return page(box(paragraph(words.say("usage.title"), *lines, small(held)), colour=BLURPLE))


def _limit(allowance: Allowance, words: Words, *, now: int) -> str:
    unit, used, limit = allowance.unit, allowance.used, allowance.limit
    amounts = (words.money(used), words.money(limit)) if unit == "micro_usd" else (used, limit)
    told = words.say(f"usage.{unit}", used=amounts[0], limit=amounts[1])
    resets = allowance.resets_at
    again = words.say("usage.resets", when=relative(resets)) if resets is not None and resets > now else ""
    facts = " · ".join(each for each in (told, again) if each)
    return f"**{words.say(f'usage.{allowance.name}')}**\n`{bar(used, limit)}` {facts}"


def bar(used: int, limit: int) -> str:
    """A bar of ten characters: empty only when nothing is used, full only when everything is."""
    if used >= limit:
        return "█" * BAR
    filled = min(BAR - 1, max(1, used * BAR // limit)) if used > 0 else 0
    return "█" * filled + "░" * (BAR - filled)


def prompt_page(prompt: str, words: Words) -> PromptPage:
    """The whole prompt as typed, in the message where it fits, else as a file."""
    shown = show(prompt, most=UNCUT, lines=True)
    title = words.say("prompt.title")
    if len(shown) > PROMPT_IN_PAGE:
        file: ui.File[Any] = ui.File(f"attachment://{PROMPT_FILE}")
        return PromptPage(page(paragraph(title, words.say("prompt.attached")), file), attach=True)
    return PromptPage(page(paragraph(title), paragraph(shown or words.say("prompt.empty"))), attach=False)

"""Draws what is said once: refusals, short notices, the help page, the first message in a server. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from discord import ui

from bot.core.errors import UserError
from bot.core.quota import Limits, Unit
from bot.ui.cards import quota_text
from bot.ui.cards.components import (
    BLURPLE,
    PRIMARY,
    RED,
    YELLOW,
    box,
    button,
    draft_button,
    page,
    paragraph,
    rows,
    sentence,
    small,
)
from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words

MOST_MODELS = 12
MOST_HOSTS = 4


@dataclass(frozen=True, slots=True)
class ModelFact:
    """A model as the help page tells of it; *micro_usd* is for one picture with the model's own choices."""

    name: str
    about: str
    micro_usd: int
    estimated: bool


def refusal(error: UserError, words: Words, *, draft_id: str | None, outside: bool = False) -> ui.LayoutView:
    """Why something was not done; what was typed can be changed and sent again where a draft was kept.

    *outside*: not in a server that the bot is in, so that only the operator can help.
    """
    limit = quota_text.is_limit(error)
    title = words.say("error.quota_title" if limit else "error.title")
    body = paragraph(f"### {title}", quota_text.refused(words, error, outside=outside))
    change = [] if draft_id is None else [_change(draft_id, words)]
    return page(box(body, *rows(change), colour=YELLOW if limit else RED))


def _change(draft_id: str, words: Words) -> ui.Button[ui.LayoutView]:
    return button(words.say("button.change"), draft_button(draft_id, "change"), style=PRIMARY)


def notice(key: str, words: Words, **values: object) -> ui.LayoutView:
    """One sentence. Text among *values* is made harmless; names ending in `_at` are times, in `micro_usd` money."""
    return page(box(paragraph(sentence(words, key, values)), colour=BLURPLE))


def help_page(
    words: Words, *, models: Sequence[ModelFact], hosts: Sequence[str], keep_hours: int, keep_days: int
) -> ui.LayoutView:
    """What there is, what it costs, who sees a prompt, which hosts draw, and how long things are kept.

    *keep_hours* is for pictures, *keep_days* for prompts.
    """
    kept = words.say("help.kept", hours=keep_hours, days=keep_days)
    drawn_by = words.either([show(each, most=60) for each in hosts[:MOST_HOSTS]])
    privacy = (words.say("help.privacy", hosts=drawn_by), words.say("help.attached"))
    return page(
        box(
            paragraph(words.say("help.title"), words.say("help.commands").strip()),
            paragraph(words.say("help.models"), *_models(models, words)),
            paragraph(words.say("help.money_title"), words.say("help.money")),
            paragraph(words.say("help.privacy_title"), *privacy, kept),
            colour=BLURPLE,
        )
    )


def _models(models: Sequence[ModelFact], words: Words) -> list[str]:
    lines = [f"- {_model(each, words)}" for each in models[:MOST_MODELS]]
    hidden = len(models) - len(lines)
    return [*lines, small(words.say("help.more_models", count=hidden))] if hidden else lines


def _model(fact: ModelFact, words: Words) -> str:
    price, name = words.money(fact.micro_usd, about=fact.estimated), show(fact.name, most=60)
    if not fact.about.strip():
        return words.say("help.model", name=name, price=price)
    return words.say("help.model_about", name=name, price=price, about=show(fact.about, most=60))


def welcome(words: Words, *, is_open: bool, guild_id: int, limits: Limits) -> ui.LayoutView:
    """The first message in a new server. *is_open*: the operator lets this server make pictures."""
    door = words.say("welcome.open") if is_open else words.say("welcome.closed", guild_id=guild_id)
    body = paragraph(words.say("welcome.title"), words.say("welcome.start"), door)
    if not is_open:
        return page(box(body, colour=YELLOW))
    return page(box(body, paragraph(*_limits(words, limits)), colour=BLURPLE))


def _limits(words: Words, limits: Limits) -> list[str]:
    images, money, month = limits.user_day_images, limits.user_day_micro_usd, limits.guild_month_micro_usd
    each = [] if images is None else [quota_text.amount(words, Unit.IMAGES, images)]
    each += [] if money is None else [words.money(money)]
    lines = [words.say("welcome.user_limits", limits=" · ".join(each))] if each else []
    lines += [] if month is None else [words.say("welcome.guild_limit", limit=words.money(month))]
    return [*lines, words.say("welcome.admins")]

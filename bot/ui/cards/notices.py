"""Draws refusals, notices of one sentence, the help page and the welcome message. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from discord import ui

from bot.core.errors import UserError
from bot.core.quota import Limits, Scope, Unit
from bot.ui.cards import quota_text
from bot.ui.cards.components import (
    BLURPLE,
    MAX_LABEL_LENGTH,
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

MAX_MODELS = 12
MAX_PROVIDERS = 4
MAX_CHANNELS = 3  # link buttons of a refusal
JOBS_BUTTON = "l1:jobs"  # the custom id of the button that shows what /jobs does
MAX_FLAGS = 8


@dataclass(frozen=True, slots=True)
class ModelFact:
    """A model on the help page; *micro_usd* is the price of one picture with the model's default options."""

    name: str
    about: str
    micro_usd: int
    estimated: bool


def refusal(
    error: UserError,
    words: Words,
    *,
    draft_id: str | None,
    outside: bool = False,
    channels: Sequence[tuple[str, str]] = (),
) -> ui.LayoutView:
    """The message for *error*, with the buttons that help: none where only somebody else can.

    A request stored as *draft_id* can be changed. *channels*: names and addresses of channels where it would be
    accepted. *outside*: not in a server that the bot is in, so that only the operator can help.
    """
    limit = quota_text.is_limit(error)
    own_title = f"error.titles.{error.key.partition('.')[0]}"
    title = words.say("error.quota_title" if limit else own_title if words.knows(own_title) else "error.title")
    body = paragraph(f"### {title}", quota_text.refusal_text(words, error, outside=outside))
    buttons = [] if draft_id is None or _is_closed(error) else [_change(draft_id, words)]
    if limit and error.values.get("unit") == Unit.JOBS and error.values.get("scope") == Scope.USER:
        buttons.insert(0, button(words.say("button.my_jobs"), JOBS_BUTTON))
    buttons += [ui.Button(label=f"#{name}"[:MAX_LABEL_LENGTH], url=url) for name, url in channels[:MAX_CHANNELS]]
    return page(box(body, *rows(buttons), colour=YELLOW if limit else RED))


def _is_closed(error: UserError) -> bool:
    """Whether no other request would be accepted here."""
    return error.key.startswith(("blocked.", "place.")) or error.key in ("house.channel", "house.denied")


def _change(draft_id: str, words: Words) -> ui.Button[ui.LayoutView]:
    return button(words.say("button.change"), draft_button(draft_id, "change"), style=PRIMARY)


def notice(key: str, words: Words, **values: object) -> ui.LayoutView:
    """A message of one sentence; *values* are formatted as by `components.sentence`."""
    return page(box(paragraph(sentence(words, key, values)), colour=BLURPLE))


def short(text: str) -> ui.LayoutView:
    """A message of a few words that is soon deleted."""
    return page(paragraph(text))


def public_refusal(error: UserError, words: Words, *, user_id: int) -> str:
    """Why a request by message is refused, for everybody in the channel to read: without anybody's limits."""
    if quota_text.is_limit(error):
        return words.say("message.limit", user=f"<@{user_id}>")
    return quota_text.refusal_text(words, error, outside=False)


def ignored_flags(words: Words, *, ignored: Sequence[str], overridden: Sequence[str]) -> ui.LayoutView:
    """Which flags typed in a prompt have no effect: unknown ones, and those for which an option was chosen."""
    lines = [
        words.say(f"flags.{reason}", count=len(flags), flags=_listed(flags))
        for reason, flags in (("ignored", ignored), ("overridden", overridden))
        if flags
    ]
    return page(box(paragraph(*lines), colour=BLURPLE))


def _listed(flags: Sequence[str]) -> str:
    """`--v 6`, `--q 2`; flags contain no backtick."""
    shown = [f"`{each}`" for each in flags[:MAX_FLAGS]]
    return ", ".join([*shown, "…"] if len(flags) > MAX_FLAGS else shown)


def help_page(
    words: Words, *, models: Sequence[ModelFact], provider_names: Sequence[str], keep_hours: int, keep_days: int
) -> ui.LayoutView:
    """The help page: commands, models and prices, and privacy.

    *provider_names*: display names of the providers. Pictures are kept *keep_hours*, prompts *keep_days*.
    """
    kept = words.say("help.kept", hours=keep_hours, days=keep_days)
    providers = words.either([show(each, max_length=60) for each in provider_names[:MAX_PROVIDERS]])
    privacy = (words.say("help.privacy", hosts=providers), words.say("help.attached"))
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
    lines = [f"- {_model(each, words)}" for each in models[:MAX_MODELS]]
    hidden = len(models) - len(lines)
    return [*lines, small(words.say("help.more_models", count=hidden))] if hidden else lines


def _model(fact: ModelFact, words: Words) -> str:
    price, name = words.money(fact.micro_usd, about=fact.estimated), show(fact.name, max_length=60)
    if not fact.about.strip():
        return words.say("help.model", name=name, price=price)
    return words.say("help.model_about", name=name, price=price, about=show(fact.about, max_length=60))


def welcome(words: Words, *, is_open: bool, guild_id: int, limits: Limits) -> ui.LayoutView:
    """The first message in a new server. *is_open*: pictures may be made in this server."""
    access = words.say("welcome.open") if is_open else words.say("welcome.closed", guild_id=guild_id)
    body = paragraph(words.say("welcome.title"), words.say("welcome.start"), access)
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

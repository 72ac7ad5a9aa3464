"""Draws the forms in which people write or change a prompt. Pure; the router answers them by their custom id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import discord
from discord import ui

from bot.ui.cards.texts import Words

MOST_PROMPT = 4000  # Discord's limit for a field of a form
MOST_OPTIONS = 25
MOST_TITLE = 45
MOST_CHOICE = 100


@dataclass(frozen=True, slots=True)
class Choices:
    """What the form offers beside the prompt, and what is chosen at first; None leaves it to the model."""

    models: Sequence[tuple[str, str]]  # id and name
    ratios: Sequence[str]
    resolutions: Sequence[str]
    counts: Sequence[int]
    model: str | None = None
    ratio: str | None = None
    resolution: str | None = None
    count: int | None = None
    prices: Mapping[str, str] = field(default_factory=dict)  # what a picture by each model costs, in words


def prompt_form(
    words: Words,
    *,
    custom_id: str,
    prompt: str = "",
    limit: int = MOST_PROMPT,
    title: str = "change",
    choices: Choices | None = None,
) -> ui.Modal:
    """A form called *title* (a key below `form`): the prompt alone, or with model, ratio, resolution and count.

    Its fields are called `prompt`, `model`, `aspect_ratio`, `resolution` and `count`. A choice left empty is
    absent from what comes back. The form is stopped, so that the library keeps nothing of it.
    """
    form = ui.Modal(title=words.say(f"form.{title}")[:MOST_TITLE], custom_id=custom_id, timeout=None)
    form.add_item(_prompt(words, prompt, limit=min(limit, MOST_PROMPT)))
    for each in _selects(words, choices) if choices else []:
        form.add_item(each)
    form.stop()
    return form


def _prompt(words: Words, prompt: str, *, limit: int) -> ui.Label[Any]:
    """The field holds *prompt* to the letter, also where it has become longer than *limit*."""
    length = len(prompt) + sum(each > "\uffff" for each in prompt)  # in UTF-16: a client may count so, a server not
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id="prompt",
        style=discord.TextStyle.paragraph,
        default=prompt[:MOST_PROMPT] or None,
        min_length=1,
        max_length=min(max(limit, length), MOST_PROMPT),
    )
    return ui.Label(text=words.say("form.prompt"), description=words.say("form.prompt_about"), component=field)


def _selects(words: Words, choices: Choices) -> list[ui.Label[Any]]:
    counts = [str(each) for each in choices.counts]
    chosen_count = None if choices.count is None else str(choices.count)
    fields = [
        ("model", choices.models, choices.model, choices.prices),
        ("aspect_ratio", _plain(choices.ratios), choices.ratio, {}),
        ("resolution", _plain(choices.resolutions), choices.resolution, {}),
        ("count", _plain(counts), chosen_count, {}),
    ]
    return [
        _select(words, name, options, chosen=chosen, about=about) for name, options, chosen, about in fields if options
    ]


def _plain(values: Sequence[str]) -> Sequence[tuple[str, str]]:
    return [(each, each) for each in values]


def _select(
    words: Words, name: str, options: Sequence[tuple[str, str]], *, chosen: str | None, about: Mapping[str, str]
) -> ui.Label[Any]:
    unique = dict(options)
    offered = [
        discord.SelectOption(
            label=label[:MOST_CHOICE],
            value=value,
            description=about.get(value, "")[:MOST_CHOICE] or None,
            default=value == chosen,
        )
        for value, label in list(unique.items())[:MOST_OPTIONS]
    ]
    field: ui.Select[Any] = ui.Select(
        custom_id=name, options=offered, placeholder=words.say("form.default"), required=False
    )
    return ui.Label(text=words.say(f"form.{name}"), component=field)

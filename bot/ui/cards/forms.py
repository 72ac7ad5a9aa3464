"""Draws the forms to write or change a request. Pure; `Router` answers them by custom id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import discord
from discord import ui

from bot.ui.cards.texts import Words

MAX_PROMPT_LENGTH = 4000  # characters, Discord's limit for a form's text field
MAX_FIELDS = 5  # of a form, Discord's limit
MAX_FILES = 10
MAX_OPTIONS = 25
MAX_TITLE_LENGTH = 45
MAX_CHOICE_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of a form's selects, and which are selected; None selects none.

    With more than one of *pictures* the form asks which one to edit, and with *files* it takes more pictures. Discord
    shows five fields: these displace the count, and both of them the aspect ratio too.
    """

    models: Sequence[tuple[str, str]]  # id and name
    ratios: Sequence[str]
    resolutions: Sequence[str]
    counts: Sequence[int]
    model: str | None = None
    ratio: str | None = None
    resolution: str | None = None
    count: int | None = None
    pictures: int = 1
    files: int = 0  # pictures that may be added
    prices: Mapping[str, str] = field(default_factory=dict)  # texts by model id, as `about $0.08 a picture`


def prompt_form(
    words: Words,
    *,
    custom_id: str,
    prompt: str = "",
    limit: int = MAX_PROMPT_LENGTH,
    title: str = "change",
    choices: Choices | None = None,
) -> ui.Modal:
    """A form with the title `form.<title>` and the field `prompt`.

    With *choices* it has the selects `model`, `aspect_ratio`, `resolution` and `count` (or `picture`) too. A select
    without options is left out. The form is stopped, so that discord.py does not store it.
    """
    form = ui.Modal(title=words.say(f"form.{title}")[:MAX_TITLE_LENGTH], custom_id=custom_id, timeout=None)
    about = words.say("form.change_about" if title == "edit" else "form.prompt_about")
    form.add_item(_prompt(words, prompt, about=about, limit=min(limit, MAX_PROMPT_LENGTH)))
    if choices and choices.files:
        form.add_item(_files(words, choices.files))
    for each in _selects(words, choices) if choices else []:
        form.add_item(each)
    form.stop()
    return form


def _prompt(words: Words, prompt: str, *, about: str, limit: int) -> ui.Label[Any]:
    """The prompt's field, filled with *prompt* unchanged even if it exceeds *limit* (characters)."""
    length = len(prompt) + sum(each > "\uffff" for each in prompt)  # in UTF-16 units, which clients may count
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id="prompt",
        style=discord.TextStyle.paragraph,
        default=prompt[:MAX_PROMPT_LENGTH] or None,
        min_length=1,
        max_length=min(max(limit, length), MAX_PROMPT_LENGTH),
    )
    return ui.Label(text=words.say("form.prompt"), description=about, component=field)


def _selects(words: Words, choices: Choices) -> list[ui.Label[Any]]:
    counts = [str(each) for each in choices.counts]
    chosen_count = None if choices.count is None else str(choices.count)
    fields = [
        ("model", choices.models, choices.model, choices.prices),
        ("aspect_ratio", _plain(choices.ratios), choices.ratio, {}),
        ("resolution", _plain(choices.resolutions), choices.resolution, {}),
        ("count", _plain(counts), chosen_count, {}),
    ]
    fields = [each for each in fields if each[1]]
    if choices.pictures > 1:
        numbers = [str(n) for n in range(1, choices.pictures + 1)]
        fields = [("picture", _plain(numbers), numbers[0], {}), *(each for each in fields if each[0] != "count")]
    room = MAX_FIELDS - (2 if choices.files else 1)
    for name in ("count", "aspect_ratio"):
        if len(fields) > room:
            fields = [each for each in fields if each[0] != name]
    return [_select(words, name, options, chosen=chosen, about=about) for name, options, chosen, about in fields]


def _files(words: Words, limit: int) -> ui.Label[Any]:
    upload: ui.FileUpload[Any] = ui.FileUpload(
        custom_id="files", required=False, min_values=0, max_values=min(limit, MAX_FILES)
    )
    return ui.Label(text=words.say("form.files"), description=words.say("form.files_about"), component=upload)


def _plain(values: Sequence[str]) -> Sequence[tuple[str, str]]:
    return [(each, each) for each in values]


def _select(
    words: Words, name: str, options: Sequence[tuple[str, str]], *, chosen: str | None, about: Mapping[str, str]
) -> ui.Label[Any]:
    unique = dict(options)
    offered = [
        discord.SelectOption(
            label=label[:MAX_CHOICE_LENGTH],
            value=value,
            description=about.get(value, "")[:MAX_CHOICE_LENGTH] or None,
            default=value == chosen,
        )
        for value, label in list(unique.items())[:MAX_OPTIONS]
    ]
    field: ui.Select[Any] = ui.Select(
        custom_id=name, options=offered, placeholder=words.say("form.default"), required=False
    )
    return ui.Label(text=words.say(f"form.{name}"), component=field)

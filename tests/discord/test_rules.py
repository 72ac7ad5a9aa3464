"""Tests each rule for messages and forms, and that the bot gets an error for a breach."""

from typing import Any

import discord as dpy
import pytest

from tests.discord.client import Event, file, show
from tests.discord.conftest import Scene
from tests.discord.rules import V2, Json, Refused, check_message, check_modal, mentions_are_off

TEXT = {"type": 10, "content": "x"}


def _button(**parts: Any) -> Json:
    return {"type": 1, "components": [{"type": 2, "style": 1, "label": "Go", "custom_id": "go", **parts}]}


def _gallery(*urls: str, **parts: Any) -> Json:
    return {"type": 12, "items": [{"media": {"url": url}, **parts} for url in urls]}


FINE = "attachment://a.png"
BREACHES: dict[str, tuple[str, Json]] = {
    "content beside v2": ("content", {"content": "x", "components": [TEXT]}),
    "embeds beside v2": ("content", {"embeds": [{}], "components": [TEXT]}),
    "v2 parts without the flag": ("components.0.type", {"flags": 0, "components": [TEXT]}),
    "41 components": ("components", {"components": [TEXT] * 41}),
    "4001 characters in all": ("components", {"components": [{"type": 10, "content": "x" * 2001}] * 2}),
    "an empty text": ("components.0.content", {"components": [{"type": 10, "content": ""}]}),
    "an empty alt text": ("components.0.items.0.description", {"components": [_gallery(FINE, description="")]}),
    "an empty gallery": ("components.0.items", {"components": [_gallery()]}),
    "11 pictures": ("components.0.items", {"components": [_gallery(*[FINE] * 11)]}),
    "a file not listed": ("components.0.items.0.media.url", {"components": [_gallery("attachment://b.png")]}),
    "a strange scheme": ("components.0.items.0.media.url", {"components": [_gallery("file:///etc/passwd")]}),
    "a long custom_id": ("components.0.components.0.custom_id", {"components": [_button(custom_id="x" * 101)]}),
    "a custom_id twice": ("components.1.components.0.custom_id", {"components": [_button(), _button()]}),
    "a long label": ("components.0.components.0.label", {"components": [_button(label="x" * 81)]}),
    "a button without words": ("components.0.components.0.label", {"components": [_button(label=None)]}),
    "an empty row": ("components.0.components", {"components": [{"type": 1, "components": []}]}),
    "a row of six": ("components.0.components", {"components": [{"type": 1, "components": [TEXT] * 6}]}),
    "a section without accessory": ("components.0.accessory", {"components": [{"type": 9, "components": [TEXT]}]}),
    "a container in a container": (
        "components.0.components.0.type",
        {"components": [{"type": 17, "components": [{"type": 17, "components": [TEXT]}]}]},
    ),
}
FIELD = {"type": 18, "label": "Prompt", "component": {"type": 4, "custom_id": "p", "style": 1}}
FORM_BREACHES: dict[str, Json] = {
    "a long title": {"title": "x" * 46},
    "six parts": {"components": [TEXT] * 6},
    "a bare field": {"components": [{"type": 4, "custom_id": "p"}]},
    "a long label": {"components": [FIELD | {"label": "x" * 46}]},
    "a field twice": {"components": [FIELD, FIELD]},
    "a value beyond its length": {
        "components": [FIELD | {"component": {"type": 4, "custom_id": "p", "max_length": 2, "value": "xxx"}}]
    },
}


def _where(errors: Json) -> str:
    path = []
    while "_errors" not in errors:
        ((key, errors),) = errors.items()
        path.append(key)
    return ".".join(path)


@pytest.mark.parametrize("name", BREACHES)
def test_a_message_that_breaks_a_rule_is_an_invalid_form_body(name: str) -> None:
    where, body = BREACHES[name]

    with pytest.raises(Refused) as refused:
        check_message({"flags": V2, **body}, filenames=frozenset({"a.png"}))

    assert (refused.value.status, refused.value.body["code"]) == (400, 50035)
    assert _where(refused.value.body["errors"]) == where


def test_a_message_at_the_limits_is_accepted() -> None:
    texts = [{"type": 10, "content": "x" * 1000}] * 4
    box = {"type": 17, "components": [*texts, _gallery(*[FINE] * 10, description="x" * 1024), _button()]}

    check_message({"flags": V2, "components": [box]}, filenames=frozenset({"a.png"}))


@pytest.mark.parametrize("name", FORM_BREACHES)
def test_a_form_that_breaks_a_rule_does_not_open(name: str) -> None:
    fine: Json = {"title": "Change", "custom_id": "form", "components": [TEXT, FIELD]}
    check_modal(fine)

    with pytest.raises(Refused):
        check_modal(fine | FORM_BREACHES[name])


@pytest.mark.parametrize(
    ("allowed", "off"), [(None, False), ({}, False), ({"parse": []}, True), ({"parse": [], "users": ["1"]}, False)]
)
def test_mentions_are_off_only_when_the_body_says_so(allowed: Json | None, off: bool) -> None:  # noqa: FBT001
    assert mentions_are_off({"allowed_mentions": allowed}) is off


async def test_the_error_names_the_wrong_part(scene: Scene) -> None:
    async def paint(event: Event) -> None:
        await show(event, files=[file("a.png")], pictures=["attachment://other.png"])

    scene.bot.handle = paint
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    error = await scene.bot.outcome()

    assert isinstance(error, dpy.HTTPException)
    assert error.code == 50035
    assert "components.0.items.0.media.url" in error.text
    assert handle.first is None

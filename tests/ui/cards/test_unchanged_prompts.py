"""Prompts are unchanged in forms, files and requests; only cards escape them."""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.request_draft import RequestDraft
from bot.core.routes import wire_inputs
from bot.core.visible import visible
from bot.settings.settings import SHIPPED
from bot.ui.cards.forms import prompt_form
from bot.ui.commands.request_forms import apply_fields
from bot.ui.interactions.parsing import fields_of
from bot.ui.transport.payloads import complete
from tests.ui.cards.drawing import TEXTS
from tests.ui.hostile import hostile
from tests.ui.stage import Stage, field_value, on_stage, text, walk

EN = TEXTS.for_locale("en")
CATALOG = Catalog.model_validate(tomllib.loads((SHIPPED.parent / "models.toml").read_text()))
ODD = "  👨\u200d👩\u200d👧\u200d👦 at\r\nthe \u0645\u06cc\u200c\u062e \ufeff\u202eshore\t\ue000 "


class SubmittedForm:
    def __init__(self, payload: Any) -> None:
        self.data = complete(payload)["data"]


def sent(form: Any) -> Any:
    """The data of a form submitted as it was opened; Discord does not strip its values (discord-api-docs#4480)."""
    components = [
        {
            "type": 18,
            "component": {
                "type": 4,
                "custom_id": each["component"]["custom_id"],
                "value": each["component"].get("value", ""),
            },
        }
        for each in form.to_dict()["components"]
    ]
    who = {"id": "1", "username": "alice"}
    payload = {
        "id": "1",
        "application_id": "2",
        "token": "t",
        "type": 5,
        "user": who,
        "data": {"components": components},
    }
    return SubmittedForm(json.loads(json.dumps(payload)))


@settings(max_examples=150, deadline=None)
@given(hostile())
def test_any_text_submitted_unchanged_in_a_form_reaches_the_provider_unchanged(typed: str) -> None:
    typed = typed.replace("\x00", "").encode("utf-8", "ignore").decode()  # no client sends these
    draft = RequestDraft.load(
        json.loads(json.dumps(RequestDraft(verb=Verb.IMAGINE, prompt=typed).dump()))
    )  # as a draft is kept
    form = prompt_form(EN, custom_id="f", prompt=draft.prompt)

    again = apply_fields(draft, fields_of(sent(form)), CATALOG, default_model=None)

    assert again == draft
    if not visible(typed):
        with pytest.raises(UserError):
            CATALOG.request("nano-banana-2", Verb.IMAGINE, prompt=again.prompt, asked=RequestedOptions(), drawn_seed=1)
        return
    request = CATALOG.request(
        "nano-banana-2", Verb.IMAGINE, prompt=again.prompt, asked=RequestedOptions(), drawn_seed=1
    )
    route = CATALOG.routes_for(request)[0]
    assert json.loads(json.dumps(wire_inputs(route, request)))["prompt"] == typed


def test_a_prompt_longer_than_the_operator_now_allows_is_not_cut_in_a_form() -> None:
    long = "🦊" * 300

    (label,) = prompt_form(EN, custom_id="f", prompt=long, limit=100).to_dict()["components"]

    assert label["component"]["value"] == long
    assert label["component"]["max_length"] == 600  # for clients that count an emoji as two


@on_stage()
async def test_change_again_and_the_whole_prompt_keep_every_character(on: Stage) -> None:
    shown, job = await on.imagine(ODD)
    whole = await on.alice.click(shown.response.message, label="Full prompt")
    await on.fail(job)

    form = await on.in_menu(on.alice, (await on.card(job)).message, "Change prompt")
    assert field_value(form, "prompt") == ODD
    await on.alice.submit_modal(form, {"prompt": field_value(form, "prompt")})
    changed = await on.newest()
    await on.alice.click((await on.card(job)).message, label="Try again")

    assert [each.request.prompt for each in (job, changed, await on.newest())] == [ODD] * 3
    assert "👨\u200d👩\u200d👧\u200d👦" in text(whole)
    assert "`prompt.txt` has the exact text" in text(whole)
    (url,) = [each["file"]["url"] for each in walk(whole.response.components) if each.get("type") == 13]
    assert on.env.backend.cdn.get(url).decode() == ODD


@on_stage(host="runflow")
async def test_a_prompt_without_visible_characters_is_refused_and_nothing_is_reserved(on: Stage) -> None:
    for prompt, said in (("\u200b", "Your prompt is empty."), ("\u200ba\u3164b", "at least 3 visible")):
        shown = await on.alice.slash(on.channel, "imagine", prompt=prompt)

        assert said in text(shown)
        assert await on.jobs() == 0

from dataclasses import replace
from typing import Any

import pytest

from bot.core.errors import UserError
from bot.core.quota import Limits
from bot.ui.cards.components import RED, YELLOW
from bot.ui.cards.forms import Choices, prompt_form
from bot.ui.cards.notices import ModelFact, help_page, notice, refusal, welcome
from tests.ui.cards.drawing import EN, TEXTS, colour, ids, labels, nodes, read, text_of

MODELS = [
    ModelFact("Nano Banana 2", "fast, follows edits well", 80_000, estimated=True),
    ModelFact("Plain", "", 100_000, estimated=False),
]
CHOICES = Choices(
    models=[("nano-banana-2", "Nano Banana 2"), ("nano-banana-pro", "Nano Banana Pro")],
    ratios=["1:1", "16:9"],
    resolutions=["1K", "2K"],
    counts=[1, 2, 3, 4],
    model="nano-banana-2",
    ratio="16:9",
    count=2,
)


async def test_other_refusals_are_red_and_have_a_button_only_where_a_draft_was_kept() -> None:
    view = refusal(UserError("job.unknown"), EN, draft_id=None)

    assert colour(view) == RED
    assert ids(view) == []
    assert labels(refusal(UserError("prompt.empty"), EN, draft_id="d")) == ["Change prompt"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            UserError("option.choice", option="aspect_ratio", given="7:7", choices=["1:1", "3:2", "2:3"], model="Pro"),
            "7:7 isn't a valid `aspect_ratio` for Pro. Choose 1:1, 3:2 or 2:3.",
        ),
        (
            UserError("option.absent", option="seed", model="Pro", has=[]),
            "No model has the option `seed` right now. Leave it out.",
        ),
        (
            UserError("option.together", model="Pro", choices=["thinking high", "aspect_ratio 4:1"]),
            r"Pro can't combine these options. Change thinking high or aspect\_ratio 4:1.",
        ),
        (
            UserError("option.range", option="count", given=9, low=1, high=4, model="Nano"),
            "`count` must be from 1 to 4 for Nano, and you entered 9.",
        ),
        (
            UserError("references.large", file="a_b.png", limit=52_428_800, given=60_000_000),
            r"a\_b.png is 57 MB, and the maximum is 50 MB. Make it smaller and try again.",
        ),
        (
            UserError("references.pixels", file="a.png", width=12_000, height=12_000, limit=51),
            "a.png is 12000 × 12000 pixels, and the maximum is 51 megapixels. Make it smaller and attach it again.",  # noqa: RUF001
        ),
        (
            UserError("references.heavy", file="\u202e", limit=31_457_280),
            "… is larger than 30 MB. Make it smaller and attach it again.",
        ),
        (
            UserError("place.not_open", guild_id=123456789012345678),
            (
                "This bot isn't enabled in this server yet. Its operator can enable it by adding the server ID "
                "123456789012345678 to `discord.guilds`."
            ),
        ),
    ],
)  # fmt: skip
async def test_values_are_formatted_by_unit(error: UserError, sentence: str) -> None:
    assert read(refusal(error, EN, draft_id=None))[1] == sentence


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("blocked.user", "🚫 Blocked"),
        ("prompt.empty", "⚠️ Check the prompt"),
        ("busy", "⏳ The bot is busy"),
        ("cancel.too_late", "⚠️ Couldn't do that"),
    ],
)
async def test_a_refusal_is_headed_by_what_happened(key: str, title: str) -> None:
    assert read(refusal(UserError(key), EN, draft_id=None))[0] == f"### {title}"


async def test_a_notice_is_one_sentence_with_escaped_values() -> None:
    view = notice("operator.model_gone", EN, provider="RunComfy", model="<@1>", route="a/b")

    assert "<@" not in text_of(view)
    assert "as a/b" in text_of(view)
    assert read(notice("usage.resets", EN, when="soon")) == ["resets soon"]


@pytest.mark.parametrize("locale", TEXTS.locales)
async def test_help_says_what_there_is_what_it_costs_and_who_sees_what(locale: str) -> None:
    text = text_of(
        help_page(
            TEXTS.for_locale(locale), models=MODELS, provider_names=["RunComfy", "Runflow"], keep_hours=48, keep_days=30
        )
    )

    for fact in ("/imagine", "/edit", "/jobs", "/usage", "Nano Banana 2", "RunComfy", "Runflow", "48", "`private`"):
        assert fact in text


async def test_help_marks_estimates_and_says_how_long_things_are_kept() -> None:
    text = text_of(help_page(EN, models=MODELS, provider_names=["RunComfy"], keep_hours=48, keep_days=30))

    assert "- Nano Banana 2: about $0.08 per picture, fast, follows edits well" in text
    assert "- Plain: $0.10 per picture" in text
    assert "Pictures are stored for 48 hours and prompts for 30 days." in text


async def test_help_counts_models_it_has_no_room_for() -> None:
    assert "and 13 more in the `model` option" in text_of(
        help_page(EN, models=[MODELS[0]] * 25, provider_names=["RunComfy"], keep_hours=1, keep_days=30)
    )


async def test_the_first_message_says_whether_the_server_is_open_and_what_it_may_spend() -> None:
    view = welcome(EN, is_open=True, guild_id=5, limits=Limits())

    assert read(view)[2:] == [
        "It's ready to use here.",
        "Each member gets 10 pictures · $1.00 per day.",
        "This server gets $20.00 per month.",
        "Admins change these limits and see everyone's usage with `/quota`.",
    ]
    shut = welcome(EN, is_open=False, guild_id=5, limits=Limits())
    assert "by adding the server ID 5 to `discord.guilds`" in text_of(shut)
    assert colour(shut) == YELLOW
    free = Limits(user_day_images=None, user_day_micro_usd=None, guild_month_micro_usd=None)
    assert len(read(welcome(EN, is_open=True, guild_id=5, limits=free))) == 4


def fields(form: Any) -> dict[str, dict[str, Any]]:
    return {each["component"]["custom_id"]: each["component"] for each in form.to_dict()["components"]}


@pytest.mark.parametrize("locale", TEXTS.locales)
@pytest.mark.parametrize("title", ["imagine", "edit", "change"])
async def test_a_form_keeps_to_discords_limits(locale: str, title: str) -> None:
    form = prompt_form(
        TEXTS.for_locale(locale), custom_id="d1:01DRAFT:form", prompt="x" * 9000, title=title, choices=CHOICES
    )
    made = form.to_dict()

    assert len(made["title"]) <= 45
    assert len(made["components"]) == 5
    assert form.is_finished()
    for each in made["components"]:
        assert len(each["label"]) <= 45
        assert len(each.get("description", "")) <= 100
        assert len(each["component"].get("placeholder") or "") <= 100
        assert len(each["component"].get("options", [])) <= 25


async def test_a_form_opens_with_what_was_typed_and_chosen() -> None:
    made = fields(prompt_form(EN, custom_id="f", prompt="one\r\ntwo", choices=CHOICES))

    assert made["prompt"]["value"] == "one\r\ntwo"
    chosen = {
        name: [o["value"] for o in each["options"] if o["default"]] for name, each in made.items() if "options" in each
    }
    assert chosen == {"model": ["nano-banana-2"], "aspect_ratio": ["16:9"], "resolution": [], "count": ["2"]}
    assert not made["resolution"]["required"]


async def test_a_form_may_ask_for_the_prompt_alone_and_for_no_more_than_the_ceiling() -> None:
    made = fields(prompt_form(EN, custom_id="f", prompt="x", limit=50))

    assert list(made) == ["prompt"]
    assert made["prompt"]["max_length"] == 50
    assert "value" not in fields(prompt_form(EN, custom_id="f"))["prompt"]


async def test_a_form_without_choices_for_a_field_leaves_it_out() -> None:
    bare = Choices(models=CHOICES.models, ratios=[], resolutions=["1K"], counts=[])

    assert list(fields(prompt_form(EN, custom_id="f", choices=bare))) == ["prompt", "model", "resolution"]


async def test_every_part_of_a_refusal_is_a_known_component() -> None:
    assert {each["type"] for each in nodes(refusal(UserError("busy"), EN, draft_id="d"))} == {17, 10, 1, 2}


async def test_a_form_says_what_a_picture_by_each_model_costs() -> None:
    priced = replace(CHOICES, prices={"nano-banana-2": "about $0.08 per picture"})
    made = fields(prompt_form(EN, custom_id="f", choices=priced))

    assert [each.get("description") for each in made["model"]["options"]] == ["about $0.08 per picture", None]
    assert not any(each.get("description") for each in made["resolution"]["options"])

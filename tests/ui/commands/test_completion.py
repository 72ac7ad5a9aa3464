"""Autocompletion of commands: prices and remaining quota, under the server's settings."""

import itertools
import logging
from dataclasses import replace
from typing import Any

import pytest

from bot.core.catalog import RequestedOptions
from bot.core.jobs import Verb
from bot.core.quota import Grant, Holder, Limits, Rule, Unit
from bot.core.request_draft import RequestDraft
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.windows import Window
from bot.store.quotas import By
from bot.ui.commands.request_forms import choices_for
from bot.ui.interactions.timeouts import AckDeadline
from tests.ui.cards.drawing import EN
from tests.ui.stage import PNG, Stage, on_stage

LEFT = "10 pictures left today"
NUMBERS = itertools.count(1)
HERE: dict[str, Any] = {"server_settings": ServerSettings(), "channels": (1,)}


async def offered(on: Stage, option: str, typed: str = "", /, *, by: Any = None, **filled: Any) -> list[str]:
    found = await (by or on.alice).autocomplete(on.channel, "imagine", option, typed, **filled)
    return [each["name"] for each in found]


def by_admin(on: Stage) -> By:
    return By(id=str(next(NUMBERS)), server=on.guild.id, actor=1, at=on.rig.time.now)


async def server_settings(on: Stage, wanted: ServerSettings) -> None:
    await on.rig.services.quotas.change_server_settings(by_admin(on), lambda _: wanted, body={})


@on_stage()
async def test_models_are_offered_with_the_price_of_a_picture_and_what_is_left(on: Stage) -> None:
    found = await on.alice.autocomplete(on.channel, "imagine", "model", "")

    assert found[:2] == [
        {"name": f"Nano Banana 2 · about $0.08 per picture · {LEFT}", "value": "nano-banana-2"},
        {"name": "Nano Banana Pro · about $0.15 per picture · 6 pictures left today", "value": "nano-banana-pro"},
    ]
    assert [each["value"] for each in found] == list(on.rig.services.catalog.models_for(Verb.IMAGINE))


@on_stage()
async def test_a_model_that_its_provider_removed_is_not_offered(on: Stage) -> None:
    await on.rig.services.availability.mark_route_gone("runcomfy", "google/nano-banana/pro/text-to-image")
    edits = await on.alice.autocomplete(on.channel, "edit", "model", "")

    assert [each[:13] for each in await offered(on, "model")] == ["Nano Banana 2"]
    assert [each["value"] for each in edits] == ["nano-banana-2", "nano-banana-pro"]
    assert (await offered(on, "resolution", model="Nano Banana Pro"))[0].startswith("0.5K"), "as the one that is left"


@on_stage()
async def test_a_resolution_costs_what_the_chosen_model_takes_for_it(on: Stage) -> None:
    assert await offered(on, "resolution", model="nano-banana-pro") == [
        "1K · about $0.15 per picture · 6 pictures left today",
        "2K · about $0.15 per picture · 6 pictures left today",
        "4K · about $0.30 per picture · 3 pictures left today",
    ]
    assert (await offered(on, "resolution"))[0] == f"0.5K · about $0.06 per picture · {LEFT}"
    assert await offered(on, "model", "pro", resolution="4K") == [
        "Nano Banana Pro · about $0.30 per picture · 3 pictures left today"
    ]


@on_stage()
async def test_a_count_is_priced_as_a_whole_and_says_what_is_left_before_the_press(on: Stage) -> None:
    await on.imagine(count=2)

    assert await offered(on, "count", resolution="2K") == [
        "1 picture · about $0.12 · 7 pictures left today",
        "2 pictures · about $0.24 · 7 pictures left today",
        "3 pictures · about $0.36 · 7 pictures left today",
        "4 pictures · about $0.48 · 7 pictures left today",
    ]
    assert await offered(on, "count", model="nano-banana-pro") == ["1 picture · about $0.15 · 5 pictures left today"]


@on_stage(host="runflow", limits=Limits(*[None] * 11))
async def test_everything_filled_in_so_far_is_in_the_price(on: Stage) -> None:
    assert await offered(on, "resolution", "4K", thinking="high") == ["4K · about $0.162 per picture"]
    assert await offered(on, "count", "2", thinking="high", resolution="2K") == ["2 pictures · about $0.244"]
    assert await offered(on, "model", thinking="high", count=3) == [
        "Nano Banana 2 · about $0.082 per picture",
        "Nano Banana Pro · about $0.15 per picture",  # it has no option for thinking
    ]
    assert await offered(on, "resolution", "1K", thinking="minimal") == ["1K · about $0.08 per picture"]


@on_stage()
async def test_choices_are_filtered_by_what_is_typed(on: Stage) -> None:
    assert [each[:5] for each in await offered(on, "resolution", "2k")] == ["2K · "]
    assert [each[:9] for each in await offered(on, "count", "3")] == ["3 picture"]
    assert await offered(on, "model", "nothing like this") == []


@on_stage()
async def test_what_a_server_does_not_allow_is_not_offered(on: Stage) -> None:
    cap = ChannelCeiling(resolution="1K", count=2)
    await server_settings(
        on, ServerSettings(models=("nano-banana-2",), caps={on.channel.id: ChannelCeiling(resolution="2K")})
    )
    assert not [each for each in await offered(on, "model") if each.startswith("Nano Banana 2")]
    models = await on.alice.autocomplete(on.channel, "imagine", "resolution", "", model="nano-banana-pro")
    assert [each["value"] for each in models] == ["1K", "2K"]

    await server_settings(on, ServerSettings(caps={on.channel.id: cap}))
    assert [each[:4] for each in await offered(on, "resolution")] == ["0.5K", "1K ·"]
    assert len(await offered(on, "count")) == 2


@on_stage()
async def test_a_closed_channel_shows_prices_but_no_remaining_quota(on: Stage) -> None:
    await server_settings(on, ServerSettings(denied=(on.channel.id,)))

    assert (await offered(on, "count"))[0] == "1 picture · about $0.08"
    assert (await offered(on, "model"))[0] == "Nano Banana 2 · about $0.08 per picture"


@on_stage(guilds=())
async def test_a_closed_server_shows_prices_but_no_remaining_quota(on: Stage) -> None:
    assert (await offered(on, "count"))[0] == "1 picture · about $0.08"


@on_stage()
async def test_the_tightest_window_and_a_bonus_are_shown(on: Stage) -> None:
    await on.rig.services.quotas.set_rule(by_admin(on), Rule(Holder.USER, on.alice.id, Unit.IMAGES, Window.WEEK, 3))
    await on.rig.services.quotas.grant(by_admin(on), on.alice.id, Grant(0, Unit.IMAGES, 5))

    assert await offered(on, "count", "2") == [
        "2 pictures · about $0.16 · 3 pictures left this week · bonus: 5 pictures"
    ]
    assert await offered(on, "count", "2", by=on.bob) == [f"2 pictures · about $0.16 · {LEFT}"]


@on_stage(limits=Limits(*[None] * 11))
async def test_without_limits_only_the_price_is_shown(on: Stage) -> None:
    assert await offered(on, "count", "1") == ["1 picture · about $0.08"]


@on_stage()
async def test_invalid_values_in_other_options_are_ignored(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(await offered(on, "resolution", model="a model of last year")) == 4
        assert len(await offered(on, "count", resolution="9K")) == 4
        assert (await offered(on, "count", "1", model="nano-banana-pro", resolution="0.5K"))[0].startswith("1 picture")
        assert await offered(on, "count", "many") == []
        assert await offered(on, "count", "²") == []

    assert not caplog.records


@on_stage()
async def test_without_the_database_choices_have_prices_but_no_remaining_quota(on: Stage) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise OSError("disk")

    on.rig.store.quota_status = broken  # type: ignore[method-assign, assignment]

    assert await offered(on, "count", "1") == ["1 picture · about $0.08"]


@on_stage()
async def test_a_late_autocompletion_is_not_computed(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    on.client.responder._deadline = AckDeadline()
    on.client.responder._deadline._ages.append(0)
    on.rig.time.go(5)

    with caplog.at_level(logging.WARNING):
        assert await offered(on, "count") == []

    assert not caplog.records


@on_stage()
async def test_edit_is_priced_like_imagine_before_a_picture_is_attached(on: Stage) -> None:
    found = await on.alice.autocomplete(on.channel, "edit", "resolution", "4K", model="nano-banana-2")

    assert found == [{"name": "4K · about $0.16 per picture · 6 pictures left today", "value": "4K"}]


@on_stage()
async def test_a_typed_name_means_the_model_with_that_name(on: Stage) -> None:
    _, job = await on.imagine(model="nano banana PRO", resolution="2k")

    assert (job.request.model, job.request.options["resolution"]) == ("nano-banana-pro", "2K")


@on_stage()
async def test_an_edited_label_means_the_value_it_starts_with(on: Stage) -> None:
    model, resolution = (await offered(on, "model", "pro"))[0], (await offered(on, "resolution", "4K"))[0]

    assert await offered(on, "model", model) == [model]
    assert await offered(on, "resolution", resolution) == [resolution]
    assert len(await offered(on, "count", "2 pictures · about $0.16")) == 1
    _, job = await on.imagine(model=model, resolution=resolution)
    assert (job.request.model, job.request.options["resolution"]) == ("nano-banana-pro", "4K")


@on_stage()
async def test_a_form_tells_the_price_of_every_model(on: Stage) -> None:
    message = await on.bob.send(on.channel, "look", attachments=[PNG])

    form = await on.alice.context_menu(on.channel, "Edit this", message)

    (model,) = [each["component"] for each in form.modal["components"] if each["component"]["custom_id"] == "model"]
    told = {each["value"]: each["description"] for each in model["options"]}
    assert told["nano-banana-2"] == "about $0.08 per picture"
    assert told["nano-banana-pro"] == "about $0.15 per picture"


@on_stage(host="runflow")
async def test_a_form_prices_hidden_options_only_for_the_model_they_apply_to(on: Stage) -> None:
    asked = RequestedOptions(resolution="4K", thinking="high", format="a kind of yesterday")
    draft = RequestDraft(verb=Verb.EDIT, prompt="x", model="nano-banana-2", asked=asked)
    services = on.rig.services

    told = choices_for(draft, services, default_model=None, words=EN, **HERE).prices

    assert told == {"nano-banana-2": "about $0.162 per picture", "nano-banana-pro": "about $0.30 per picture"}
    another = choices_for(
        replace(draft, model="nano-banana-pro"), services, default_model=None, words=EN, **HERE
    ).prices
    assert another["nano-banana-2"] == "about $0.16 per picture"
    unnamed = choices_for(replace(draft, model=None), services, default_model="nano-banana-2", words=EN, **HERE).prices
    assert unnamed == told

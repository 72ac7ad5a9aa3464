"""The price on a button or in a form is what is charged, even if prices or providers have changed since."""

import tomllib
from typing import Any

import pytest

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import ProviderPaused
from bot.core.jobs import Job, Verb
from bot.core.request_draft import RequestDraft
from bot.core.server_settings import ServerSettings
from bot.settings.settings import SHIPPED
from bot.store.quotas import By
from bot.ui.commands.request_forms import apply_fields
from tests.ui.stage import Stage, buttons, field_value, on_stage, text, walk

TWO, PRO = "nano-banana-2", "nano-banana-pro"
COMFY, FLOW = "runcomfy", "runflow"
EMPTY = ProviderPaused("402", kind="balance")


def with_price(provider: str) -> Catalog:
    """The shipped catalogue, with a price of 20 cents for Nano Banana 2 at *provider*; RunComfy is preferred."""
    raw = tomllib.loads((SHIPPED.parent / "models.toml").read_text(encoding="utf-8"))
    for route in raw["models"][TWO]["imagine"]["routes"]:
        if route["provider"] == provider:
            route["price"] = {"per_image": "0.20"}
    return Catalog.model_validate(raw).for_providers((COMFY, FLOW))


async def done(on: Stage, **options: Any) -> tuple[Any, Job]:
    shown, job = await on.imagine(**options)
    await on.finish(job)
    return shown.response.message, job


async def again(on: Stage, message: Any, job: Job) -> Any:
    return await on.alice.click(message, custom_id=f"j1:{job.id}:again")


async def charged(on: Stage, job: Job) -> int:
    return (await on.record(job.id)).charge.reserved.micro_usd


def prices_in(form: Any) -> dict[str, str]:
    """The price of a picture by each model in a form."""
    (model,) = [each for each in walk(form.modal["components"]) if each.get("custom_id") == "model"]
    return {each["value"]: each["description"] for each in model["options"]}


@on_stage(host=COMFY, beside=FLOW, models=with_price(FLOW))
async def test_forms_and_help_show_the_price_of_the_current_provider(on: Stage) -> None:
    message, _ = await done(on)
    await on.rig.health.on_paused(COMFY, EMPTY, submitting=True)

    menu = await on.alice.click(message, label="More…")
    form = await on.alice.click(menu.response.message, label="Change prompt")
    helped = await on.alice.slash(on.channel, "help")

    assert prices_in(form)[TWO] == "$0.20 per picture"
    assert "$0.20" in text(helped)
    _, job = await on.imagine()
    assert await charged(on, job) == 200_000


@on_stage(host=COMFY, beside=FLOW, models=with_price(FLOW))
async def test_again_is_refused_once_if_it_costs_more_than_the_button_said(on: Stage) -> None:
    message, job = await done(on, count=2)
    await on.rig.health.on_paused(COMFY, EMPTY, submitting=True)
    before = await on.jobs()

    refused = await again(on, message, job)

    assert refused.ephemeral
    assert "The price went up from $0.16 to $0.40, so nothing was started." in text(refused)
    assert await on.jobs() == before
    (change,) = buttons(refused)
    form = await on.alice.click(refused.response.message, custom_id=change)
    assert prices_in(form)[TWO] == "$0.20 per picture"
    await on.alice.submit_modal(form, {"prompt": field_value(form, "prompt"), "model": [TWO], "count": ["2"]})
    assert await charged(on, await on.newest()) == 400_000


@on_stage(host=COMFY, beside=FLOW, models=with_price(COMFY))
async def test_again_is_accepted_at_once_if_it_costs_less_than_the_button_said(on: Stage) -> None:
    message, job = await done(on)
    assert await charged(on, job) == 200_000
    await on.rig.health.on_paused(COMFY, EMPTY, submitting=True)

    await again(on, message, job)

    assert await charged(on, await on.newest()) == 80_000


@on_stage(host=COMFY, beside=FLOW)
async def test_again_and_change_drop_options_that_no_provider_offers_any_more(on: Stage) -> None:
    message, job = await done(on, thinking="high", aspect_ratio="8:1", safety=3)
    assert job.provider == FLOW
    await on.rig.services.availability.mark_route_gone(FLOW, "google/nano-banana-2")

    await again(on, message, job)
    fresh = await on.newest()
    menu = await on.alice.click(message, label="More…")
    form = await on.alice.click(menu.response.message, label="Change prompt")
    assert prices_in(form)[TWO] == "about $0.08 per picture"
    assert field_value(form, "aspect_ratio") == "auto"
    await on.alice.submit_modal(form, {"prompt": "a windmill", "model": [TWO]})
    changed = await on.newest()

    for each in (fresh, changed):
        assert each.provider == COMFY
        assert (each.request.options["aspect_ratio"], each.request.options["safety"]) == ("auto", 3)
        assert await charged(on, each) == 80_000


@on_stage(host=FLOW)
async def test_a_refused_option_without_a_form_field_is_dropped(on: Stage) -> None:
    refused = await on.alice.slash(on.channel, "imagine", prompt="a lighthouse", model=PRO, thinking="high")
    assert "doesn't have the option `thinking`" in text(refused)

    form = await on.alice.click(refused.response.message, label="Change prompt")
    await on.alice.submit_modal(form, {"prompt": "a windmill", "model": [PRO]})

    job = await on.newest()
    assert (job.request.model, job.request.prompt) == (PRO, "a windmill")


@pytest.mark.parametrize(
    ("closed", "default_model", "chosen"),
    [((), TWO, {"seed": 5, "format": "jpeg", "thinking": "high"}), ((TWO,), PRO, {"format": "jpeg"})],
)
@on_stage(host=FLOW)
async def test_selecting_the_default_model_keeps_its_options(
    on: Stage, closed: tuple[str, ...], default_model: str, chosen: dict[str, Any]
) -> None:
    by = By(id="1", server=on.guild.id, actor=1, at=on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(by, lambda _: ServerSettings(models=closed), body={})
    refused = await on.alice.slash(on.channel, "imagine", prompt=" ", **chosen)

    form = await on.alice.click(refused.response.message, label="Change prompt")
    await on.alice.submit_modal(form, {"prompt": "a windmill", "model": [default_model]})

    job = await on.newest()
    assert job.request.model == default_model
    assert {name: job.request.options[name] for name in chosen} == chosen


def test_values_of_a_form_are_not_dropped_but_checked() -> None:
    draft = RequestDraft(
        verb=Verb.IMAGINE, prompt="x", model=TWO, asked=RequestedOptions(count=4, resolution="2K", safety=6)
    )
    models = with_price(FLOW)

    back = apply_fields(draft, {"prompt": "y", "resolution": "16K", "count": None}, models, default_model=TWO)

    assert back.asked == RequestedOptions(resolution="16K", safety=models.ceilings.max_safety)

"""The option `style` of `/imagine` and `/edit`: its choices, and jobs made with a style."""

from typing import Any

from bot.core.jobs import AppliedStyle, State
from bot.core.server_settings import ServerSettings
from bot.core.styles import Style
from bot.store.quotas import By
from tests.store.ledger_model import execute
from tests.ui.stage import PNG, Stage, field_value, on_stage, text

INK = Style(before="Ink:", after="black lines", options={"aspect_ratio": "16:9", "resolution": "2K"})


async def give(on: Stage, **styles: Style) -> None:
    """Set the server's styles."""
    wanted = ServerSettings(styles=styles)
    by = By(id=f"styles {sorted(styles)}", server=on.guild.id, actor=1, at=on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(by, lambda _: wanted, body={})


async def offered(on: Stage, option: str, typed: str = "", /, **filled: Any) -> list[str]:
    found = await on.alice.autocomplete(on.channel, "imagine", option, typed, **filled)
    return [each["name"] for each in found]


@on_stage()
async def test_each_choice_shows_what_the_style_adds_in_a_hundred_characters(on: Stage) -> None:
    await give(on, Ink=INK, Long=Style(after="x" * 500, model="nano-banana-pro"), Pro=Style(model="nano-banana-pro"))

    found = await on.alice.autocomplete(on.channel, "edit", "style", "")
    names = [each["name"] for each in found]

    assert names[0] == "Ink · Ink: … black lines · 16:9 · 2K"
    assert (len(names[1]), names[1][-2:]) == (100, "x…")
    assert names[2] == "Pro · Nano Banana Pro"
    assert found[5] == {"name": "Watercolor · soft washes and visible paper", "value": "Watercolor"}
    assert [each[:5] for each in await offered(on, "style", "draw")] == ["Line "]


@on_stage()
async def test_prices_of_other_options_are_those_with_the_style(on: Stage) -> None:
    await give(on, Ink=INK, Pro=Style(model="nano-banana-pro"))

    assert (await offered(on, "model", style="Ink"))[0].startswith("Nano Banana 2 · about $0.12")
    assert (await offered(on, "resolution", style="Pro"))[0].startswith("1K · about $0.15")
    assert (await offered(on, "model", style="no such"))[0].startswith("Nano Banana 2 · about $0.08")


@on_stage()
async def test_a_style_is_sent_around_the_prompt_and_named_on_the_card_while_the_prompt_stays_the_members(
    on: Stage,
) -> None:
    await give(on, Ink=INK)

    shown, job = await on.imagine("a fox", style="ink", resolution="1K")
    await on.rig.turn(1)

    assert on.rig.provider.bodies[0]["prompt"] == "Ink: a fox black lines"
    assert job.request.prompt == "a fox"
    assert (job.request.options["aspect_ratio"], job.request.options["resolution"]) == ("16:9", "1K")
    assert "style: Ink" in text(shown)
    assert "> a fox" in text(shown)
    assert "black lines" not in text(shown)


@on_stage()
async def test_again_and_variations_repeat_the_style_as_it_was(on: Stage) -> None:
    await give(on, Ink=INK)
    _, job = await on.imagine("a fox", style="Ink")
    await on.finish(job)
    await give(on, Other=Style(after="red"))
    message = await on.card(job)

    menu = await on.alice.click(message, label="More…")
    await on.alice.click(message, label="Again")
    again = await on.newest()
    await on.alice.click(message, label="Variations")
    variation = await on.newest()

    style = AppliedStyle("Ink", "Ink:", "black lines")
    assert [each.request.style for each in (job, again, variation)] == [style] * 3
    assert [each.request.prompt for each in (again, variation)] == ["a fox"] * 2
    assert again.request.options["aspect_ratio"] == "16:9"
    assert "style: Ink" in text(menu)


@on_stage()
async def test_a_job_of_an_older_version_has_no_style(on: Stage) -> None:
    _, job = await on.imagine("a fox", style="Photo")
    await execute(
        on.rig.store, """UPDATE jobs SET request = '{"prompt": "a fox", "options": {"count": 1}, "references": []}'"""
    )

    found = await on.rig.job(job.id)

    assert (found.request.prompt, found.request.style, found.state) == ("a fox", None, State.ACCEPTED)


@on_stage()
async def test_an_unknown_style_is_refused_with_those_that_exist_and_the_form_continues_without(on: Stage) -> None:
    await give(on, Ink=INK)

    refused = await on.alice.slash(on.channel, "edit", prompt="at night", image=PNG, style="Oil")
    form = await on.alice.click(refused.response.message, label="Change prompt")
    await on.alice.submit_modal(form, {"prompt": "at dawn"})
    job = await on.newest()

    assert "There's no style called Oil here. Choose Ink, Photo, Anime," in text(refused)
    assert (job.request.prompt, job.request.style) == ("at dawn", None)


@on_stage()
async def test_a_form_shows_what_the_style_sets_and_keeps_it(on: Stage) -> None:
    await give(on, Ink=INK.model_copy(update={"after": "x" * 500, "model": "nano-banana-pro"}))

    refused = await on.alice.slash(on.channel, "imagine", prompt="p" * 3600, style="Ink")
    form = await on.alice.click(refused.response.message, label="Change prompt")
    shown = {each: field_value(form, each) for each in ("prompt", "model", "aspect_ratio", "resolution")}
    values = {each: [shown[each]] for each in ("model", "aspect_ratio", "resolution")}
    await on.alice.submit_modal(form, {"prompt": "a fox", **values})
    job = await on.newest()

    assert "The style Ink adds 506, which leaves you 3494." in text(refused)
    assert shown == {
        "prompt": "p" * 3600, "model": "nano-banana-pro", "aspect_ratio": "16:9", "resolution": "2K"
    }  # fmt: skip
    assert (job.request.model, job.request.prompt) == ("nano-banana-pro", "a fox")
    assert job.request.style == AppliedStyle("Ink", "Ink:", "x" * 500)

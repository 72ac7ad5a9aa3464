"""*Edit this* in the menu of a message, and requests for models that have been removed."""

from bot.ui.interactions.timeouts import AckDeadline
from tests.ui.stage import PNG, Stage, gallery, on_stage, text

# --- the message menu


@on_stage()
async def test_the_menu_takes_the_pictures_of_somebody_elses_message(on: Stage) -> None:
    message = await on.bob.send(on.channel, "look", attachments=[PNG, ("notes.txt", b"no"), ("b.jpg", PNG[1])])

    form = await on.alice.context_menu(on.channel, "Edit this", message)
    shown = await on.alice.submit_modal(form, {"prompt": "in winter", "resolution": ["2K"]})

    job = await on.newest()
    assert "in winter" in text(shown)
    assert [each.filename for each in job.request.references] == ["in.png", "b.jpg"]
    assert job.request.options["resolution"] == "2K"
    assert job.place.user_id == on.alice.id


@on_stage()
async def test_a_file_that_cannot_be_checked_in_time_counts_as_a_picture(on: Stage) -> None:
    message = await on.bob.send(on.channel, attachments=[("in.gif", PNG[1])])
    on.reference_errors.append(TimeoutError())

    form = await on.alice.context_menu(on.channel, "Edit this", message)
    await on.alice.submit_modal(form, {"prompt": "in winter"})

    assert [each.filename for each in (await on.newest()).request.references] == ["in.gif"]


@on_stage()
async def test_the_menu_reads_our_own_galleries(on: Stage) -> None:
    _, job = await on.imagine()
    await on.finish(job)
    card = await on.card(job)

    form = await on.bob.context_menu(on.channel, "Edit this", card.message)
    await on.bob.submit_modal(form, {"prompt": "in winter"})

    edited = await on.newest()
    assert [each.url for each in edited.request.references] == gallery(card)


@on_stage()
async def test_a_message_without_pictures_opens_no_form(on: Stage) -> None:
    message = await on.bob.send(on.channel, "just words")

    refused = await on.alice.context_menu(on.channel, "Edit this", message)

    assert refused.modal is None
    assert refused.ephemeral


@on_stage()
async def test_a_form_that_is_too_old_says_so(on: Stage) -> None:
    message = await on.bob.send(on.channel, attachments=[PNG])
    form = await on.alice.context_menu(on.channel, "Edit this", message)

    on.rig.time.go(16 * 60)
    on.client.responder._deadline = AckDeadline()
    on.client.responder._deadline._ages.append(16 * 60_000)
    refused = await on.alice.submit_modal(form, {"prompt": "in winter"})

    assert refused.ephemeral
    assert await on.jobs() == 0


# --- removed models


async def _none_left(on: Stage) -> None:
    for route in on.rig.services.catalog.routes_at("runcomfy"):
        await on.rig.services.availability.mark_route_gone("runcomfy", route)


@on_stage()
async def test_a_removed_model_is_refused_by_id_and_name_and_absent_from_form_and_help(on: Stage) -> None:
    shown, _ = await on.imagine(model="Nano Banana Pro")
    await on.rig.services.availability.mark_route_gone("runcomfy", "google/nano-banana/pro/text-to-image")
    await on.rig.services.availability.mark_route_gone("runcomfy", "google/nano-banana/pro/edit")

    for model in ("nano-banana-pro", "Nano Banana Pro"):
        refused = await on.alice.slash(on.channel, "imagine", prompt="a boat", model=model)
        assert "This model is unavailable right now" in text(refused)
    form = await on.alice.click(refused.response.message, label="Change prompt")
    help_ = await on.alice.slash(on.channel, "help")

    await on.alice.submit_modal(form, {"prompt": "a boat", "model": []})
    assert (await on.newest()).request.model == "nano-banana-2", "the form starts without the one that is gone"
    assert "Nano Banana Pro" not in text(help_)
    assert "Nano Banana Pro" in text(shown)


@on_stage()
async def test_without_any_model_every_request_is_refused(on: Stage) -> None:
    message = await on.bob.send(on.channel, "look", attachments=[PNG])
    await _none_left(on)

    for refused in (
        await on.alice.slash(on.channel, "imagine", prompt="a boat"),
        await on.alice.slash(on.channel, "edit", prompt="at night", image=PNG),
        await on.alice.context_menu(on.channel, "Edit this", message),
    ):
        assert "This model is unavailable right now" in text(refused)
    assert await on.alice.autocomplete(on.channel, "imagine", "model", "") == []
    assert "/imagine" in text(await on.alice.slash(on.channel, "help"))
    assert await on.jobs() == 0

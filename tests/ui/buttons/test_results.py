"""Buttons under a result: variations, larger sizes, files, favorites, spoilers and deletion, by whom they concern."""

from typing import Any

from bot.core.jobs import Verb
from tests.ui.stage import Stage, buttons, gallery, on_stage, text, walk


async def done(on: Stage, *, pictures: int = 1, **options: Any) -> tuple[Any, str]:
    """A finished result's message and its job id."""
    if pictures > 1:
        options["count"] = pictures
    _, job = await on.imagine("a red fox", **options)
    await on.finish(job, pictures=pictures)
    return await on.card(job), job.id


def spoilers(shown: Any) -> list[bool]:
    return [item.get("spoiler", False) for each in walk(shown.components) for item in each.get("items") or []]


# --- variations


@on_stage()
async def test_variations_of_one_picture_are_an_edit_of_it_with_the_same_words(on: Stage) -> None:
    shown, job_id = await done(on, resolution="2K")

    await on.bob.click(shown, label="Variations")

    made, first = await on.newest(), await on.rig.job(job_id)
    assert (made.request.verb, made.request.prompt, made.place.user_id) == (Verb.EDIT, "a red fox", on.bob.id)
    assert (made.parent_id, made.parent_picture) == (job_id, 1)
    assert made.request.options["resolution"] == "2K"
    assert made.request.options.get("seed") != first.request.options["seed"]
    assert [each.url for each in made.request.references] == gallery(shown)


@on_stage()
async def test_of_several_pictures_the_member_is_asked_which_one(on: Stage) -> None:
    shown, job_id = await done(on, pictures=3)

    asked = await on.alice.click(shown, label="Variations")
    await on.alice.click(asked.response.message, label="Picture 2")

    made = await on.newest()
    assert asked.ephemeral
    assert list(buttons(asked).values()) == ["Picture 1", "Picture 2", "Picture 3"]
    assert (made.parent_id, made.parent_picture) == (job_id, 2)
    assert [each.url for each in made.request.references] == [gallery(shown)[1]]


@on_stage()
async def test_a_new_picture_links_to_the_one_it_was_made_from_and_shows_it(on: Stage) -> None:
    shown, _ = await done(on)

    await on.bob.click(shown, label="Variations")
    made = await on.newest()

    card = await on.card(made)
    assert f"https://discord.com/channels/{on.guild.id}/{on.channel.id}/{shown.id}" in text(card)
    thumbnails = [each["media"]["url"] for each in walk(card.components) if each["type"] == 11]
    assert thumbnails == [made.request.references[0].url]


@on_stage()
async def test_variations_of_a_private_result_are_private_and_name_no_message(on: Stage) -> None:
    shown, _ = await done(on, private=True)

    await on.alice.click(shown, label="Variations")

    made = await on.newest()
    assert (await on.record(made.id)).reply.ephemeral
    assert made.source is None


# --- upscale


@on_stage()
async def test_upscale_offers_the_larger_sizes_with_their_prices_and_keeps_words_and_seed(on: Stage) -> None:
    shown, job_id = await done(on, resolution="2K")

    asked = await on.alice.click(shown, label="Upscale")
    (label,) = buttons(asked).values()
    await on.alice.click(asked.response.message, label=label)

    made, first = await on.newest(), await on.rig.job(job_id)
    assert asked.ephemeral
    assert label.startswith("4K · about $")
    assert made.request.options == {**first.request.options, "resolution": "4K"}
    assert (made.request.verb, made.request.prompt) == (Verb.IMAGINE, "a red fox")


@on_stage()
async def test_one_of_several_pictures_is_made_larger_by_an_edit(on: Stage) -> None:
    shown, job_id = await done(on, pictures=2, resolution="1K")

    asked = await on.alice.click(shown, label="Upscale")
    label = next(each for each in buttons(asked).values() if each.startswith("Picture 2 in 4K"))
    await on.alice.click(asked.response.message, label=label)

    made = await on.newest()
    assert (made.request.verb, made.request.count, made.request.options["resolution"]) == (Verb.EDIT, 1, "4K")
    assert (made.parent_id, made.parent_picture) == (job_id, 2)


@on_stage()
async def test_the_largest_size_has_no_button_to_make_it_larger(on: Stage) -> None:
    shown, _ = await done(on, resolution="4K")

    assert "Upscale" not in buttons(shown).values()


# --- files


@on_stage()
async def test_the_original_files_are_sent_privately_to_anybody_who_sees_the_result(on: Stage) -> None:
    shown, job_id = await done(on, pictures=2)

    menu = await on.bob.click(shown, label="More…")
    sent = await on.bob.click(menu.response.message, label="Original files")

    assert sent.ephemeral
    files = [each["file"]["url"] for each in walk(sent.response.components) if each["type"] == 13]
    assert [each.rpartition("/")[2].partition("?")[0] for each in files] == [f"{job_id}-1.png", f"{job_id}-2.png"]


# --- favorites and spoilers


@on_stage()
async def test_a_result_becomes_a_favorite_and_stops_being_one(on: Stage) -> None:
    shown, job_id = await done(on)
    menu = await on.bob.click(shown, label="More…")

    await on.bob.click(menu.response.message, label="Favorite")
    assert await on.rig.services.favorites.has(on.bob.id, job_id)
    assert not await on.rig.services.favorites.has(on.alice.id, job_id)

    await on.bob.click(menu.response.message, label="Remove favorite")
    assert not await on.rig.services.favorites.has(on.bob.id, job_id)


@on_stage()
async def test_a_spoiler_covers_the_pictures_until_it_is_removed(on: Stage) -> None:
    shown, job_id = await done(on)
    menu = await on.alice.click(shown, label="More…")

    await on.alice.click(menu.response.message, label="Mark as spoiler")
    await on.rig.delivery.run_due()
    assert spoilers(await on.card(await on.rig.job(job_id))) == [True]

    await on.alice.click(menu.response.message, label="Remove spoiler")
    await on.rig.delivery.run_due()
    assert spoilers(await on.card(await on.rig.job(job_id))) == [False]


# --- deletion


@on_stage()
async def test_one_picture_of_several_is_deleted_and_the_others_stay(on: Stage) -> None:
    shown, job_id = await done(on, pictures=3)
    menu = await on.alice.click(shown, label="More…")
    asked = await on.alice.click(menu.response.message, label="Delete")
    assert asked.modal is None

    await on.alice.click(menu.response.message, label="Delete picture 2")
    await on.rig.delivery.run_due()

    card = await on.card(await on.rig.job(job_id))
    names = [each.rpartition("/")[2].partition("?")[0] for each in gallery(card)]
    assert names == [f"{job_id}-1.png", f"{job_id}-3.png"]
    assert on.removed == [f"{job_id}-2.png"]
    assert (await on.rig.job(job_id)).request.prompt == "a red fox"


@on_stage()
async def test_deleting_the_last_picture_deletes_the_result(on: Stage) -> None:
    _, job_id = await done(on, pictures=2)

    for n in (1, 2):
        await on.rig.services.jobs.delete_picture(job_id, n, user_id=on.alice.id)

    job = await on.rig.job(job_id)
    assert (job.deleted_at, job.request.prompt) == (on.rig.time.now, "")


# --- jobs that ended without pictures


@on_stage()
async def test_a_failed_public_card_is_one_line_and_its_member_alone_reads_why(on: Stage) -> None:
    shown, job = await on.imagine("my secret fox")
    await on.fail(job)

    card = await on.card(job)
    free = "-# **This doesn't count toward any limits.**"
    assert text(card) == f"⚠️ Failed · by <@{on.alice.id}>\n{free}"
    assert list(buttons(card).values()) == ["Try again", "More…"]
    sent = [each.json for each in on.env.http_requests if each.method == "POST" and isinstance(each.json, dict)]
    told = [each for each in sent if "my secret fox" in str(each) and each.get("flags", 0) & 64]
    assert "failed while generating" in str(told[-1])

    mine = await on.alice.click(shown.response.message, label="More…")
    theirs = await on.bob.click(shown.response.message, label="More…")
    assert "my secret fox" in text(mine)
    assert "failed while generating" in text(mine)
    assert "secret" not in text(theirs)
    assert "failed while generating" not in text(theirs)
    assert buttons(theirs) == {}


@on_stage()
async def test_a_failed_private_card_says_everything_itself(on: Stage) -> None:
    shown, job = await on.imagine("my secret fox", private=True)
    before = len(on.env.http_requests)
    await on.fail(job)

    assert "my secret fox" in text(await on.card(job))
    assert not [each for each in on.env.http_requests[before:] if each.method == "POST"]
    assert shown.ephemeral

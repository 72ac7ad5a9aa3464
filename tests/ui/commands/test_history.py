"""A member's earlier results: pages, search, favorites, one result with its tree, and edits of it by name."""

from typing import Any

import pytest

from bot.core.jobs import Job, Verb
from bot.store.results import Filter
from bot.ui.cards.history import history_button, history_filter
from tests.store.ledger_model import FREE
from tests.ui.stage import Stage, buttons, gallery, on_stage, text, walk


async def made(on: Stage, prompt: str = "a red fox", *, by: Any = None, pictures: int = 1, **options: Any) -> Job:
    if pictures > 1:
        options["count"] = pictures
    await on.go(1)
    _, job = await on.imagine(prompt, by=by, **options)
    await on.finish(job, pictures=pictures)
    return job


async def edited(on: Stage, job: Job, prompt: str, *, by: Any = None) -> Job:
    """A finished edit of a job's first picture."""
    await on.go(1)
    form = await (by or on.alice).click(await on.card(job), label="Edit")
    await (by or on.alice).submit_modal(form, {"prompt": prompt})
    edit = await on.newest()
    await on.finish(edit)
    return edit


def opens(shown: Any) -> list[str]:
    """The jobs that a page can open."""
    return [each.split(":")[1] for each in buttons(shown) if each.startswith("s1:") and each.endswith(":open")]


# --- pages


@on_stage()
async def test_the_history_shows_ones_own_results_newest_first_with_pictures_and_links(on: Stage) -> None:
    first, second = await made(on), await made(on, "a blue fox")
    await made(on, "somebody else's", by=on.bob)

    page = await on.alice.slash(on.channel, "history")

    assert page.ephemeral
    assert opens(page) == [second.id, first.id]
    assert "a blue fox" in text(page)
    assert "somebody" not in text(page)
    message_id = (await on.record(first.id)).reply.message_id
    assert f"https://discord.com/channels/{on.guild.id}/{on.channel.id}/{message_id}" in text(page)
    assert [f"{second.id}-1.png" in gallery(page)[0], f"{first.id}-1.png" in gallery(page)[1]] == [True, True]


@on_stage()
async def test_a_search_finds_words_in_any_case_and_language(on: Stage) -> None:
    fox = await made(on, "Ein ÜBERMÜTIGER Fuchs im Schnee")
    await made(on, "a boat")

    found = await on.alice.slash(on.channel, "history", words="fuchs übermütiger")
    nothing = await on.alice.slash(on.channel, "history", words="whale")

    assert opens(found) == [fox.id]
    assert "Nothing matches." in text(nothing)


@on_stage(limits=FREE)
async def test_older_pages_go_on_where_the_last_one_ended(on: Stage) -> None:
    jobs = [await made(on, f"fox {n}") for n in range(12)]

    page = await on.alice.slash(on.channel, "history", words="fox")
    assert opens(page) == [each.id for each in reversed(jobs[2:])]
    await on.alice.click(page.response.message, label="Older")
    assert opens(page) == [jobs[1].id, jobs[0].id]
    assert "Older" not in buttons(page).values()
    await on.alice.click(page.response.message, label="Newest")
    assert opens(page)[0] == jobs[-1].id


@on_stage()
async def test_favorites_may_be_anybodys_results(on: Stage) -> None:
    theirs = await made(on, "the best fox", by=on.bob)
    await made(on)
    menu = await on.alice.click(await on.card(theirs), label="More…")
    await on.alice.click(menu.response.message, label="Favorite")

    page = await on.alice.slash(on.channel, "favorites")

    assert opens(page) == [theirs.id]
    assert "No favorites yet" in text(await on.bob.slash(on.channel, "favorites"))


@on_stage()
async def test_a_deleted_result_is_in_no_list(on: Stage) -> None:
    job = await made(on)
    menu = await on.alice.click(await on.card(job), label="More…")
    await on.alice.click(menu.response.message, label="Favorite")
    await on.delete(on.alice, await on.card(job))

    for command in ("history", "favorites"):
        assert opens(await on.alice.slash(on.channel, command)) == []


@pytest.mark.parametrize("words", ["", "a fox", "4:3 fox: red", ":"])
def test_a_pages_buttons_hold_its_filter(words: str) -> None:
    wanted = Filter(words=words, model="nano-banana-2", favorites=True)

    assert history_filter(history_button(wanted, "01ARZ3NDEKTSV4RRFFQ69G5FAV").split(":")) == (
        wanted,
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    )
    assert len(history_button(Filter(words="w" * 40, model="m" * 20), "Z" * 26)) <= 100


# --- one result


@on_stage()
async def test_a_result_is_shown_with_what_it_was_made_from_and_what_was_made_from_it(on: Stage) -> None:
    root = await made(on, "a red fox")
    middle = await edited(on, root, "with a hat")
    leaf = await edited(on, middle, "at night")

    page = await on.alice.slash(on.channel, "show", result=middle.id)
    said = text(page)
    assert said.index("↳ a red fox") < said.index("↳ **this result**") < said.index("↳ at night")
    assert "The whole chain cost $0." in said
    assert f"{middle.id}-1.png" in gallery(page)[0]

    await on.alice.click(page.response.message, label="◀ Made from")
    assert f"{root.id}-1.png" in gallery(page)[0]
    await on.alice.select(page.response.message, [middle.id])
    await on.alice.select(page.response.message, [leaf.id])
    assert f"{leaf.id}-1.png" in gallery(page)[0]


@on_stage()
async def test_the_buttons_of_a_shown_result_work_as_on_its_card(on: Stage) -> None:
    job = await made(on)
    page = await on.alice.slash(on.channel, "show", result=job.id)

    form = await on.alice.click(page.response.message, label="Edit")
    await on.alice.submit_modal(form, {"prompt": "with a hat"})

    edit = await on.newest()
    assert (edit.parent_id, edit.parent_picture) == (job.id, 1)


@on_stage()
async def test_a_result_is_named_by_id_file_reference_or_link(on: Stage) -> None:
    job = await made(on)
    reply = (await on.record(job.id)).reply
    link = f"https://discord.com/channels/{reply.guild_id}/{reply.channel_id}/{reply.message_id}"

    for name in (job.id, f"{job.id.lower()}-1", job.id[-8:], link, f" <{link}> "):
        assert f"{job.id}-1.png" in gallery(await on.alice.slash(on.channel, "show", result=name))[0], name
    for wrong in ("nonsense", "%", "0" * 26, link.replace(str(reply.message_id), "1")):
        assert "isn't yours" in text(await on.alice.slash(on.channel, "show", result=wrong)), wrong


@on_stage()
async def test_a_private_result_is_shown_to_its_member_from_the_file_and_to_nobody_else(on: Stage) -> None:
    job = await made(on, private=True)

    mine = await on.alice.slash(on.channel, "show", result=job.id)
    theirs = await on.bob.slash(on.channel, "show", result=job.id)

    assert len(gallery(mine)) == 1
    assert "isn't yours" in text(theirs)


@on_stage()
async def test_others_see_a_public_result_in_its_own_channel_only(on: Stage) -> None:
    job, elsewhere = await made(on), on.guild.create_text_channel("elsewhere")

    here = await on.bob.slash(on.channel, "show", result=job.id)
    there = await on.bob.slash(elsewhere, "show", result=job.id)

    assert len(gallery(here)) == 1
    assert "cost" not in text(here).lower()
    assert "isn't yours" in text(there)


# --- edits by name


@on_stage()
async def test_an_earlier_result_is_edited_by_its_name(on: Stage) -> None:
    job = await made(on, pictures=2)

    await on.alice.slash(on.channel, "edit", prompt="with a hat", result=f"{job.id}-2")

    edit = await on.newest()
    assert edit.request.verb is Verb.EDIT
    assert [each.filename for each in edit.request.references] == [f"{job.id}-2.png"]
    assert (edit.parent_id, edit.parent_picture) == (job.id, 2)
    assert edit.source is not None


@on_stage()
async def test_the_option_completes_with_ones_own_results(on: Stage) -> None:
    job = await made(on, "a red fox")
    await made(on, "a boat", by=on.bob)

    found = await on.alice.autocomplete(on.channel, "edit", "result", "fox")

    assert [(each["name"], each["value"]) for each in found] == [("a red fox", job.id)]


@on_stage()
async def test_a_result_whose_message_is_gone_cannot_be_edited_by_name(on: Stage) -> None:
    job = await made(on, private=True)

    refused = await on.alice.slash(on.channel, "edit", prompt="x", result=job.id)

    assert "can't be read anymore" in text(refused)
    assert [each for each in walk(refused.response.components) if each.get("type") == 12] == []

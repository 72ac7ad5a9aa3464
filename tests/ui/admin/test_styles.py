"""`/style`: the list for everybody, and a server's own styles, which admins add, change and remove."""

from typing import Any

from bot.core.server_settings import ServerSettings
from bot.core.styles import MAX_STYLES, Style
from bot.store.quotas import By
from tests.ui.admin.quotas import admin
from tests.ui.admin.test_settings import server_settings, settings_history
from tests.ui.stage import Stage, field_value, on_stage, text

TEXTS = ("name", "before", "after")
FIELDS = (*TEXTS, "model", "aspect_ratio")


async def give(on: Stage, **styles: Style) -> None:
    """Set the server's styles."""
    wanted = ServerSettings(styles=styles)
    by = By(id=f"styles {len(styles)}", server=on.guild.id, actor=1, at=on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(by, lambda _: wanted, body={"setting": "other"})


async def add(on: Stage, who: Any, **fields: Any) -> Any:
    """Add a style with the form of `/style add`."""
    form = await who.slash(on.channel, "style add")
    return await who.submit_modal(form, fields)


async def submit(who: Any, form: Any, **changes: Any) -> Any:
    """Submit an open form with its initial values and *changes*, as a client does."""
    shown = {each: field_value(form, each) for each in FIELDS}
    fields = {
        each: value if each in TEXTS else [value] for each, value in shown.items() if value is not None
    }  # fmt: skip
    return await who.submit_modal(form, {**fields, **changes})


async def styles(on: Stage) -> dict[str, Style]:
    return dict((await server_settings(on)).styles)


@on_stage()
async def test_a_style_is_added_changed_and_removed_with_its_history(on: Stage) -> None:
    carol = admin(on)

    added = await add(
        on, carol, name="House", before="Brick:", after=", red", model=["nano-banana-pro"], aspect_ratio=["3:2"]
    )
    first = await styles(on)
    form = await carol.slash(on.channel, "style edit", style="house")
    shown = {each: field_value(form, each) for each in FIELDS}
    changed = await submit(carol, form, name="Home", before="", aspect_ratio=[])
    second = await styles(on)
    removed = await carol.slash(on.channel, "style remove", style="Home")
    history = await carol.slash(on.channel, "quota history")

    whole = Style(before="Brick:", after=", red", model="nano-banana-pro", options={"aspect_ratio": "3:2"})
    assert all(each.ephemeral for each in (added, changed, removed))
    assert "Style House added" in text(added)
    assert "> Brick: … , red\n> 3:2\n> Nano Banana Pro" in text(added)
    assert first == {"House": whole}
    assert shown == {
        "name": "House", "before": "Brick:", "after": ", red", "model": "nano-banana-pro", "aspect_ratio": "3:2"
    }  # fmt: skip
    assert second == {"Home": Style(after=", red", model="nano-banana-pro")}
    assert await styles(on) == {}
    assert await settings_history(on) == [
        {"setting": f"styles.{done}", "style": name}
        for done, name in (("remove", "Home"), ("edit", "Home"), ("add", "House"))
    ]
    assert f"<@{carol.id}> removed the style Home." in text(history)


@on_stage()
async def test_everybody_sees_the_styles_and_what_they_add(on: Stage) -> None:
    await give(on, House=Style(after=", *red*", options={"resolution": "2K"}))

    shown = await on.alice.slash(on.channel, "style list")

    assert shown.ephemeral
    assert "- **House** · … , \\*red\\* · 2K\n- **Photo** · natural light" in text(shown)


@on_stage()
async def test_a_full_list_fits_into_a_message_and_takes_no_more(on: Stage) -> None:
    longest = {f"{'*' * 29}{n}": Style(before="*" * 500, after="x" * 500) for n in range(100, 100 + MAX_STYLES)}
    await give(on, **longest)
    carol = admin(on)

    shown = await on.alice.slash(on.channel, "style list")
    refused = await add(on, carol, name="One more", after="x")
    form = await carol.slash(on.channel, "style edit", style=next(iter(longest)))
    changed = await submit(carol, form, after="y")

    assert text(shown).count("- **") == MAX_STYLES + 5
    assert len(text(shown)) <= 4000
    assert "already has 50 styles" in text(refused)
    assert "changed" in text(changed)
    assert len(await styles(on)) == MAX_STYLES


@on_stage()
async def test_what_the_form_does_not_show_stays_when_a_style_is_changed(on: Stage) -> None:
    await give(on, House=Style(after="a", options={"resolution": "2K", "aspect_ratio": "1:1"}))
    carol = admin(on)

    form = await carol.slash(on.channel, "style edit", style="House")
    await submit(carol, form, aspect_ratio=["16:9"])

    assert (await styles(on))["House"].options == {"resolution": "2K", "aspect_ratio": "16:9"}


@on_stage()
async def test_changing_a_style_of_the_bot_makes_an_own_one_that_overrides_it(on: Stage) -> None:
    carol = admin(on)

    form = await carol.slash(on.channel, "style edit", style="Photo")
    await submit(carol, form, after="in black and white")
    _, job = await on.imagine("a fox", style="photo")
    not_own = await carol.slash(on.channel, "style remove", style="Anime")

    assert job.request.sent_prompt == "a fox in black and white"
    assert "There's no style called Anime to change here" in text(not_own)


@on_stage()
async def test_a_style_without_a_name_without_content_or_with_a_taken_name_is_refused(on: Stage) -> None:
    await give(on, House=Style(after="a"))
    carol = admin(on)

    answers = [
        text(await add(on, carol, name="\u200b", after="x")),
        text(await add(on, carol, name="Other", after=" ")),
        text(await add(on, carol, name="HOUSE", after="x")),
    ]

    assert ["needs a name" in answers[0], "is empty" in answers[1], "already has a style" in answers[2]] == [True] * 3
    assert await styles(on) == {"House": Style(after="a")}

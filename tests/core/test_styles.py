"""Styles: which exist in a server, what they add to a request, and what of it is possible."""

import tomllib
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import AppliedStyle, ImageRequest, Reference, Verb
from bot.core.request_draft import RequestDraft
from bot.core.routes import wire_inputs
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.style_choice import apply_style, style_name, styles_here
from bot.core.styles import Style
from bot.settings.settings import SHIPPED

TWO, PRO = "nano-banana-2", "nano-banana-pro"
CHANNEL = 10
LITE = """
[models.lite]
name = "Lite"
price = { per_image = "0.03" }
[models.lite.options]
format = { choices = ["png", "gif"], default = "png" }
[models.lite.edit]
references = 1
routes = [{ provider = "runcomfy", id = "lite", fields = { prompt = "text", references = "images", format = "f" } }]
"""


@cache
def catalog() -> Catalog:
    return Catalog.model_validate(tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8") + LITE))


def styled(
    style: Style, draft: RequestDraft | None = None, *, settings: ServerSettings | None = None, **asked: Any
) -> RequestDraft:
    """A request in a server with the style *Ink*."""
    draft = draft or RequestDraft(verb=Verb.IMAGINE, prompt="a fox", asked=RequestedOptions(**asked))
    settings = (settings or ServerSettings()).model_copy(update={"styles": {"Ink": style}})
    return apply_style(replace(draft, style="ink"), catalog(), settings, channels=(CHANNEL,))


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [
        ("", "", "a fox"),
        ("Pixel art:", "", "Pixel art: a fox"),
        ("", ", in ink", "a fox, in ink"),
        ("", "in ink", "a fox in ink"),
        ("Draw", "(in ink)", "Draw a fox (in ink)"),
    ],
)
def test_the_provider_gets_the_words_around_the_prompt(before: str, after: str, sent: str) -> None:
    style = AppliedStyle("Ink", before, after)
    request = ImageRequest(TWO, Verb.IMAGINE, "a fox", {}, style=style)
    route = catalog().endpoint(TWO, Verb.IMAGINE).routes[0]

    assert wire_inputs(route, request)["prompt"] == sent
    assert len(style.around("")) == len(sent) - len("a fox")


def test_a_servers_style_overrides_the_configured_one_of_the_same_name() -> None:
    settings = ServerSettings(styles={"ANIME": Style(after="ours"), "House": Style(after="brick")})
    styles = styles_here(catalog(), settings)

    assert list(styles) == ["ANIME", "House", "Photo", "Watercolor", "Pixel art", "Line drawing"]
    assert style_name("Anime", styles) == "ANIME"
    assert styles["ANIME"].after == "ours"
    assert style_name("Watercolor · soft washes and visible paper", styles) == "Watercolor", "a label that was edited"
    assert style_name("brick", styles) is None


def test_an_unknown_style_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UserError) as caught:
        apply_style(
            RequestDraft(verb=Verb.IMAGINE, prompt="a fox", style="Oil"), catalog(), ServerSettings(), channels=()
        )
    assert caught.value.key == "style.unknown"
    assert caught.value.values["choices"] == ["Photo", "Anime", "Watercolor", "Pixel art", "Line drawing"]


def test_what_the_member_chose_wins_over_the_style() -> None:
    style = Style(options={"aspect_ratio": "16:9", "resolution": "2K"}, model=PRO)
    draft = RequestDraft(
        verb=Verb.IMAGINE, prompt="a fox", model=TWO, asked=RequestedOptions(aspect_ratio="1:1", count=2)
    )
    found = styled(style, draft)

    assert found.model == TWO
    assert found.asked == RequestedOptions(aspect_ratio="1:1", count=2, resolution="2K")
    assert found.prompt == "a fox"


@pytest.mark.parametrize(
    ("options", "settings", "applied"),
    [
        ({"resolution": "4K", "count": 4}, {"caps": {CHANNEL: ChannelCeiling(resolution="1K", count=2)}},
         {"resolution": "1K", "count": 2}),
        ({"resolution": "0.5K", "count": 1}, {"caps": {CHANNEL: ChannelCeiling(resolution="1K", count=2)}},
         {"resolution": "0.5K", "count": 1}),
        ({"safety": 6, "web_search": True}, {}, {"safety": 4}),  # the operator's ceilings
        ({"format": "gif", "thinking": "loud", "colour": "red", "count": "4"}, {}, {}),  # no value of this model
        ({"aspect_ratio": "8:1"}, {"models": (TWO,)}, {}),  # of another model than the one that is used
    ],
)  # fmt: skip
def test_a_value_that_is_not_possible_is_lowered_or_left_out(
    options: dict[str, Any], settings: dict[str, Any], applied: dict[str, Any]
) -> None:
    found = styled(Style(options=options), settings=ServerSettings(**settings))
    assert found.asked == RequestedOptions(**applied)


def test_a_value_that_no_provider_combines_with_the_members_choice_is_left_out() -> None:
    raw = tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8"))
    raw["models"][TWO]["imagine"]["routes"][1]["lacks"] = {"format": ["webp"]}
    settings = ServerSettings(styles={"Ink": Style(options={"thinking": "high", "resolution": "2K"})})
    draft = RequestDraft(verb=Verb.IMAGINE, prompt="a fox", asked=RequestedOptions(format="webp"), style="Ink")
    found = apply_style(draft, Catalog.model_validate(raw), settings, channels=())

    assert found.asked == RequestedOptions(format="webp", resolution="2K")


@pytest.mark.parametrize(
    ("model", "settings", "asked", "pictures", "used"),
    [
        (PRO, ServerSettings(), {}, 1, PRO),
        (PRO, ServerSettings(models=(PRO,)), {}, 1, None),  # disabled in this server
        (PRO, ServerSettings(), {"thinking": "high"}, 1, None),  # without what the member asked for
        ("gone", ServerSettings(), {}, 1, None),
        ("lite", ServerSettings(), {}, 1, "lite"),
        ("lite", ServerSettings(), {}, 2, None),  # takes fewer pictures
    ],
)
def test_a_styles_model_is_used_where_it_can_do_what_was_asked(
    model: str, settings: ServerSettings, asked: dict[str, Any], pictures: int, used: str | None
) -> None:
    references = (Reference("https://cdn.discordapp.com/a.png", "a.png"),) * pictures
    draft = RequestDraft(verb=Verb.EDIT, prompt="at night", asked=RequestedOptions(**asked), references=references)
    found = styled(Style(after="x", model=model, options={"format": "gif"}), draft, settings=settings)

    assert found.model == used
    assert (found.asked.format == "gif") is (used == "lite"), "the options are those of the model that is used"


def test_the_length_limit_holds_for_prompt_and_style_together() -> None:
    style = AppliedStyle("Ink", "x" * 99, ", yy")

    def request(length: int) -> ImageRequest:
        return catalog().request(
            TWO, Verb.IMAGINE, prompt="p" * length, asked=RequestedOptions(), drawn_seed=1, style=style
        )

    assert len(request(3896).sent_prompt) == 4000
    with pytest.raises(UserError) as caught:
        request(3897)
    assert caught.value.key == "prompt.long_with_style"
    assert caught.value.values == {"limit": 3896, "given": 3897, "style": "Ink", "taken": 104}


def test_a_short_prompt_is_long_enough_with_a_style() -> None:
    flow = catalog().for_providers(("runflow",))
    style = AppliedStyle("Ink", after=", in ink")
    request = flow.request(TWO, Verb.IMAGINE, prompt="ox", asked=RequestedOptions(), drawn_seed=1, style=style)

    assert request.prompt == "ox"


def test_a_stored_draft_keeps_its_style_and_older_ones_have_none() -> None:
    draft = RequestDraft(verb=Verb.IMAGINE, prompt="a fox", style=AppliedStyle("Ink", "a", "b"))
    older = draft.dump()
    del older["style"]

    assert RequestDraft.load(draft.dump()) == draft
    assert RequestDraft.load(replace(draft, style="Ink").dump()).style == "Ink"
    assert RequestDraft.load(older).style is None

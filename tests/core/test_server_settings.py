"""Server settings: channels, models, and limits of channels on resolution and count."""

import tomllib
from functools import cache
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.server_settings import MAX_NAMED_CHANNELS, ChannelCeiling, ServerSettings, apply_settings, resolutions
from bot.settings.settings import SHIPPED

TWO, PRO, LITE = "nano-banana-2", "nano-banana-pro", "lite"
STUDIO, HALL, THREAD = 10, 20, 11  # the thread belongs to the studio
IN_STUDIO, IN_THREAD = (STUDIO,), (THREAD, STUDIO)
PLAIN = """
[models.lite]
name = "Lite"
price = { per_image = "0.03" }
[models.lite.options]
count = { max = 6, default = 4 }
[models.lite.imagine]
routes = [{ provider = "runcomfy", id = "lite", fields = { prompt = "text", count = "n" } }]
"""


@cache
def catalog() -> Catalog:
    return Catalog.model_validate(tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8") + PLAIN))


def ask(
    server_settings: ServerSettings,
    model: str | None = None,
    *,
    channels: tuple[int, ...] = IN_STUDIO,
    verb: Verb = Verb.IMAGINE,
    **asked: Any,
) -> tuple[str, RequestedOptions]:
    return apply_settings(
        server_settings, catalog(), verb, model=model, asked=RequestedOptions(**asked), channels=channels
    )


def refusal(server_settings: ServerSettings, model: str | None = None, **given: Any) -> tuple[str, dict[str, object]]:
    with pytest.raises(UserError) as caught:
        ask(server_settings, model, **given)
    return caught.value.key, dict(caught.value.values)


def capped(**cap: Any) -> ServerSettings:
    return ServerSettings(caps={STUDIO: ChannelCeiling(**cap)})


def test_default_settings_change_nothing() -> None:
    asked = RequestedOptions(resolution="4K", count=4, format="webp", seed=7)
    assert apply_settings(ServerSettings(), catalog(), Verb.EDIT, model=PRO, asked=asked, channels=IN_STUDIO) == (
        PRO,
        asked,
    )
    assert ask(ServerSettings()) == (TWO, RequestedOptions())


# --- channels


@pytest.mark.parametrize(
    ("server_settings", "channels", "opens"),
    [
        (ServerSettings(), IN_STUDIO, True),
        (ServerSettings(allowed=(STUDIO,)), IN_STUDIO, True),
        (ServerSettings(allowed=(STUDIO,)), (HALL,), False),
        (ServerSettings(denied=(STUDIO,)), IN_STUDIO, False),
        (ServerSettings(denied=(STUDIO,)), (HALL,), True),
        (ServerSettings(allowed=(STUDIO,), denied=(STUDIO,)), IN_STUDIO, False),  # denied is stronger
        (ServerSettings(allowed=(STUDIO,)), IN_THREAD, True),  # a thread is as open as the channel it belongs to
        (ServerSettings(denied=(STUDIO,)), IN_THREAD, False),
        (ServerSettings(allowed=(THREAD,)), IN_THREAD, True),
        (ServerSettings(allowed=(THREAD,)), IN_STUDIO, False),
        (ServerSettings(denied=(THREAD,)), IN_STUDIO, True),
        (ServerSettings(allowed=(THREAD,), denied=(STUDIO,)), IN_THREAD, False),
    ],
)
def test_a_channel_is_open_as_the_server_has_set(
    server_settings: ServerSettings, channels: tuple[int, ...], *, opens: bool
) -> None:
    assert server_settings.allows(channels) is opens
    if opens:
        ask(server_settings, channels=channels)
    else:
        assert refusal(server_settings, channels=channels)[0] in ("house.channel", "house.denied")


def test_a_refusal_names_some_open_channels() -> None:
    many = tuple(range(100, 120))
    assert refusal(ServerSettings(allowed=(*many,))) == ("house.channel", {"channels": list(many[:MAX_NAMED_CHANNELS])})
    assert refusal(ServerSettings(allowed=(1, 2, 3), denied=(2,))) == ("house.channel", {"channels": [1, 3]})


def test_a_refusal_names_no_channel_where_none_is_allowed_by_name() -> None:
    assert refusal(ServerSettings(denied=(STUDIO,))) == ("house.denied", {"channels": []})
    assert refusal(ServerSettings(allowed=(STUDIO,), denied=(STUDIO,))) == ("house.denied", {"channels": []})


# --- models


def test_a_model_that_is_not_offered_is_refused_with_those_that_are() -> None:
    key, values = refusal(ServerSettings(models=(PRO,)), PRO)
    assert (key, values) == ("house.model", {"given": PRO, "choices": ["Nano Banana 2", "Lite"]})


def test_another_model_replaces_a_default_that_is_not_offered() -> None:
    assert ask(ServerSettings(models=(TWO,)))[0] == PRO
    assert ask(ServerSettings(models=(TWO, PRO)))[0] == LITE
    assert ask(ServerSettings(models=(PRO,)))[0] == TWO


def test_a_verb_without_an_offered_model_is_refused() -> None:
    assert refusal(ServerSettings(models=(TWO, PRO)), verb=Verb.EDIT) == ("house.model", {"given": TWO, "choices": []})


def test_an_unknown_model_is_left_to_the_catalogue_to_refuse() -> None:
    assert refusal(ServerSettings(models=(PRO,)), "dall-e")[0] == "option.model"


# --- caps on resolution


def test_resolutions_of_all_models_are_sorted_by_size() -> None:
    assert resolutions(catalog()) == ["0.5K", "1K", "2K", "4K"]


@pytest.mark.parametrize(
    ("cap", "model", "asked", "becomes"),
    [
        ("4K", TWO, "4K", "4K"),
        ("2K", TWO, "2K", "2K"),
        ("2K", TWO, None, None),  # the default, 1K, is allowed
        ("1K", TWO, None, None),
        ("0.5K", TWO, None, "0.5K"),  # the default is lowered to what is allowed
        ("1K", LITE, None, None),  # a model that has no resolutions
        ("8K", TWO, "4K", "4K"),  # more than any model has
        ("3K", TWO, "2K", "2K"),  # a size that no model has any more still caps
    ],
)
def test_resolutions_within_a_channels_cap_are_unchanged(
    cap: str, model: str, asked: str | None, becomes: str | None
) -> None:
    assert ask(capped(resolution=cap), model, resolution=asked) == (model, RequestedOptions(resolution=becomes))


@pytest.mark.parametrize(
    ("cap", "model", "asked"), [("1K", TWO, "2K"), ("0.5K", TWO, "4K"), ("1K", PRO, "4K"), ("3K", TWO, "4K")]
)
def test_a_resolution_beyond_a_channels_cap_is_refused(cap: str, model: str, asked: str) -> None:
    assert refusal(capped(resolution=cap), model, resolution=asked) == (
        "house.resolution",
        {"limit": cap, "given": asked, "channels": []},
    )


def test_a_model_whose_smallest_picture_is_too_large_is_refused() -> None:
    assert refusal(capped(resolution="0.5K"), PRO) == (
        "house.resolution",
        {"limit": "0.5K", "given": "1K", "channels": []},
    )


def test_an_unknown_resolution_is_left_to_the_catalogue_to_refuse() -> None:
    assert ask(capped(resolution="1K"), TWO, resolution="9K") == (TWO, RequestedOptions(resolution="9K"))


# --- caps on count


@pytest.mark.parametrize(
    ("model", "asked", "becomes"), [(TWO, None, None), (TWO, 2, 2), (TWO, 1, 1), (LITE, None, 2), (PRO, None, None)]
)
def test_a_count_within_the_cap_is_kept_and_a_default_above_it_lowered(
    model: str, asked: int | None, becomes: int | None
) -> None:
    assert ask(capped(count=2), model, count=asked) == (model, RequestedOptions(count=becomes))


def test_a_count_beyond_the_cap_is_refused_and_channels_without_a_cap_are_named() -> None:
    server_settings = ServerSettings(
        allowed=(STUDIO, HALL, 30, 40),
        denied=(40,),
        caps={STUDIO: ChannelCeiling(count=2), 30: ChannelCeiling(resolution="1K")},
    )
    assert refusal(server_settings, count=3) == ("house.count", {"limit": 2, "given": 3, "channels": [HALL]})
    assert refusal(server_settings, count=3, channels=(THREAD, STUDIO))[0] == "house.count"
    assert ask(server_settings, count=3, channels=(HALL,))[1].count == 3


def test_a_threads_own_cap_overrides_its_channels() -> None:
    server_settings = ServerSettings(caps={STUDIO: ChannelCeiling(count=1), THREAD: ChannelCeiling(count=3)})
    assert ask(server_settings, channels=IN_THREAD, count=3)[1].count == 3
    assert refusal(server_settings, channels=IN_STUDIO, count=3)[1]["limit"] == 1
    assert refusal(ServerSettings(caps={STUDIO: ChannelCeiling(count=1)}), channels=IN_THREAD, count=2)[1]["limit"] == 1


def test_the_channel_is_checked_before_the_model_and_the_model_before_its_options() -> None:
    server_settings = ServerSettings(
        denied=(STUDIO,), models=(PRO,), caps={STUDIO: ChannelCeiling(count=1), HALL: ChannelCeiling(count=1)}
    )
    assert refusal(server_settings, PRO, count=4)[0] == "house.denied"
    assert refusal(server_settings, PRO, count=4, channels=(HALL,))[0] == "house.model"
    assert refusal(server_settings, TWO, count=4, channels=(HALL,))[0] == "house.count"


any_settings = st.builds(
    ServerSettings,
    models=st.lists(st.sampled_from([TWO, PRO, LITE]), max_size=2).map(tuple),
    caps=st.dictionaries(
        st.sampled_from([STUDIO, THREAD]),
        st.builds(
            ChannelCeiling, resolution=st.sampled_from([None, "0.5K", "1K", "2K"]), count=st.sampled_from([None, 1, 3])
        ),
    ),
)
requested = st.builds(
    RequestedOptions, resolution=st.sampled_from([None, "0.5K", "1K", "4K"]), count=st.none() | st.integers(1, 4)
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(any_settings, requested, st.sampled_from([None, TWO, PRO, LITE]), st.sampled_from([IN_STUDIO, IN_THREAD]))
def test_no_request_exceeds_its_channels_cap(
    server_settings: ServerSettings, asked: RequestedOptions, model: str | None, channels: tuple[int, ...]
) -> None:
    try:
        chosen, options = apply_settings(
            server_settings, catalog(), Verb.IMAGINE, model=model, asked=asked, channels=channels
        )
        request = catalog().request(chosen, Verb.IMAGINE, prompt="a boat", asked=options, drawn_seed=1)
    except UserError:
        return
    cap, order = server_settings.ceiling(channels), resolutions(catalog())
    assert chosen not in server_settings.models
    assert cap.count is None or request.count <= cap.count
    if cap.resolution is not None and "resolution" in request.options:
        assert order.index(str(request.options["resolution"])) <= order.index(cap.resolution)


# --- storage


def test_settings_written_by_a_newer_version_are_read() -> None:
    server_settings = ServerSettings.model_validate_json(
        '{"timezone": "Asia/Tokyo", "caps": {"10": {"count": 2, "speed": 9}}, "moon": true}'
    )
    assert server_settings == ServerSettings(timezone="Asia/Tokyo", caps={10: ChannelCeiling(count=2)})
    assert ServerSettings.model_validate_json(server_settings.model_dump_json()) == server_settings

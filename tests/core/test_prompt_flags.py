"""Flags at the end of a prompt become options, and no ordinary text is taken for one."""

import json
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from bot.core.catalog import RequestedOptions
from bot.core.jobs import Verb
from bot.core.prompt_flags import MAX_TYPED, apply_flags, split_flags
from bot.core.request_draft import RequestDraft
from tests.kit import catalog
from tests.ui.hostile import hostile

examples = settings(max_examples=300, deadline=None)
MEANT = {"ar 16:9": ("aspect_ratio", "16:9"), "aspect 1:8": ("aspect_ratio", "1:8"), "AR 4x5": ("aspect_ratio", "4:5"),
         "seed 5": ("seed", 5), "Seed 4294967295": ("seed", 4294967295), "hd": ("resolution", None)}  # fmt: skip
NOT_HERE = ("v 6", "v 6.1", "q .5", "style raw", "s 250", "fast", "niji 6", "sref https://a.example/x?y=1 77",
            "stop 80%")  # fmt: skip
WORDS = ["a", "fox", "--", "---", "e-mail--list", "--foo", "--foo 3", "--foo bar", "\u2014", "\u2014no se",
         "\u2013fast", "--no", "--no hands, text", "--ar", "--hd", "--v six", "5", "16:9", "`x`", "\n", "--ar wide",
         "\u2014seed 5", "--seed 5x", "don't", "--fast,", "--no x--y"]  # fmt: skip


@st.composite
def flags(draw: st.DrawFn) -> Sequence[tuple[str, str]]:
    """Flags as typed and without their dashes; the first has two hyphens, so that it is certain."""
    bodies = draw(st.lists(st.sampled_from([*MEANT, *NOT_HERE]), min_size=1, max_size=6))
    dashes = ["--", *(draw(st.sampled_from(["--", "\u2014", "\u2013"])) for _ in bodies[1:])]
    return [(dash + body, body) for dash, body in zip(dashes, bodies, strict=True)]


PLAIN = st.text(st.characters(exclude_characters="-\u2013\u2014", exclude_categories=["Cs"]), max_size=60)


@examples
@given(PLAIN, flags(), st.sampled_from([" ", "\n", "  ", ", "]))
def test_flags_at_the_end_are_options_or_named_and_the_text_stays(
    text: str, typed: Sequence[tuple[str, str]], separator: str
) -> None:
    found = split_flags(f"{text} {separator.join(each for each, _ in typed)}")

    assert found.prompt == text.rstrip()
    assert {each.option: each.value for each in found.meant} == dict(MEANT[body] for _, body in typed if body in MEANT)
    assert list(found.ignored) == list(dict.fromkeys(each for each, body in typed if body in NOT_HERE))


@examples
@given(st.one_of(hostile(), st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)))
@example("--ar 1:1 --foo bar --ar 16:9")
@example("a\u2014 --no b \u2014fast --foo")
def test_whatever_is_typed_the_words_before_the_flags_stay_and_nothing_is_split_twice(prompt: str) -> None:
    found = split_flags(prompt)

    head, _, unwanted = found.prompt.partition("without ")
    assert prompt.startswith(head.rstrip(" ,")) or prompt == found.prompt
    assert not unwanted or "--no " in prompt.lower() or "\u2014no " in prompt.lower() or prompt == found.prompt
    assert split_flags(found.prompt).prompt == found.prompt
    assert all("`" not in each and len(each) <= MAX_TYPED for each in found.ignored)
    assert found.meant or found.ignored or unwanted or found.prompt is prompt


@pytest.mark.parametrize(
    "prompt",
    [
        "a -- b", "e-mail--list", "fox --", "--", "  a fox\n", "a fox--ar 16:9", "a fox\u2014fast and red",
        "draw '--fast'", "ella dijo \u2014no quiero", "a fox \u2014fast", "how to use --help", "git --version",
        "a castle --dramatic lighting", "--ar 16:9 in the style of Monet", "a fox --seed five", "a \u2014 b \u2013 c",
        "fox --seed", "fox --no", "on the sea --no land in sight-- a boat", "fox \u2014ar wide",
    ],
)  # fmt: skip
def test_dashes_in_ordinary_text_are_left_alone(prompt: str) -> None:
    assert split_flags(prompt).prompt is prompt


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("a man --no hands", "a man, without hands"),
        ("a man. --no hands, text, --seed 5 --no a  hat", "a man. without hands, text, a hat"),
        ("a man \u2014ar 1:1 \u2014no hands", "a man, without hands"),
        ("--no hands", "without hands"),
    ],
)
def test_what_is_not_wanted_becomes_words(prompt: str, left: str) -> None:
    assert split_flags(prompt).prompt == left


def test_after_a_flag_an_unknown_one_may_have_a_word_and_before_it_only_a_number() -> None:
    found = split_flags("a fox --foo bar --baz 3 --ar 16:9 --foo bar --v six")

    assert (found.prompt, found.ignored) == ("a fox --foo bar", ("--baz 3", "--foo bar", "--v six"))


def test_a_wrong_ratio_is_left_to_the_check_of_the_options() -> None:
    (flag,) = split_flags("a fox --ar wide").meant

    assert (flag.option, flag.value) == ("aspect_ratio", "wide")


def test_an_option_that_was_chosen_wins_over_a_flag_and_the_flag_is_named() -> None:
    asked = RequestedOptions(aspect_ratio="1:1", resolution="4K")
    draft = RequestDraft(Verb.IMAGINE, "a fox --ar 16:9 --hd --seed 5 --v 6", asked=asked, ignored_flags=("--q 2",))

    changed = apply_flags(draft, catalog(), model="nano-banana-2")

    assert changed.prompt == "a fox"
    assert changed.asked == RequestedOptions(aspect_ratio="1:1", resolution="4K", seed=5)
    assert changed.overridden_flags == ("--ar 16:9",)
    assert changed.ignored_flags == ("--q 2", "--v 6")
    assert RequestDraft.load(json.loads(json.dumps(changed.dump()))) == changed


@pytest.mark.parametrize(
    ("model", "resolution", "ignored"),
    [("nano-banana-2", "4K", ()), ("gone", None, ("--hd",)), (None, None, ("--hd",))],
)
def test_the_largest_resolution_is_that_of_the_model(
    model: str | None, resolution: str | None, ignored: tuple[str, ...]
) -> None:
    changed = apply_flags(RequestDraft(Verb.IMAGINE, "a fox --hd"), catalog(), model=model)

    assert (changed.asked.resolution, changed.ignored_flags) == (resolution, ignored)

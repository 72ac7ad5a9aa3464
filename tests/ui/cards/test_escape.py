import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.visible import is_invisible
from bot.ui.cards.escape import MAX_ALT_LENGTH, ZERO_WIDTH, alt_text, clean, show
from tests.ui.hostile import ACTIVE, hostile

# What draws nothing and may stay, where it shapes its neighbours: joiners, selectors, tags of flags.
SHAPING = {chr(each) for each in (0x200C, 0x200D, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
                                  *range(0xE0020, 0xE0080), *range(0xE0100, 0xE01F0))}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("a red fox", "a red fox"),
        ("# Big\nnews", r"\# Big news"),
        ("-# small", r"\-\# small"),
        ("- item", r"\- item"),
        ("+ item", r"\+ item"),
        ("1. first", r"1\. first"),
        ("2.5 apples - ripe", "2.5 apples - ripe"),
        ("> quote", r"\> quote"),
        ("**bold** __under__ ~~gone~~ ||hidden||", r"\*\*bold\*\* \_\_under\_\_ \~\~gone\~\~ \|\|hidden\|\|"),
        ("`code`", r"\`code\`"),
        ("back\\slash", r"back\\slash"),
        ("[click](https://evil.example)", rf"\[click\]\(https:{ZERO_WIDTH}//evil.example\)"),
        ("http://evil.example", f"http:{ZERO_WIDTH}//evil.example"),
        ("discord.gg/abc", f"discord{ZERO_WIDTH}.gg/abc"),
        ("Discord.com/invite/abc", f"Discord{ZERO_WIDTH}.com/invite/abc"),
        ("discordapp.com/invite/abc", f"discordapp{ZERO_WIDTH}.com/invite/abc"),
        ("<@123>", rf"<{ZERO_WIDTH}@{ZERO_WIDTH}123\>"),
        ("<#123>", rf"<{ZERO_WIDTH}\#123\>"),
        ("</draw:1>", rf"<{ZERO_WIDTH}/draw:1\>"),
        ("<t:1:R>", rf"<{ZERO_WIDTH}t:1:R\>"),
        ("<a:party:1>", rf"<{ZERO_WIDTH}a:party:1\>"),
        ("@everyone", f"@{ZERO_WIDTH}everyone"),
        ("16:9 at 10:30", "16:9 at 10:30"),
    ],
)
def test_markdown_mentions_and_links_are_shown_as_typed_and_do_nothing(typed: str, shown: str) -> None:
    assert show(typed, max_length=200) == shown


@pytest.mark.parametrize(
    "unseen",
    ["\x00", "\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\ud800", "\u3164", "\U000e0041"],
)
def test_invisible_characters_are_removed(unseen: str) -> None:
    assert show(f"a{unseen}b", max_length=10) == "ab"


def test_invisible_characters_cannot_hide_a_mention_or_a_link() -> None:
    assert show("<\u200d@1> https:\u200d//x", max_length=99) == show("<@1> https://x", max_length=99)


@pytest.mark.parametrize("active", ["@everyone", "<#123>", "*b*", "`b`", "[a](b)", "://x.y", "discord.gg/abcdef"])
def test_text_after_a_joiner_is_escaped_too(active: str) -> None:
    joined, plain = (show(each + active, max_length=300) for each in ("क\u094d\u200d", "x"))

    assert joined == "क\u094d\u200d" + plain.removeprefix("x")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\v"])
def test_every_kind_of_line_end_becomes_one_space(end: str) -> None:
    assert show(f"a{end}{end}b", max_length=10) == "a b"


def test_a_whole_prompt_keeps_its_lines_and_no_line_formats_anything() -> None:
    assert show("one\n# two\n  - three\n1. four", max_length=99, lines=True) == "one\n\\# two\n  \\- three\n1\\. four"


def test_stacked_combining_marks_are_limited() -> None:
    assert show("e" + "\u0301" * 50, max_length=99) == "e" + "\u0301" * 4


def test_the_cut_is_measured_after_escaping_and_never_splits_an_escape() -> None:
    assert show("*" * 10, max_length=8) == r"\*\*\*…"
    assert show("a" * 8, max_length=8) == "a" * 8


@settings(max_examples=200, deadline=None)
@given(hostile(), st.integers(1, 400), st.booleans())
def test_no_text_stays_active_or_too_long(text: str, max_length: int, lines: bool) -> None:  # noqa: FBT001
    shown = show(text, max_length=max_length, lines=lines)

    assert len(shown) <= max_length
    assert not ACTIVE.search(shown)
    assert lines or "\n" not in shown


WHOLE = {
    "a family": "👨\u200d👩\u200d👧\u200d👦",
    "two people with tones of skin": "👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏿",
    "a head that shakes": "🙂\u200d↔\ufe0f",
    "a rainbow on a flag": "🏳\ufe0f\u200d🌈",
    "the flags of England and Wales": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f "
    "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
    "flags of countries": "🇩🇪🇫🇷",
    "a key": "1\ufe0f\u20e3",
    "a heart as text": "❤\ufe0e",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Persian with a short vowel": "\u0645\u0650\u200c\u062e",
    "Hindi": "\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937",
    "Bengali": "\u09b0\u200d\u09cd\u09af",
    "Mongolian": "\u182d\u180b\u182d\u180e\u1820",
    "the form of an ideograph": "\u845b\U000e0100",
    "an Arabic sign before a number": "\u06dd\u0661",
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_invisible_characters_that_shape_an_emoji_or_a_script_are_kept(text: str) -> None:
    assert show(text, max_length=200) == text
    assert clean(f"a {text}\u202e\n{text}\u200b") == f"a {text}\n{text}"


def test_an_emoji_of_several_characters_is_cut_as_a_whole() -> None:
    family = WHOLE["a family"]

    assert show(family * 2, max_length=10) == family + "…"


@pytest.mark.parametrize(
    "text",
    [
        "a\u200db",
        "=\u200d=",
        "👨\u200d",
        "\u200d👩",
        "👨\u200d \u200d👩",
        "👨\u200d\u2800👩",
        "\u0645\u200c x",
        "a\U000e0067\U000e007f",
    ],
)
def test_a_joiner_that_joins_nothing_is_removed(text: str) -> None:
    assert "\u200d" not in clean(text)
    assert "\u200c" not in clean(text)
    assert "\U000e0067" not in clean(text)


def test_no_message_hides_in_selectors_behind_one_letter() -> None:
    assert clean("a" + "".join(chr(0xE0100 + each) for each in b"secret")) == "a\U000e0173"


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(st.characters(), st.sampled_from("".join(WHOLE.values()) + "\u0301\u200d\u2800"))))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)

    assert clean(once) == once
    assert {each for each in once if is_invisible(each)} <= SHAPING


@settings(max_examples=200, deadline=None)
@given(hostile(), st.integers(1, 10), st.integers(1, 10))
def test_a_description_is_never_empty_and_never_too_long(prompt: str, n: int, total: int) -> None:
    assert 1 <= len(alt_text(prompt, n, total)) <= MAX_ALT_LENGTH


def test_a_description_says_which_picture_of_how_many() -> None:
    assert alt_text("a red\nfox", 2, 4) == "2/4: a red fox"
    assert alt_text("a red fox", 1, 1) == "a red fox"
    assert alt_text("\u200b\u200b", 1, 1) == "…"


def test_an_escaped_text_reads_as_it_was_typed() -> None:
    typed = "a *fox* & [two] <dogs> # one-two (at 50%)"

    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", show(typed, max_length=200)).replace(ZERO_WIDTH, "") == typed

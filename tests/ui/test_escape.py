import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.ui.escape import BLANKS, MOST_ALT, ZERO_WIDTH, alt_text, clean, show
from tests.ui.hostile import ACTIVE, hostile


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
    assert show(typed, most=200) == shown


@pytest.mark.parametrize(
    "unseen",
    ["\x00", "\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\ud800", "\u3164", "\U000e0041"],
)
def test_what_cannot_be_seen_is_taken_out(unseen: str) -> None:
    assert show(f"a{unseen}b", most=10) == "ab"


def test_unseen_characters_cannot_hide_a_mention_or_a_link() -> None:
    assert show("<\u200d@1> https:\u200d//x", most=99) == show("<@1> https://x", most=99)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\v"])
def test_every_kind_of_line_end_becomes_one_space(end: str) -> None:
    assert show(f"a{end}{end}b", most=10) == "a b"


def test_a_whole_prompt_keeps_its_lines_and_no_line_formats_anything() -> None:
    assert show("one\n# two\n  - three\n1. four", most=99, lines=True) == "one\n\\# two\n  \\- three\n1\\. four"


def test_towers_of_accents_are_cut_down() -> None:
    assert show("e" + "\u0301" * 50, most=99) == "e" + "\u0301" * 4


def test_the_cut_is_measured_after_escaping_and_never_splits_an_escape() -> None:
    assert show("*" * 10, most=8) == r"\*\*\*…"
    assert show("a" * 8, most=8) == "a" * 8


@settings(max_examples=200, deadline=None)
@given(hostile(), st.integers(1, 400), st.booleans())
def test_no_text_gets_through_alive_or_too_long(text: str, most: int, lines: bool) -> None:  # noqa: FBT001
    shown = show(text, most=most, lines=lines)

    assert len(shown) <= most
    assert not ACTIVE.search(shown)
    assert lines or "\n" not in shown


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)

    assert clean(once) == once
    assert not BLANKS & set(once)
    assert all(char == "\n" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"} for char in once)


@settings(max_examples=200, deadline=None)
@given(hostile(), st.integers(1, 10), st.integers(1, 10))
def test_a_description_is_never_empty_and_never_too_long(prompt: str, n: int, total: int) -> None:
    assert 1 <= len(alt_text(prompt, n, total)) <= MOST_ALT


def test_a_description_says_which_picture_of_how_many() -> None:
    assert alt_text("a red\nfox", 2, 4) == "2/4: a red fox"
    assert alt_text("a red fox", 1, 1) == "a red fox"
    assert alt_text("\u200b\u200b", 1, 1) == "…"


def test_an_escaped_text_reads_as_it_was_typed() -> None:
    typed = "a *fox* & [two] <dogs> # one-two (at 50%)"

    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", show(typed, most=200)).replace(ZERO_WIDTH, "") == typed

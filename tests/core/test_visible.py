"""Which characters are visible."""

import unicodedata

import pytest

from bot.core.visible import is_invisible, visible

NOTHING = [
    "",
    " \t\n\u3000\u1680\u2003\x85\x1c",  # every kind of room
    "\u200b",
    "\u200d\ufe0f\u200c\u2060",
    "\u00ad\u034f\u061c\u180e",
    "\u2800\u3164\u115f\u1160\uffa0",  # blank letters
    "\u202e\u2066\u200e",
    "\U000e0067\U000e007f\U000e0101",  # tags and selectors on nothing
    "\u0301\u20dd",  # marks on nothing
    "\x00\x1b\x7f\ue000\ufff9\ufeff",
    "\U0001d159\U00013441",
]


@pytest.mark.parametrize("text", NOTHING, ids=ascii)
def test_a_text_of_invisible_characters_is_empty(text: str) -> None:
    assert visible(text) == ""


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u200bb", "ab"),
        ("  a \u2800 b\n", "a b"),
        ("e\u0301", "e\u0301"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),
        ("👨\u200d👩", "👨👩"),
        ("\u06dd1", "\u06dd1"),  # a sign before a number is drawn
        ("日本", "日本"),
        ("\u093f\u0915", "\u093f\u0915"),
    ],
)
def test_visible_characters_are_kept(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_every_letter_number_and_punctuation_mark_of_unicode_is_visible_except_fillers() -> None:
    unseen = {
        unicodedata.name(chr(each))
        for each in range(0x110000)
        if unicodedata.category(chr(each))[0] in "LNPS" and is_invisible(chr(each))
    }

    assert unseen == {
        "HANGUL CHOSEONG FILLER",
        "HANGUL JUNGSEONG FILLER",
        "HANGUL FILLER",
        "HALFWIDTH HANGUL FILLER",
        "BRAILLE PATTERN BLANK",
        "MUSICAL SYMBOL NULL NOTEHEAD",
    } | {each for each in unseen if each.startswith("EGYPTIAN HIEROGLYPH ")}

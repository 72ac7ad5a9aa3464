# ruff: noqa: RUF001 - the tests are about letters that look alike
"""Word lists: what counts as the same word, and what does not."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.moderation import WordList, blocked_until, fold, is_entry, word_list

WORDS = st.text("abcdefghijkmnopqrstuvwxyz", min_size=2, max_size=8)
INVISIBLE = ("\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\U000e0041")
ACCENTS = ("\u0301", "\u0308", "\u0336", "\u20dd")
LOOK_ALIKE = {"a": "аα4", "e": "еε3", "o": "оο0", "c": "с", "p": "рρ", "s": "ѕ5", "i": "іι1", "t": "т7", "x": "хχ"}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("ass", "an ASS, seen from behind"),
        ("ass", "ａｓｓ"),
        ("ass", "á\u200bs\u0336ѕ"),
        ("ass", "4s5"),
        ("ass", "a\x07ss"),
        ("ass", "🅰🅂🅂"),
        ("hell", "he11"),
        ("big cat", "a Big,\ncat!"),
        ("kill*", "the killers"),
        ("kill* cat*", "killing cats"),
        ("h4te", "hate"),
        ("сука", "СУКА"),
        ("сука", "cyka"),
        ("Straße", "STRASSE"),
        ("10", "at 10 o'clock"),
        ("don't*", "don’ts"),
        ("안녕", "안녕"),
        ("कि", "कि है"),
    ],
)
def test_an_entry_matches_however_it_is_written(entry: str, text: str) -> None:
    assert WordList([entry]).matches(text)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("ass", "a class of assassins"),
        ("kill", "killers"),
        ("*kill", "overkill"),
        ("big cat", "big black cat"),
        ("cat big", "big cat"),
        ("10", "io"),
        ("10", "1o"),
        ("ail", "all"),
        ("की", "कि"),
        ("*", "anything"),
        ("", "anything"),
        ("!?", "!?"),
        ("a.*b", "axxb"),
        ("big cat", "big"),
    ],
)
def test_an_entry_does_not_match_parts_of_words_other_numbers_or_patterns(entry: str, text: str) -> None:
    assert not WordList([entry]).matches(text)


@given(WORDS, st.data())
def test_disguised_letters_are_recognized(word: str, data: st.DataObject) -> None:
    disguised = ""
    for letter in word:
        drawn = data.draw(st.sampled_from([letter, letter.upper(), *LOOK_ALIKE.get(letter, "")]))
        disguised += drawn + data.draw(st.sampled_from(["", *INVISIBLE, *ACCENTS]))

    assert WordList([word]).matches(f"x, {disguised}!")


@given(WORDS, WORDS)
def test_only_a_star_matches_a_longer_word(word: str, ending: str) -> None:
    assert not WordList([word]).matches(word + ending)
    assert WordList([f"{word}*"]).matches(word + ending)
    assert not WordList([f"{word}*"]).matches(ending[0] + "\u0436" + word)


@given(st.text())
def test_every_entry_matches_itself_and_any_form_of_unicode(text: str) -> None:
    entry = text.replace("*", "")

    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert WordList([entry]).matches(unicodedata.normalize(form, entry)) == is_entry(entry)


@given(st.lists(st.text(max_size=8)), st.text())
def test_a_list_matches_what_one_of_its_entries_matches(entries: list[str], text: str) -> None:
    assert WordList(entries).matches(text) == any(WordList([each]).matches(text) for each in entries)


def test_words_without_letters_are_separated_by_anything_that_is_neither() -> None:
    assert fold("a_b-c·d\te\u00a0f\ng") == "a b c d e f g"


def test_a_list_is_prepared_once() -> None:
    assert word_list(("a", "b")) is word_list(("a", "b"))


@pytest.mark.parametrize(
    ("expiries", "until"), [([], None), ([5, 9], None), ([1, 5, 9], None), ([5, 6, 9], 5), ([4, 9, 8, 7, 6], 7)]
)
def test_a_member_is_blocked_while_three_strikes_are_open(expiries: list[int], until: int | None) -> None:
    assert blocked_until(expiries, now=3) == until

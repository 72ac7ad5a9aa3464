"""Decides whether a text contains a word of a list, however it is written.

An entry has one or more words, which match whole words: `ass` does not match *class*. A `*` at the end of a word
matches any ending. Case, diacritics, invisible characters, punctuation and look-alike letters make no difference.
Digits stand for letters in words of an entry that have a letter: `leet` matches *l33t*, `10` only *10*.

The time that a search takes grows linearly with the length of the text, whatever the entries are.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bot.core.visible import is_invisible

STRIKES_TO_BLOCK = 3  # in one server
MAX_ENTRIES = 300  # of a server
MAX_ENTRY_LENGTH = 60  # characters
ENDING = "*"

# Letters that look like Latin ones, after case folding: Cyrillic, Greek, Latin with strokes or hooks, small capitals.
_PAIRS = (
    "аa вb еe кk мm нh оo рp сc тt уy хx іi јj ѕs ѵv һh ӏl ԁd ԛq ԝw ґr αa βb γy εe ηn ιi κk μu νv οo ρp τt υu χx ωw "  # noqa: RUF001
    "øo đd łl ħh ıi ŧt ɓb ɗd ɠg ɡg ɢg ƙk ƥp ƭt ʋv ɑa ɩi ɪi ʟl ɴn ʀr ʙb ʜh ʏy ᴀa ᴄc ᴅd ᴇe ᴊj ᴋk ᴍm ᴏo ᴘp ᴛt ᴜu ᴠv ᴡw ᴢz "  # noqa: RUF001
    "ꜰf ꜱs"  # noqa: RUF001
)
_LOOK_ALIKES = str.maketrans(
    {pair[0]: pair[1] for pair in _PAIRS.split()}
    | {chr(start + n): chr(ord("a") + n) for start in (0x1F150, 0x1F170) for n in range(26)}  # in circles, squares
)
_DIGITS = {"0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b", "9": "g"}
_SHAPES = str.maketrans("0123456789lb", "oizeasgtggig")  # the same for all characters that `_alike` may take as one
# Combining classes of diacritics: overlays; Hebrew and Arabic points; attached, above and below. Others are vowels.
_DIACRITICS = frozenset({1, *range(10, 37), *range(200, 241)})


def fold(text: str) -> str:
    """*text* as words with single spaces between: case, diacritics and look-alikes folded, the invisible left out."""
    if not (text.isascii() and text.isprintable()):  # otherwise nothing of this changes it
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
        text = "".join(each for each in text if not (is_invisible(each) or _marks(each)))
        text = unicodedata.normalize("NFC", text).translate(_LOOK_ALIKES)
    text = text.casefold()
    return " ".join("".join(each if _in_word(each) else " " for each in text).split())


def _marks(char: str) -> bool:
    return unicodedata.combining(char) in _DIACRITICS or unicodedata.category(char) == "Me"


def _in_word(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char)[0] == "M"


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    open_end: bool  # any ending matches
    exact: bool  # has no letter, so that its digits are digits

    def matches(self, typed: str) -> bool:
        if len(typed) < len(self.text) or (len(typed) > len(self.text) and not self.open_end):
            return False
        if self.exact:
            return typed.startswith(self.text)
        return all(_alike(one, other) for one, other in zip(self.text, typed, strict=False))


def _alike(one: str, other: str) -> bool:
    return one == other or one in _DIGITS.get(other, "") or other in _DIGITS.get(one, "")


def _words(entry: str) -> Sequence[_Word]:
    found = []
    for part in unicodedata.normalize("NFKC", entry).split():
        folded = fold(part).split()
        for n, each in enumerate(folded, start=1):
            ends = n == len(folded) and part.endswith(ENDING)
            found.append(_Word(each, ends, exact=not any(char.isalpha() for char in each)))
    return found


def is_entry(text: str) -> bool:
    """Whether *text* has a word that can be searched for."""
    return bool(_words(text))


class WordList:
    """Entries prepared for searching. Invalid ones are ignored."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._whole: dict[str, list[Sequence[_Word]]] = {}  # by the shape of the first word
        self._open: dict[str, list[Sequence[_Word]]] = {}  # those whose first word has any ending
        for entry in entries:
            if words := _words(entry):
                index = self._open if words[0].open_end else self._whole
                index.setdefault(words[0].text.translate(_SHAPES), []).append(words)
        self._lengths = sorted({len(each) for each in self._open})

    def __bool__(self) -> bool:
        return bool(self._whole or self._open)

    def matches(self, text: str) -> bool:
        """Whether *text* contains an entry."""
        typed = fold(text).split() if self else []
        return any(self._begins(typed, at) for at in range(len(typed)))

    def _begins(self, typed: Sequence[str], at: int) -> bool:
        shape = typed[at].translate(_SHAPES)
        candidates = [*self._whole.get(shape, ())]
        for length in self._lengths:
            candidates += self._open.get(shape[:length], ()) if length <= len(shape) else ()
        return any(
            len(words) <= len(typed) - at
            and all(each.matches(other) for each, other in zip(words, typed[at : at + len(words)], strict=True))
            for words in candidates
        )


@lru_cache(maxsize=256)
def word_list(entries: tuple[str, ...]) -> WordList:
    """The list of *entries*, prepared once while it is in use."""
    return WordList(entries)


def blocked_until(expiries: Iterable[int], *, now: int) -> int | None:
    """When a member with strikes that expire at these times may make pictures again; None if they may now."""
    open_strikes = sorted((each for each in expiries if each > now), reverse=True)
    return open_strikes[STRIKES_TO_BLOCK - 1] if len(open_strikes) >= STRIKES_TO_BLOCK else None

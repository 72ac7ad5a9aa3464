"""Decides what of a text can be kept and what can be seen: Unicode has many characters that draw nothing."""

import re
import unicodedata

# Default_Ignorable_Code_Point of Unicode 16.0, https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt:
# joiners, marks of direction, fillers, selectors of variants, tags.
IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Letters, marks and symbols by category, drawn as nothing: braille without a dot, a note without a head, and fillers.
BLANK = frozenset("\u2800\U00016fe4\U0001d159\U00013441\U00013442")
# The signs before numbers are format characters, and drawn all the same (property Prepended_Concatenation_Mark).
SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs"})  # controls, format, private use, halves of characters
BEGINNING = 50  # characters
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """*text* to the letter, but for what no database and no request to a host takes: NUL and halves of characters."""
    return UNSTORABLE.sub("\ufffd", text)


def is_invisible(char: str) -> bool:
    """Whether *char* draws nothing by itself and takes no room either, as a space does."""
    if " " <= char <= "~":  # nearly all of nearly every text
        return False
    if char in BLANK or IGNORABLE.match(char):
        return True
    return unicodedata.category(char) in INVISIBLE and char not in SIGNS and not char.isspace()


def visible(text: str) -> str:
    """What can be seen of *text*, with one space for any room between; marks alone, on no letter, are nothing."""
    seen = " ".join("".join(each for each in text if not is_invisible(each)).split())
    return seen if any(unicodedata.category(each)[0] not in "MZ" for each in seen) else ""


def has_visible(text: str, *, least: int) -> bool:
    """Whether at least *least* characters of *text* can be seen; nearly always its beginning tells."""
    return any(len(visible(text[:end])) >= least for end in (BEGINNING, None))

"""Which characters of a text can be stored, and which are visible: many Unicode characters draw nothing."""

import re
import unicodedata

# Default_Ignorable_Code_Point of Unicode 16.0, https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt:
# joiners, direction marks, fillers, variation selectors, tags.
IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Letters, marks and symbols by category that draw nothing: braille blank, null notehead, and fillers.
BLANK = frozenset("\u2800\U00016fe4\U0001d159\U00013441\U00013442")
# Format characters that are visible all the same: signs before numbers (property Prepended_Concatenation_Mark).
NUMBER_SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs"})  # categories: control, format, private use, surrogate
PREFIX_LENGTH = 50  # characters
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """*text* with U+FFFD for NUL and surrogates, which no database and no request to a provider accepts."""
    return UNSTORABLE.sub("\ufffd", text)


def is_invisible(char: str) -> bool:
    """Whether *char* draws nothing and has no width; False for spaces."""
    if " " <= char <= "~":  # most characters: faster
        return False
    if char in BLANK or IGNORABLE.match(char):
        return True
    return unicodedata.category(char) in INVISIBLE and char not in NUMBER_SIGNS and not char.isspace()


def visible(text: str) -> str:
    """*text* without invisible characters and with single spaces; empty where only combining marks are left."""
    shown = " ".join("".join(each for each in text if not is_invisible(each)).split())
    return shown if any(unicodedata.category(each)[0] not in "MZ" for each in shown) else ""


def has_visible(text: str, *, min_chars: int) -> bool:
    """Whether *text* has at least *min_chars* visible characters. Its beginning is tried first, which is faster."""
    return any(len(visible(text[:end])) >= min_chars for end in (PREFIX_LENGTH, None))

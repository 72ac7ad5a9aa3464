"""Escapes text from members and providers, so that Discord shows it literally: no mentions, links or formatting."""

import re
import unicodedata
from collections.abc import Sequence

from bot.core.visible import is_invisible

ZERO_WIDTH = "\u200b"  # splits a token invisibly
ELLIPSIS = "…"
MAX_ALT_LENGTH = 1024  # characters, Discord's limit for a picture's description
MAX_COMBINING = 4  # combining marks kept on one letter; more would overlap the lines around it

ZWNJ, ZWJ = "\u200c", "\u200d"  # zero-width non-joiner and joiner
VIRAMA = 9  # the combining class of the mark after which Indic letters join
VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # text or emoji, a variant of an ideograph
MONGOLIAN_LETTERS = re.compile("[\u1800-\u18af]")
SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
MARKS = frozenset({"Mn", "Me"})
JOINER_REACH = 2 + MAX_COMBINING  # characters that can stand between a letter and its joiner
# The flags of England, Scotland, Wales and others to come: a black flag and its region in tags (UTS #51).
FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")

LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")

# Each match is a piece of text that is kept or dropped as a whole.
PIECES = re.compile(
    r"""
      (?P<break_after>  <                              # mentions, channels, commands, times, emoji, <links>
                      | @                              # everyone, here
                      | :(?=//)                        # any scheme
                      | discord(?:app)?(?=\.[a-z]) )   # Discord links invites without a scheme
    | (?P<escape>       [\\*_~`|\[\]()\#>]             # Discord takes a backslash before any of these
                      | (?:(?<=\n)|(?<=\n\ )|(?<=\n\ \ )|(?<=\n\ \ \ )) [-+] )
    | (?P<number>       (?<=\n)\d{1,9}\.(?=\s) )       # an ordered list
    | \n
    | [\U0001f1e6-\U0001f1ff]{2}                         # a flag
    # A composed emoji. ASCII after a joiner is not part of it: it may be markup or start a link.
    | . (?: [\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f] | \u200d[^\x00-\x7f] )*
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def clean(text: str) -> str:
    """*text* without invisible characters and characters that cannot be sent; line ends become newlines.

    Invisible characters that change how others are drawn are kept: joiners and variation selectors in emoji, and in
    scripts that need them.
    """
    text = LINE_ENDS.sub("\n", text).replace("\t", " ")
    tags = {at for flag in FLAG.finditer(text) for at in range(*flag.span())}
    kept: list[str] = []
    stacked = 0
    for at, char in enumerate(text):
        category = unicodedata.category(char)
        if is_invisible(char) or (category == "Cc" and char != "\n"):
            after = text[at + 1 : at + 2]
            cut = stacked == MAX_COMBINING and unicodedata.category(after or " ") in MARKS
            if at in tags or (not cut and _shapes(char, kept[-JOINER_REACH:], after)):
                kept.append(char)
            continue
        stacked = stacked + 1 if category in MARKS else 0
        if stacked <= MAX_COMBINING:
            kept.append(char)
    return "".join(kept).strip()


def _shapes(char: str, before: Sequence[str], after: str) -> bool:
    """Whether *char* changes how its neighbours are drawn; *before* holds the visible characters before it."""
    last = before[-1] if before else " "
    if VARIATION_SELECTORS.match(char):
        return not (is_invisible(last) or last.isspace())
    if MONGOLIAN_LETTERS.match(char):
        return MONGOLIAN_LETTERS.match(last) is not None
    if char not in (ZWNJ, ZWJ) or not after or is_invisible(after):
        return False
    base = next((each for each in reversed(before) if not _is_attached(each)), " ")
    if char == ZWJ and _is_symbol(base) and _is_symbol(after):
        return True
    if is_invisible(last):
        return False
    if VIRAMA in (unicodedata.combining(last), unicodedata.combining(after)):  # RFC 5892, A.1 and A.2
        return True
    # Letters of Arabic and related scripts.
    return unicodedata.bidirectional(base) == unicodedata.bidirectional(after) == "AL"


def _is_attached(char: str) -> bool:
    """Whether *char* modifies the one before it: a combining mark, a variation selector or a skin tone."""
    return unicodedata.category(char) in MARKS or SKIN_TONES.match(char) is not None


def _is_symbol(char: str) -> bool:
    """Whether *char* has a Unicode category that emoji have."""
    return unicodedata.category(char) in ("So", "Sm") and not char.isascii()


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def show(text: str, *, max_length: int, lines: bool = False) -> str:
    """Escape *text* so that Discord shows it literally, in at most *max_length* characters including escapes.

    Newlines become spaces unless *lines* is set. The result is empty if *text* has no visible character.
    """
    cleaned = clean(text) if lines else one_line(text)
    matches = PIECES.finditer("\n" + cleaned)  # with a newline in front, the first line matches like every other
    next(matches)
    pieces, length = list[str](), 0
    for each in matches:
        pieces.append(_escape(each))
        length += len(pieces[-1])
        if length > max_length:
            break
    return _truncate(pieces, max_length=max_length)


def alt_text(prompt: str, n: int, total: int) -> str:
    """The description of picture *n* of *total* for screen readers; not empty, within Discord's limit."""
    number = f"{n}/{total}: " if total > 1 else ""
    words = one_line(prompt) or "…"
    return _truncate(list(number + words), max_length=MAX_ALT_LENGTH)


def _escape(piece: re.Match[str]) -> str:
    match piece.lastgroup:
        case "break_after":
            return piece[0] + ZERO_WIDTH
        case "escape":
            return "\\" + piece[0]
        case "number":
            return piece[0].replace(".", "\\.")
        case _:
            return piece[0]


def _truncate(pieces: list[str], *, max_length: int) -> str:
    if sum(map(len, pieces)) <= max_length:
        return "".join(pieces)
    room, kept = max_length - len(ELLIPSIS), list[str]()
    for piece in pieces:
        if len(piece) > room:
            break
        kept.append(piece)
        room -= len(piece)
    return "".join(kept).rstrip() + ELLIPSIS

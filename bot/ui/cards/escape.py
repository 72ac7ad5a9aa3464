"""Makes members' words harmless: what Discord shows of them pings nobody, links nowhere and formats nothing."""

import re
import unicodedata
from collections.abc import Sequence

from bot.core.visible import is_invisible

ZERO_WIDTH = "\u200b"  # breaks a token apart without being seen
ELLIPSIS = "…"
MOST_ALT = 1024  # Discord's limit for a picture's description
STACKED = 4  # combining marks kept on one letter; more would run over the lines around it

ZWNJ, ZWJ = "\u200c", "\u200d"  # keep letters apart, and join them
VIRAMA = 9  # the combining class of the mark after which Indic letters join
SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # of a variant: text or emoji, a form of an ideograph
MONGOLIAN = re.compile("[\u1800-\u18af]")
SKINS = re.compile("[\U0001f3fb-\U0001f3ff]")
MARKS = frozenset({"Mn", "Me"})
NEAR = 2 + STACKED  # characters: what can stand between a letter and its joiner
# The flags of England, Scotland, Wales and others to come: a black flag and its region in tags (UTS #51).
FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")

LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")

# One match is one piece that may only be kept or dropped whole.
PIECES = re.compile(
    r"""
      (?P<break_after>  <                              # mentions, channels, commands, times, emoji, <links>
                      | @                              # everyone, here
                      | :(?=//)                        # any scheme
                      | discord(?:app)?(?=\.[a-z]) )   # invites work without a scheme
    | (?P<escape>       [\\*_~`|\[\]()\#>]             # Discord takes a backslash before any of these
                      | (?:(?<=\n)|(?<=\n\ )|(?<=\n\ \ )|(?<=\n\ \ \ )) [-+] )
    | (?P<number>       (?<=\n)\d{1,9}\.(?=\s) )       # an ordered list
    | \n
    | [\U0001f1e6-\U0001f1ff]{2}                         # a flag
    # An emoji of several. What is joined is never ASCII, which may be markup or begin a link.
    | . (?: [\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f] | \u200d[^\x00-\x7f] )*
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def clean(text: str) -> str:
    """*text* without what cannot be seen or cannot be sent; its lines end in newlines only.

    What cannot be seen and shapes what can be stays: joiners and selectors in emoji, and in scripts that need them.
    """
    text = LINE_ENDS.sub("\n", text).replace("\t", " ")
    tags = {at for flag in FLAG.finditer(text) for at in range(*flag.span())}
    kept: list[str] = []
    stacked = 0
    for at, char in enumerate(text):
        category = unicodedata.category(char)
        if is_invisible(char) or (category == "Cc" and char != "\n"):
            after = text[at + 1 : at + 2]
            cut = stacked == STACKED and unicodedata.category(after or " ") in MARKS
            if at in tags or (not cut and _shapes(char, kept[-NEAR:], after)):
                kept.append(char)
            continue
        stacked = stacked + 1 if category in MARKS else 0
        if stacked <= STACKED:
            kept.append(char)
    return "".join(kept).strip()


def _shapes(char: str, before: Sequence[str], after: str) -> bool:
    """Whether *char* changes how its neighbours are drawn; *before* is what is shown before it."""
    last = before[-1] if before else " "
    if SELECTORS.match(char):
        return not (is_invisible(last) or last.isspace())
    if MONGOLIAN.match(char):
        return MONGOLIAN.match(last) is not None
    if char not in (ZWNJ, ZWJ) or not after or is_invisible(after):
        return False
    base = next((each for each in reversed(before) if not _is_on_top(each)), " ")
    if char == ZWJ and _is_symbol(base) and _is_symbol(after):
        return True
    if is_invisible(last):
        return False
    if VIRAMA in (unicodedata.combining(last), unicodedata.combining(after)):  # RFC 5892, A.1 and A.2
        return True
    return unicodedata.bidirectional(base) == unicodedata.bidirectional(after) == "AL"  # Arabic letters and their kin


def _is_on_top(char: str) -> bool:
    """Whether *char* stands on the one before it: a mark, a selector or the tone of a skin."""
    return unicodedata.category(char) in MARKS or SKINS.match(char) is not None


def _is_symbol(char: str) -> bool:
    """Whether *char* is of the kinds that emoji are."""
    return unicodedata.category(char) in ("So", "Sm") and not char.isascii()


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def show(text: str, *, most: int, lines: bool = False) -> str:
    """*text* as Discord will show it literally, at most *most* characters counted after escaping.

    Newlines become spaces unless *lines* is set. Empty when there is nothing to see in *text*.
    """
    tidy = clean(text) if lines else one_line(text)
    found = PIECES.finditer("\n" + tidy)  # the newline lets the first line be judged like every other
    next(found)
    pieces, length = list[str](), 0
    for each in found:
        pieces.append(_harmless(each))
        length += len(pieces[-1])
        if length > most:
            break
    return _cut(pieces, most=most)


def alt_text(prompt: str, n: int, total: int) -> str:
    """What a screen reader says of picture *n* of *total*: never empty, never over Discord's limit."""
    number = f"{n}/{total}: " if total > 1 else ""
    words = one_line(prompt) or "…"
    return _cut(list(number + words), most=MOST_ALT)


def _harmless(piece: re.Match[str]) -> str:
    match piece.lastgroup:
        case "break_after":
            return piece[0] + ZERO_WIDTH
        case "escape":
            return "\\" + piece[0]
        case "number":
            return piece[0].replace(".", "\\.")
        case _:
            return piece[0]


def _cut(pieces: list[str], *, most: int) -> str:
    if sum(map(len, pieces)) <= most:
        return "".join(pieces)
    room, kept = most - len(ELLIPSIS), list[str]()
    for piece in pieces:
        if len(piece) > room:
            break
        kept.append(piece)
        room -= len(piece)
    return "".join(kept).rstrip() + ELLIPSIS

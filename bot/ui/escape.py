"""Makes members' words harmless: what Discord shows of them pings nobody, links nowhere and formats nothing."""

import re
import unicodedata

ZERO_WIDTH = "\u200b"  # breaks a token apart without being seen
ELLIPSIS = "…"
MOST_ALT = 1024  # Discord's limit for a picture's description
STACKED = 4  # combining marks kept on one letter; more would run over the lines around it

# Letters by category, and nothing to see all the same.
BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
DROPPED = frozenset({"Cc", "Cf", "Co", "Cs"})  # controls; bidi and zero-width; private use; lone surrogates
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
    | .
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def clean(text: str) -> str:
    """*text* without what cannot be seen or cannot be sent; its lines end in newlines only."""
    kept: list[str] = []
    stacked = 0
    for char in LINE_ENDS.sub("\n", text).replace("\t", " "):
        category = unicodedata.category(char)
        if char in BLANKS or (category in DROPPED and char != "\n"):
            continue
        stacked = stacked + 1 if category in ("Mn", "Me") else 0
        if stacked <= STACKED:
            kept.append(char)
    return "".join(kept).strip()


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def show(text: str, *, most: int, lines: bool = False) -> str:
    """*text* as Discord will show it literally, at most *most* characters counted after escaping.

    Newlines become spaces unless *lines* is set. Empty when there is nothing to see in *text*.
    """
    tidy = clean(text) if lines else one_line(text)
    # The newline put before and taken away lets the first line be judged like every other.
    pieces = [_harmless(each) for each in PIECES.finditer("\n" + tidy)][1:]
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

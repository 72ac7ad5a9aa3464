"""What a host's words for a failure come to. The hosts resell the same models and use the same words."""

import re
from enum import StrEnum

LONGEST_TEXT = 300
TELLING = (
    "type", "code", "error_code", "message", "error_message", "msg", "reason", "error", "detail", "field", "loc",
)  # fmt: skip


class Verdict(StrEnum):
    """What a host's words for a failure come to."""

    REFUSED = "refused"
    TRANSIENT = "transient"
    BAD_INPUT = "bad_input"
    UNKNOWN = "unknown"


# Neither the hosts' documents nor their clients show a refusal: these are the words of Google and its resellers.
_INNOCENT = re.compile(r"safety tolerance|case.sensitive|no images? ?(urls?|(was |were )?(provided|given|supplied))")
_VERDICTS = (
    (Verdict.REFUSED, r"safety|policy|prohibited|moderat|nsfw|blocked|sensitive|no image|could not generate"),
    (Verdict.TRANSIENT, r"time(d )?.?out|overloaded|capacity|unavailable|\b503\b|\b429\b|exhausted"),
    (Verdict.BAD_INPUT, r"invalid|validation|must be|dimension|(fetch|download)\w* failed|failed to (fetch|download)"),
)
# "Blocked" and "prohibited" are said of accounts too: what is denied outright needs clearer words to be a refusal.
_CONTENT = re.compile(r"content.polic|safety|moderat|nsfw")


def classify_text(text: str) -> Verdict:
    """Judge a failure by its words; names of our own options in them prove nothing."""
    words = re.sub(r"[_\s]+", " ", text.lower())
    plain, replaced = _INNOCENT.subn("", words)
    for verdict, pattern in _VERDICTS:
        if re.search(pattern, plain):
            return verdict
    return Verdict.BAD_INPUT if replaced else Verdict.UNKNOWN


def is_about_content(text: str) -> bool:
    """Whether a denial is of what was asked for: no member's prompt may pause a host for everyone."""
    return _CONTENT.search(text.lower()) is not None


def is_bare(text: str) -> bool:
    """Whether a 404 says nothing but that: so does any web server for any address, and it proves nothing."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip() in ("", "not found", "404", "404 not found")


def told(value: object) -> str:
    """What *value* tells, without the member's inputs that validation errors echo."""
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        return "; ".join(filter(None, map(told, value)))
    if isinstance(value, dict):
        return told([value.get(key) for key in TELLING])
    return ""


def short(text: str) -> str:
    """A host's words for the log: the signatures of links cut off."""
    return re.sub(r"(https?://[^\s?\"']+)\?[^\s\"']*", r"\1?...", text)[:LONGEST_TEXT]

"""What a host's words for a failure come to. The hosts resell the same models and use the same words."""

import logging
import re
from enum import StrEnum

log = logging.getLogger(__name__)

LONGEST_TEXT = 300
LARGEST = 10**18  # no code is a larger number
CODE = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.\-][A-Za-z0-9]+)*")
LONGEST_CODE = 40
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


def told(value: object, *, in_codes: bool = False) -> str:
    """What *value* tells, without the member's inputs that validation errors echo; with *in_codes* no prose either."""
    match value:
        case str():
            return value if not in_codes or _is_code(value) else ""
        case int() | float():
            return str(value) if abs(value) < LARGEST else ""
        case list():
            return "; ".join(filter(None, (told(each, in_codes=in_codes) for each in value)))
        case dict():
            return told([value.get(key) for key in TELLING], in_codes=in_codes)
        case _:
            return ""


def _is_code(text: str) -> bool:
    return len(text) <= LONGEST_CODE and CODE.fullmatch(text) is not None


def in_short(*values: object) -> str:
    """What a host says of a failure, for the log: its codes, and how we read its prose.

    The prose itself may quote a prompt in any way, so it is logged at DEBUG only.
    """
    prose = told(list(values))
    if prose:
        log.debug("A host says: %s", prose[:LONGEST_TEXT], extra={"event": "host_said"})
    verdict = classify_text(prose)
    read = "" if verdict is Verdict.UNKNOWN else f"(reads as {verdict})"
    return " ".join(filter(None, (told(list(values), in_codes=True), read)))

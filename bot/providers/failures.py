"""Classifies the error texts of providers. They resell the same models and share the same wording."""

import logging
import re
from enum import StrEnum

log = logging.getLogger(__name__)

MAX_TEXT = 300
MAX_NUMBER = 10**18  # error codes are smaller
CODE = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.\-][A-Za-z0-9]+)*")
MAX_CODE = 40
TEXT_KEYS = (
    "type", "code", "error_code", "message", "error_message", "msg", "reason", "error", "detail", "field", "loc",
)  # fmt: skip


class Verdict(StrEnum):
    """Class of a failure, derived from its text."""

    REFUSED = "refused"
    TRANSIENT = "transient"
    BAD_INPUT = "bad_input"
    UNKNOWN = "unknown"


# Neither the providers' documentation nor their clients show a refusal: these words are Google's and its resellers'.
_OPTION_NAMES = re.compile(
    r"safety tolerance|case.sensitive|no images? ?(urls?|(was |were )?(provided|given|supplied))"
)
_VERDICTS = (
    (Verdict.REFUSED, r"safety|policy|prohibited|moderat|nsfw|blocked|sensitive|no image|could not generate"),
    (Verdict.TRANSIENT, r"time(d )?.?out|overloaded|capacity|unavailable|\b503\b|\b429\b|exhausted"),
    (Verdict.BAD_INPUT, r"invalid|validation|must be|dimension|(fetch|download)\w* failed|failed to (fetch|download)"),
)
# "Blocked" and "prohibited" are also said of accounts: a denied request needs clearer words to count as a refusal.
_CONTENT = re.compile(r"content.polic|safety|moderat|nsfw")


def classify_text(text: str) -> Verdict:
    """Classify a failure by its text, ignoring the names of request options that it mentions."""
    words = re.sub(r"[_\s]+", " ", text.lower())
    remaining, removed = _OPTION_NAMES.subn("", words)
    for verdict, pattern in _VERDICTS:
        if re.search(pattern, remaining):
            return verdict
    return Verdict.BAD_INPUT if removed else Verdict.UNKNOWN


def is_about_content(text: str) -> bool:
    """Return whether a denial concerns the prompt or pictures: such a denial must not pause the provider."""
    return _CONTENT.search(text.lower()) is not None


def is_bare_not_found(text: str) -> bool:
    """Return whether a 404 says only "not found": any web server says so of any address, so it proves nothing."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip() in ("", "not found", "404", "404 not found")


def extract_text(value: object, *, codes_only: bool = False) -> str:
    """Return the text in *value*, without the member's inputs that validation errors echo; *codes_only* omits prose."""
    match value:
        case str():
            return value if not codes_only or _is_code(value) else ""
        case int() | float():
            return str(value) if abs(value) < MAX_NUMBER else ""
        case list():
            return "; ".join(filter(None, (extract_text(each, codes_only=codes_only) for each in value)))
        case dict():
            return extract_text([value.get(key) for key in TEXT_KEYS], codes_only=codes_only)
        case _:
            return ""


def _is_code(text: str) -> bool:
    return len(text) <= MAX_CODE and CODE.fullmatch(text) is not None


def summarize(*values: object) -> str:
    """Return a failure's summary for the log: the provider's codes and the `Verdict` on its prose.

    The prose itself may quote the prompt, so it is logged at DEBUG only.
    """
    prose = extract_text(list(values))
    if prose:
        log.debug("Error text of a provider: %s", prose[:MAX_TEXT], extra={"event": "host_said"})
    verdict = classify_text(prose)
    suffix = "" if verdict is Verdict.UNKNOWN else f"(reads as {verdict})"
    return " ".join(filter(None, (extract_text(list(values), codes_only=True), suffix)))

"""Parses the JSON of providers: unknown fields are ignored, implausible amounts of money are read as None."""

import logging
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import from_json

from bot.core.errors import AnswerUnreadable

log = logging.getLogger(__name__)

# The keys of an output that hold pictures, in the order they are shown, and the keys of an entry that hold its URL.
PICTURE_KEYS = ("image", "images", "outputs", "image_urls", "image_url")
URL_KEYS = ("url", "uri", "href")
OTHER_TYPES = (
    "text",
    "video",
    "audio",
    "json",
    "application",
)  # prefixes of an entry's `type`; image types vary too much
URL = re.compile(r"https?://\S", re.IGNORECASE)

NAME = re.compile(r"[A-Za-z_][\w\-]{0,18}", re.ASCII)
MAX_KEYS = 40
MAX_SHAPE = 1500  # characters
MAX_DEPTH = 5


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


W = TypeVar("W", bound=Wire)


def parse(model: type[W], body: bytes) -> W | None:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None


def read_json(body: bytes) -> Any:
    """Parse *body*. Raises `AnswerUnreadable` for broken JSON, `ValueError` for anything else, such as HTML."""
    try:
        return from_json(body)
    except ValueError:
        if not body.lstrip().startswith((b"{", b"[")):
            raise
    raise AnswerUnreadable("broken JSON", shape="broken JSON")


def _amount(value: object, *, maximum: int, minimum: int = 0) -> Decimal | None:
    """Read an amount of money from a number or a text; None if it is implausible."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):  # ValueError: a number of thousands of digits
        return None
    return amount if amount.is_finite() and minimum <= amount < maximum else None


Dollars = Annotated[Decimal | None, BeforeValidator(partial(_amount, maximum=1_000_000))]
SignedAmount = Annotated[
    Decimal | None, BeforeValidator(partial(_amount, maximum=10**12, minimum=-(10**12)))
]  # dollars or cents


def micro_usd(dollars: Decimal | None, *, rounding: str) -> int | None:
    return None if dollars is None else int((dollars * 1_000_000).to_integral_value(rounding))


def status_of(value: object) -> str:
    """Return a provider's status word in lower case, "" if there is none."""
    return value.strip().lower() if isinstance(value, str) else ""


# --- pictures


def read_pictures(output: object) -> tuple[str, ...] | None:
    """Return the picture URLs in a run's output without duplicates: () if it has no entries, None if none is readable.

    Every form that a provider or its clients have shown is read; entries that are not URLs are left out.
    """
    entries = list(_entries(output))
    urls = tuple(dict.fromkeys(filter(None, entries)))
    if None in entries and urls:
        _warn_unreadable(shape(output))
    return urls if urls or not entries else None


def _entries(value: object) -> Iterator[str | None]:
    """Yield the URLs in *value*, and None for each entry that is not one."""
    match value:
        case None:
            return
        case str():
            if text := value.strip():
                yield text if URL.match(text) else None
        case list():
            for each in value:
                yield from _entries(each)
        case dict():
            yield from _entry(value)
        case _:
            yield None


def _entry(entry: dict[str, Any]) -> Iterator[str | None]:
    kind = entry.get("type")
    if isinstance(kind, str) and kind.lower().startswith(OTHER_TYPES):
        return
    if candidates := [entry[key] for key in URL_KEYS if entry.get(key)]:
        yield next(filter(None, _entries(candidates)), None)  # one picture, whichever key holds its URL
        return
    known = [key for key in (*PICTURE_KEYS, *URL_KEYS) if key in entry]
    if entry and not known:
        yield None
    for key in known:
        yield from _entries(entry[key])


@lru_cache(maxsize=256)  # logs each form once
def _warn_unreadable(form: str) -> None:
    log.warning("A result holds entries that cannot be read: %s", form, extra={"event": "answer_unreadable"})


def shape(value: object, *, depth: int = 0) -> str:
    """Describe *value* for the log by its keys and types, without any values."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case dict() if depth < MAX_DEPTH:
            keys = list(value)[:MAX_KEYS]
            fields = ", ".join(f"{as_name(key)}: {shape(value[key], depth=depth + 1)}" for key in keys)
            return f"{{{fields}}}"[:MAX_SHAPE]
        case list() if depth < MAX_DEPTH:
            elements = " | ".join(dict.fromkeys(shape(each, depth=depth + 1) for each in value[:MAX_KEYS]))
            return f"[{elements}]"[:MAX_SHAPE]
        case _:
            return "…"


def as_name(text: str) -> str:
    """Return *text* if it looks like a field or status name, else an ellipsis: it may be a member's words."""
    return text if NAME.fullmatch(text) else "…"

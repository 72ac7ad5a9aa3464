"""Reads what hosts write: more than we know is ignored, money that makes no sense is no money."""

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

# Where pictures stand in an output, in the order they are shown; and where an entry has its address.
HOLDERS = ("image", "images", "outputs", "image_urls", "image_url")
ADDRESSES = ("url", "uri", "href")
OTHER_KINDS = ("text", "video", "audio", "json", "application")  # an entry's `type`; image types have many words
ADDRESS = re.compile(r"https?://\S", re.IGNORECASE)

NAME = re.compile(r"[A-Za-z_][\w\-]{0,18}", re.ASCII)
MOST_KEYS = 40
MOST_SHAPE = 1500  # characters
DEEPEST = 5


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


W = TypeVar("W", bound=Wire)


def parse(model: type[W], body: bytes) -> W | None:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None


def read_json(body: bytes) -> Any:
    """What *body* says; `AnswerUnreadable` for broken JSON, `ValueError` for a page of something else."""
    try:
        return from_json(body)
    except ValueError:
        if not body.lstrip().startswith((b"{", b"[")):
            raise
    raise AnswerUnreadable("broken JSON", shape="broken JSON")


def _sum(value: object, *, most: int, least: int = 0) -> Decimal | None:
    """A sum of money however it is written; None rather than a failure where it makes no sense."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):  # ValueError: a number of thousands of digits
        return None
    return amount if amount.is_finite() and least <= amount < most else None


Dollars = Annotated[Decimal | None, BeforeValidator(partial(_sum, most=1_000_000))]
Wealth = Annotated[Decimal | None, BeforeValidator(partial(_sum, most=10**12, least=-(10**12)))]  # cents, too


def micro_usd(dollars: Decimal | None, *, rounding: str) -> int | None:
    return None if dollars is None else int((dollars * 1_000_000).to_integral_value(rounding))


def status_word(value: object) -> str:
    """A host's word for where something stands, in lower case; empty where there is none."""
    return value.strip().lower() if isinstance(value, str) else ""


# --- pictures


def read_pictures(output: object) -> tuple[str, ...] | None:
    """The pictures' addresses in a run's output, each once; empty when it holds none, None when nothing is readable.

    Read entry by entry, in every form that a host or its clients have shown; what is no address is left out.
    """
    found = list(_entries(output))
    urls = tuple(dict.fromkeys(filter(None, found)))
    if None in found and urls:
        _wonder(shape(output))
    return urls if urls or not found else None


def _entries(value: object) -> Iterator[str | None]:
    """The addresses in *value*, and None for each entry that is something but no address."""
    match value:
        case None:
            return
        case str():
            if text := value.strip():
                yield text if ADDRESS.match(text) else None
        case list():
            for each in value:
                yield from _entries(each)
        case dict():
            yield from _entry(value)
        case _:
            yield None


def _entry(entry: dict[str, Any]) -> Iterator[str | None]:
    kind = entry.get("type")
    if isinstance(kind, str) and kind.lower().startswith(OTHER_KINDS):
        return
    if addresses := [entry[key] for key in ADDRESSES if entry.get(key)]:
        yield next(filter(None, _entries(addresses)), None)  # one picture, however many names its address has
        return
    known = [key for key in (*HOLDERS, *ADDRESSES) if key in entry]
    if entry and not known:
        yield None
    for key in known:
        yield from _entries(entry[key])


@lru_cache(maxsize=256)  # once for each form
def _wonder(form: str) -> None:
    log.warning("A host's result holds more than we can read: %s", form, extra={"event": "answer_unreadable"})


def shape(value: object, *, depth: int = 0) -> str:
    """The form of *value*: keys and types, no values, for the log."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case dict() if depth < DEEPEST:
            keys = list(value)[:MOST_KEYS]
            told = ", ".join(f"{as_name(key)}: {shape(value[key], depth=depth + 1)}" for key in keys)
            return f"{{{told}}}"[:MOST_SHAPE]
        case list() if depth < DEEPEST:
            told = " | ".join(dict.fromkeys(shape(each, depth=depth + 1) for each in value[:MOST_KEYS]))
            return f"[{told}]"[:MOST_SHAPE]
        case _:
            return "…"


def as_name(text: str) -> str:
    """*text* if it is a name as fields and states have them, else an ellipsis: it may be a member's words."""
    return text if NAME.fullmatch(text) else "…"

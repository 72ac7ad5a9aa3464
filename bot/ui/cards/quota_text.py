"""Texts for limits, remaining amounts, bonuses and refusals, shared by all cards. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.core.errors import UserError
from bot.core.quota import Allowance, Amount, Scope, Unit
from bot.core.windows import Window
from bot.ui.cards.components import sentence
from bot.ui.cards.texts import Words, relative

QUOTA, BLOCKED, HOUSE = "quota.", "blocked.", "house."
BY_OPERATOR = frozenset({Scope.DIRECT, Scope.CAP, Scope.HOST})
CHANNEL_ERRORS = frozenset({"blocked.channel", "house.channel", "house.denied", "house.resolution", "house.count"})


# --- limits


def amount(words: Words, unit: str, number: int) -> str:
    """`3 pictures`, `$0.40`, `2 jobs`."""
    match Unit(unit):
        case Unit.IMAGES:
            return words.say("card.asked", count=number)
        case Unit.JOBS:
            return words.say("limits.jobs", count=number)
        case Unit.MICRO_USD:
            return words.money(number)


def per(words: Words, unit: str, number: int, *, window: Window | None) -> str:
    """`10 pictures a day`, `$5.00 in total`; jobs have no window."""
    text = amount(words, unit, number)
    return text if window is None else words.say("limits.per", amount=text, each=words.say(f"limits.each.{window}"))


def name(words: Words, scope: Scope, unit: str, *, window: Window | None) -> str:
    """A limit's name: `This server · spending this month`."""
    whose, what = words.say(f"limits.whose.{scope}"), words.say(f"limits.what.{unit}")
    if window is None:
        return words.say("limits.name_jobs", whose=whose, what=what)
    return words.say("limits.name", whose=whose, what=what, now=words.say(f"limits.now.{window}"))


def left(words: Words, allowance: Allowance, *, price: int) -> str:
    """`3 pictures left this week`; empty for a limit without a window.

    What is left of a limit in dollars is in pictures of *price* micro-dollars, so that the unit stays the same from
    card to card, whichever limit is reached first.
    """
    if allowance.window is None:
        return ""
    now = words.say(f"limits.now.{allowance.window}")
    if allowance.unit == Unit.MICRO_USD and not price:
        return words.say("charge.left_money", amount=words.money(allowance.left), now=now)
    pictures = allowance.left // price if allowance.unit == Unit.MICRO_USD else allowance.left
    return words.say("charge.left", count=pictures, now=now)


def sums(words: Words, both: Amount) -> str:
    """`5 pictures · $2.00`; a part that is zero is left out."""
    parts = [amount(words, Unit.IMAGES, both.images)] if both.images else []
    return " · ".join([*parts, words.money(both.micro_usd)] if both.micro_usd else parts)


def bonus(words: Words, both: Amount) -> str:
    """`bonus: 5 pictures · $2.00`; empty if it is zero."""
    return words.say("charge.bonus", amount=sums(words, both)) if both != Amount() else ""


# --- refusals


def is_limit(error: UserError) -> bool:
    return error.key.startswith(QUOTA)


def is_channel_error(error: UserError) -> bool:
    """Whether the request may be accepted in another channel of the server."""
    return error.key in CHANNEL_ERRORS or error.values.get("scope") == Scope.CHANNEL


def refusal_text(words: Words, error: UserError, *, outside: bool) -> str:
    """The reason, what is left, when it resets and who can help. *outside*: no server's admins can change it."""
    if is_limit(error):
        parts = _over_limit(words, error.values, outside=outside)
    elif error.key.startswith(BLOCKED):
        parts = _blocked(words, error, outside=outside)
    elif error.key.startswith(HOUSE):
        parts = _server_settings(words, error)
    elif error.key == "place.permissions":
        parts = _permissions(words, error.values)
    elif error.key == "price.changed":
        parts = _price_changed(words, error.values)
    elif error.key == "option.absent" and not error.values["has"]:
        parts = iter([sentence(words, "error.option.nowhere", {"option": error.values["option"]})])
    else:
        parts = iter([sentence(words, f"error.{error.key}", error.values, kind=error.key)])
    return " ".join(each for each in parts if each)


def _over_limit(words: Words, values: Mapping[str, Any], *, outside: bool) -> Iterator[str]:
    scope, unit, window = Scope(values["scope"]), Unit(values["unit"]), values["window"]
    limit = per(words, unit, values["limit"], window=window)
    if unit is Unit.JOBS:
        yield words.say(f"error.quota.jobs.{scope}", limit=limit)
    else:
        remains = amount(words, unit, values["left"])
        yield words.say(f"error.quota.asks_{unit}", asked=amount(words, unit, values["asked"]))
        yield words.say(f"error.quota.{scope}", limit=limit, left=remains)
        yield _resets(words, values["resets_at"])
        if values["bonus"]:
            yield words.say("error.quota.bonus", count=values["bonus"])
        if values["left"] or values["bonus"]:
            yield words.say(f"error.quota.fewer_{unit}")
    if values.get("channels"):
        yield words.say("error.quota.elsewhere", channels=mentions(words, values["channels"]))
    yield words.say("error.help.operator" if outside or scope in BY_OPERATOR else "error.help.quota")


def _resets(words: Words, resets_at: int | None) -> str:
    if resets_at is None:
        return words.say("error.quota.never")
    return words.say("error.quota.again", resets_at=relative(resets_at))


def _blocked(words: Words, error: UserError, *, outside: bool) -> Iterator[str]:
    values: Mapping[str, Any] = error.values
    when = relative(values["until_at"]) if "until_at" in values else ""
    yield words.say(f"error.{error.key}", channels=mentions(words, values.get("channels", ())), when=when)
    yield words.say("error.help.operator" if outside else "error.help.quota")


def _server_settings(words: Words, error: UserError) -> Iterator[str]:
    values: dict[str, Any] = dict(error.values)
    channels: Sequence[int] = values.pop("channels", ())
    match error.key:
        case "house.channel" | "house.denied":
            yield words.say(f"error.{error.key}", channels=mentions(words, channels))
        case "house.model" if not values["choices"]:
            yield words.say("error.house.no_model")
        case "house.count":
            counts = {each: amount(words, Unit.IMAGES, values[each]) for each in ("limit", "given")}
            yield words.say("error.house.count", **counts)
        case _:
            yield sentence(words, f"error.{error.key}", values)
    if error.key in {"house.resolution", "house.count"} and channels:
        yield words.say("error.house.roomier", channels=mentions(words, channels))
    if error.key != "house.timezone" and not channels:
        yield words.say("error.help.settings")


def _permissions(words: Words, values: Mapping[str, Any]) -> Iterator[str]:
    missing: Sequence[str] = values["missing"]
    names = ", ".join(f"**{words.say(f'permission.{each}')}**" for each in missing)
    yield words.say("error.place.permissions", count=len(missing), permissions=names)
    if values.get("has_private"):
        yield words.say("error.place.private")


def _price_changed(words: Words, values: Mapping[str, Any]) -> Iterator[str]:
    price, quoted = (words.money(values[each], about=values["estimated"]) for each in ("price", "said"))
    yield words.say("error.price.changed", price=price, said=quoted)


def mentions(words: Words, channels: Sequence[int]) -> str:
    """`#pictures or #art`; a general phrase if *channels* is empty."""
    return words.either([f"<#{each}>" for each in channels]) if channels else words.say("error.house.another")

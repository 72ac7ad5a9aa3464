"""Draws the reply of `/status`: image services, speed, queue and limits; for the operator also balances. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from discord import ui

from bot.core.fair_queue import QueueCounts
from bot.ui.cards.components import BLURPLE, YELLOW, Part, box, page, paragraph, small
from bot.ui.cards.escape import show
from bot.ui.cards.texts import Words, moment
from bot.ui.cards.usage import UsageLine, limit_lines

MAX_SERVICES = 4
MAX_MODELS = 10
MAX_NAME_LENGTH = 40  # characters
MAX_LIMITS_LENGTH = 1100  # characters; a message holds 4,000


@dataclass(frozen=True, slots=True)
class Service:
    """An image service. *outage* is credentials, balance, down or None; *since* is in UTC milliseconds."""

    name: str
    outage: str | None = None
    since: int = 0


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """A model, and the seconds within which half and 95 % of its jobs are done; None while that is not known."""

    name: str
    half: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class OperatorFacts:
    """What only the application's owners see: micro-dollars left at each service, None: unknown; and the bot's cap."""

    balances: Sequence[tuple[str, int | None]]
    cap: Sequence[UsageLine]


@dataclass(frozen=True, slots=True)
class Status:
    services: Sequence[Service]
    speeds: Sequence[ModelSpeed]
    here: QueueCounts  # jobs of this server
    everywhere: QueueCounts
    limits: Sequence[UsageLine]  # of this server
    operator: OperatorFacts | None = None


def status(facts: Status, words: Words, *, now: int) -> ui.LayoutView:
    limits = limit_lines(facts.limits, words, now=now, max_length=MAX_LIMITS_LENGTH) or [words.say("usage.none")]
    parts = [
        paragraph(words.say("status.title")),
        paragraph(words.say("status.services"), *(_service(each, words) for each in facts.services[:MAX_SERVICES])),
        paragraph(words.say("status.speeds"), *_speeds(facts.speeds, words)),
        paragraph(words.say("status.jobs"), *_jobs(facts, words)),
        paragraph(words.say("status.limits"), *limits),
        *_operator(facts.operator, words, now=now),
    ]
    troubled = any(each.outage for each in facts.services)
    return page(box(*parts, colour=YELLOW if troubled else BLURPLE))


def _service(service: Service, words: Words) -> str:
    name = _name(service.name)
    if service.outage is None:
        return words.say("status.working", provider=name)
    return words.say(f"status.outage.{service.outage}", provider=name, when=moment(service.since))


def _speeds(speeds: Sequence[ModelSpeed], words: Words) -> list[str]:
    lines = [f"- {_speed(each, words)}" for each in speeds[:MAX_MODELS]]
    hidden = len(speeds) - len(lines)
    return [*lines, small(words.say("status.more_models", count=hidden))] if hidden else lines


def _speed(speed: ModelSpeed, words: Words) -> str:
    name = _name(speed.name)
    if speed.half is None or speed.most is None:
        return words.say("status.speed_unknown", model=name)
    half, most = (max(1, round(each)) for each in (speed.half, speed.most))
    return words.say("status.speed", model=name, half=half, most=most)


def _jobs(facts: Status, words: Words) -> list[str]:
    counted = (("guild", facts.here), ("host", facts.everywhere))
    return [
        words.say("status.queue", whose=words.say(f"limits.whose.{scope}"), waiting=each.waiting, running=each.running)
        for scope, each in counted
    ]


def _operator(facts: OperatorFacts | None, words: Words, *, now: int) -> list[Part]:
    if facts is None:
        return []
    lines = [_balance(name, left, words) for name, left in facts.balances[:MAX_SERVICES]]
    return [paragraph(words.say("status.operator"), *lines, *limit_lines(facts.cap, words, now=now))]


def _balance(name: str, left: int | None, words: Words) -> str:
    if left is None:
        return words.say("status.balance_unknown", provider=_name(name))
    return words.say("status.balance", provider=_name(name), amount=words.money(left))


def _name(name: str) -> str:
    return show(name, max_length=MAX_NAME_LENGTH)

"""Draws the reports of `/quota history`, `/quota top` and `/quota export`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from discord import ui

from bot.core.errors import UserError
from bot.core.quota import Amount, Holder, Kind, Unit
from bot.core.windows import Window
from bot.store.quotas import OPERATOR, Change
from bot.store.reports import Cursor, Entry, Spender
from bot.ui.cards import quota_text
from bot.ui.cards.components import BLURPLE, box, button, page, paragraph, rows, small
from bot.ui.cards.escape import show
from bot.ui.cards.targets import mention
from bot.ui.cards.texts import Words, moment

PAGE_SIZE = 10
MAX_PAGES = 1000
MAX_REASON_LENGTH = 120  # characters
MAX_RULES = 3  # named in one entry
CHANGES, SPENDING = "changes", "spending"
HOLDER_LETTERS: Mapping[Holder | None, str] = {None: "-", Holder.USER: "u", Holder.ROLE: "r", Holder.CHANNEL: "c"}


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A page of the history, encoded in the custom ids of its buttons.

    *start* is the cursor of the first page: entries after it are newer than the report. *number* counts from 0.
    """

    what: str = CHANGES
    holder: Holder | None = None
    subject: int = 0
    start: Cursor | None = None
    number: int = 0

    @property
    def custom_id(self) -> str:
        at, n = self.start or (0, 0)
        return f"q1:history:{self.what[0]}:{HOLDER_LETTERS[self.holder]}{self.subject}:{at:x}:{n:x}:{self.number}"

    @classmethod
    def read(cls, parts: Sequence[str]) -> Self:
        """Parse the parts of a custom id after `q1:history`; `UserError` if they are invalid."""
        try:
            letter, who, at, n, number = parts
            what = {each[0]: each for each in (CHANGES, SPENDING)}[letter]
            holder = {each: name for name, each in HOLDER_LETTERS.items()}[who[:1]]
            query = cls(what, holder, int(who[1:]), (int(at, 16), int(n, 16)), int(number))
        except (ValueError, KeyError):
            raise UserError("button.too_old") from None
        if not 0 <= query.number < MAX_PAGES:
            raise UserError("button.too_old")
        return query


def history(lines: Sequence[str], words: Words, *, query: HistoryQuery, more: bool) -> ui.LayoutView:
    """A page of the history; *lines* come from `change` or `spent`."""
    of = _subject(words, query.holder, query.subject, server=0) if query.holder else ""
    title = " · ".join(each for each in (words.say(f"history.title_{query.what}"), of) if each)
    shown = [f"- {each}" for each in lines] or [words.say("history.none")]
    buttons = []
    if query.number:
        newer = replace(query, number=query.number - 1)
        buttons.append(button(words.say("history.newer"), newer.custom_id))
    if more and query.number + 1 < MAX_PAGES:
        older = replace(query, number=query.number + 1)
        buttons.append(button(words.say("history.older"), older.custom_id))
    return page(box(paragraph(title, *shown), *rows(buttons), colour=BLURPLE))


# --- history of changes


def change(entry: Change, words: Words, *, server: int, timed: bool = True) -> str:
    """One change as a sentence, after its time if *timed*."""
    names = {"who": _actor(words, entry.actor), "whom": _subject(words, entry.holder, entry.subject, server=server)}
    sentence = words.say(f"history.{_key(entry, words)}", **names, **_values(entry, words))
    reason = entry.body.get("reason")
    why = words.say("history.reason", reason=show(str(reason), max_length=MAX_REASON_LENGTH)) if reason else ""
    return " ".join(each for each in (moment(entry.at) if timed else "", sentence, why) if each)


def _key(entry: Change, words: Words) -> str:
    match entry.action:
        case "set" if entry.body.get("amount") is None:
            return "lifted"
        case "grant" if entry.body.get("expires_at") is not None:
            return "grant_until"
        case "reset" if _taken(entry) == Amount():
            return "reset_nothing"
        case "settings":
            key = _setting(entry.body)
            return key if words.knows(f"history.{key}") else "settings"
        case "block" if entry.body.get("until") is not None:
            return "block_until"
        case "set" | "clear" | "grant" | "revoke" | "reset" | "block" | "unblock":
            return entry.action
        case "takedown" | "delete" | "spoiler" | "dismiss" | "strikes":
            return entry.action
    return "changed"


def _setting(body: Mapping[str, Any]) -> str:
    """The text key for a changed setting; it ends in `_none` if a channel was removed."""
    setting = str(body.get("setting", "")).replace(".", "_")
    gone = {"channels_clear": "channel", "alerts": "channel", "log": "channel"}.get(setting)
    return f"setting.{setting}_none" if gone and not body.get(gone) else f"setting.{setting}"


def _values(entry: Change, words: Words) -> Mapping[str, str]:
    body = entry.body
    match entry.action:
        case "set":
            return {"limit": _limit(words, body)}
        case "clear":
            return {"limits": _limits(words, body.get("rules") or [])}
        case "grant" | "revoke":
            until = body.get("expires_at")
            amount = quota_text.amount(words, body["unit"], body["amount"])
            return {"amount": amount, "until": moment(until) if until is not None else ""}
        case "reset":
            return {"amount": quota_text.sums(words, _taken(entry))}
        case "settings":
            return _settings(words, body)
        case "block" if body.get("until") is not None:
            return {"until": moment(body["until"])}
        case "takedown" | "delete" | "spoiler" | "dismiss":
            return {"reference": show(str(body.get("job", ""))[-8:], max_length=20)}
    return {}


def _limit(words: Words, rule: Mapping[str, Any]) -> str:
    """`10 pictures a day`, or `pictures a day` without an amount."""
    window = Window(rule["window"]) if rule.get("window") else None
    if rule.get("amount") is not None:
        return quota_text.per(words, rule["unit"], rule["amount"], window=window)
    each = words.say(f"limits.each.{window}") if window else ""
    return " ".join(part for part in (words.say(f"limits.what.{Unit(rule['unit'])}"), each) if part)


def _limits(words: Words, rules: Sequence[Mapping[str, Any]]) -> str:
    shown = [_limit(words, {**each, "amount": None}) for each in rules[:MAX_RULES]]
    return ", ".join([*shown, "…"] if len(rules) > MAX_RULES else shown)


def _taken(entry: Change) -> Amount:
    return Amount(**(entry.body.get("taken") or {}).get("total", {}))


def _settings(words: Words, body: Mapping[str, Any]) -> Mapping[str, str]:
    cap = [str(body["resolution"])] if body.get("resolution") else []
    cap += [words.say("card.asked", count=int(body["count"]))] if body.get("count") else []
    return {
        "channel": f"<#{body['channel']}>" if body.get("channel") else "",
        "model": show(str(body.get("model", "")), max_length=60),
        "timezone": show(str(body.get("timezone", "")), max_length=60),
        "before": show(str(body.get("before", "")), max_length=60),
        "limit": " · ".join(cap) or words.say("format.none"),
    }


def _actor(words: Words, actor: int) -> str:
    return words.say("history.operator") if actor == OPERATOR else f"<@{actor}>"


def _subject(words: Words, holder: Holder | None, subject: int, *, server: int) -> str:
    if holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL):
        return mention(holder, subject, words, server=server)
    return words.say("history.server")


# --- history of spending


def spent(entry: Entry, words: Words) -> str:
    """One ended job as a sentence."""
    key = "paid" if entry.kind is Kind.SETTLE else "back"
    sentence = words.say(
        f"history.{key}",
        who=f"<@{entry.user}>",
        channel=f"<#{entry.channel}>",
        pictures=words.say("card.asked", count=entry.images),
        price=words.money(entry.micro_usd),
    )
    bonus = words.say("history.bonus", pictures=words.say("card.asked", count=entry.bonus_images))
    return " ".join(each for each in (moment(entry.at), sentence, bonus if entry.bonus_images else "") if each)


def top(
    spenders: Sequence[Spender], words: Words, *, window: Window, spent: Amount, reserved: Amount
) -> ui.LayoutView:  # fmt: skip
    """The members who spent most in *window*; *spent* and *reserved* are the server's totals."""
    when = words.say(f"limits.now.{window}")
    title = words.say("top.title", when=when)
    if not spenders:
        return page(box(paragraph(title, words.say("top.none", when=when)), colour=BLURPLE))
    lines = [_spender(each, words, place=n, whole=spent) for n, each in enumerate(spenders, start=1)]
    held = words.say("top.held", price=words.money(reserved.micro_usd)) if reserved != Amount() else ""
    whole = words.say(
        "top.sum", pictures=words.say("card.asked", count=spent.images), price=words.money(spent.micro_usd)
    )
    return page(box(paragraph(title, *lines, "", whole, small(held)), colour=BLURPLE))


def _spender(spender: Spender, words: Words, *, place: int, whole: Amount) -> str:
    facts = [words.say("card.asked", count=spender.spent.images), words.money(spender.spent.micro_usd)]
    if whole.micro_usd:
        facts.append(words.say("top.share", percent=round(spender.spent.micro_usd * 100 / whole.micro_usd)))
    if spender.reserved != Amount():
        facts.append(words.say("top.held", price=words.money(spender.reserved.micro_usd)))
    return f"{place}\\. <@{spender.user}>: {' · '.join(facts)}"


# --- export


def exported(words: Words, *, count: int, since: str, until: str, zone: str, file: str | None) -> ui.LayoutView:
    """The message for an export of *count* rows from *since* to *until*, both inclusive; *file* is None for no rows."""
    text = words.say("export.done" if file else "export.none", count=count, since=since, until=until)
    if file is None:
        return page(box(paragraph(words.say("export.title"), text), colour=BLURPLE))
    attached: ui.File[Any] = ui.File(f"attachment://{file}")
    facts = small(words.say("export.zone", timezone=show(zone, max_length=60)))
    return page(paragraph(words.say("export.title"), text, facts), attached)

"""Draws the reports of `/quota history`, `/quota top` and `/quota export`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from discord import ui

from bot.core.errors import UserError
from bot.core.quota import Amount, Holder, Kind, Unit
from bot.core.windows import Window
from bot.store.quotas import OPERATOR, Change
from bot.store.reports import Cursor, Entry, Spender
from bot.ui.cards import quota as quota_cards
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
    key = _key(entry, words)
    of_holder = f"{key}_{entry.holder}"
    key = of_holder if words.knows(f"history.{of_holder}") else key
    sentence = words.say(f"history.{key}", **names, **_values(entry, words))
    reason = entry.body.get("reason")
    why = words.say("history.reason", reason=show(str(reason), max_length=MAX_REASON_LENGTH)) if reason else ""
    return _line(entry.at if timed else None, sentence, why)


def _line(at: int | None, *sentences: str) -> str:
    said = " ".join(each for each in sentences if each)
    return said if at is None else f"{moment(at)} · {said}"


def _key(entry: Change, words: Words) -> str:
    match entry.action:
        case "set":
            return _set_key(entry.body)
        case "grant" if entry.body.get("expires_at") is not None:
            return "grant_until"
        case "reset" if _taken(entry) == Amount():
            return "reset_nothing"
        case "settings":
            key = _setting(entry.body)
            return key if words.knows(f"history.{key}") else "settings"
        case "block" if entry.body.get("until") is not None:
            return "block_until"
        case "clear" | "grant" | "revoke" | "reset" | "block" | "unblock":
            return entry.action
        case "takedown" | "delete" | "spoiler" | "dismiss" | "strikes":
            return entry.action
    return "changed"


def _set_key(body: Mapping[str, Any]) -> str:
    """`set` or `lifted`, and whether it is known what applied before: an entry of an older version does not say."""
    known = "before" in body or "inherited" in body
    if body.get("amount") is None:
        return "lifted" if _before(body) is None else "lifted_was"
    return "set" if not known else "set_first" if _before(body) is None else "set_was"


def _before(body: Mapping[str, Any]) -> int | None:
    """The amount that applied before a limit was set: of the rule it replaced, or inherited; None for no limit."""
    amount: int | None = body["before"] if "before" in body else body.get("inherited")
    return amount


def _setting(body: Mapping[str, Any]) -> str:
    """The text key for a changed setting; it ends in `_none` if a channel was removed."""
    setting = str(body.get("setting", "")).replace(".", "_")
    if setting == "alerts" and body.get("channel") and body.get("before"):
        return "setting.alerts_moved"
    gone = {"channels_clear": "channel", "alerts": "channel", "log": "channel"}.get(setting)
    return f"setting.{setting}_none" if gone and not body.get(gone) else f"setting.{setting}"


def _values(entry: Change, words: Words) -> Mapping[str, object]:
    body = entry.body
    match entry.action:
        case "set":
            before = _before(body)
            was = "" if before is None else quota_cards.amount(words, Unit(body["unit"]), before)
            return {"limit": _limit(words, body), "what": _what(words, body), "before": was}
        case "clear":
            rules = body.get("rules") or []
            return {"count": len(rules), "limits": _limits(words, rules)}
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
    """`10 pictures per day`, or `no limit on pictures per day`."""
    if rule.get("amount") is None:
        return words.say("history.unlimited", what=_what(words, rule))
    return quota_text.per(words, rule["unit"], rule["amount"], window=_window(rule))


def _what(words: Words, rule: Mapping[str, Any]) -> str:
    return quota_cards.what(words, Unit(rule["unit"]), _window(rule))


def _window(rule: Mapping[str, Any]) -> Window | None:
    return Window(rule["window"]) if rule.get("window") else None


def _limits(words: Words, rules: Sequence[Mapping[str, Any]]) -> str:
    shown = [_limit(words, each) for each in rules[:MAX_RULES]]
    more = len(rules) - MAX_RULES
    return ", ".join([*shown, words.say("quota.more", count=more)] if more > 0 else shown)


def _taken(entry: Change) -> Amount:
    return Amount(**(entry.body.get("taken") or {}).get("total", {}))


def _settings(words: Words, body: Mapping[str, Any]) -> Mapping[str, str]:
    alerts = body.get("setting") == "alerts"
    return {
        "channel": f"<#{body['channel']}>" if body.get("channel") else "",
        "model": show(str(body.get("model", "")), max_length=60),
        "name": words.say(f"panel.{body['name']}") if words.knows(f"panel.{body.get('name')}") else "",
        "value": str(body.get("value", "")),
        "style": show(str(body.get("style", "")), max_length=60),
        "timezone": show(str(body.get("timezone", "")), max_length=60),
        "before": f"<#{body.get('before')}>" if alerts else show(str(body.get("before", "")), max_length=60),
        "limit": ", ".join(_caps(words, body)),
    }


def _caps(words: Words, body: Mapping[str, Any]) -> Iterator[str]:
    """`resolution: 4K → 1K` for each limit of a channel that was changed; an older entry does not have the first."""
    before = body.get("before")
    for name in ("resolution", "count"):
        if name in body:
            values = [before.get(name), body[name]] if isinstance(before, Mapping) else [body[name]]
            shown = [show(str(each), max_length=20) if each else words.say("settings.no_cap") for each in values]
            yield words.say(f"history.cap.{name}", change=" → ".join(shown))


def _actor(words: Words, actor: int) -> str:
    return words.say("history.operator") if actor == OPERATOR else f"<@{actor}>"


def _subject(words: Words, holder: Holder | None, subject: int, *, server: int) -> str:
    if holder is Holder.ROLE and subject == server:
        return words.say("history.everyone")
    if holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL):
        return mention(holder, subject, words, server=server)
    return words.say("history.server")


# --- history of spending


def spent(entry: Entry, words: Words) -> str:
    """One ended job as a sentence, after its time."""
    refunded = "back" if entry.reason else "back_cancelled"  # only a cancelled job ends without a reason
    sentence = words.say(
        f"history.{'paid' if entry.kind is Kind.SETTLE else refunded}",
        who=f"<@{entry.user}>",
        channel=f"<#{entry.channel}>",
        pictures=words.say("card.asked", count=entry.images),
        count=entry.images,
        price=words.money(entry.micro_usd),
    )
    bonus = words.say("history.bonus", pictures=words.say("card.asked", count=entry.bonus_images))
    return _line(entry.at, sentence, bonus if entry.bonus_images else "")


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

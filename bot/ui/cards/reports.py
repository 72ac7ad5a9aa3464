"""Draws what admins read of the books: who changed what, who spent what, who spent most, what was exported. Pure."""

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

ON_A_PAGE = 10
MOST_PAGES = 1000
MOST_REASON = 120  # characters
MOST_RULES = 3  # named in one entry
CHANGES, SPENDING = "changes", "spending"
LETTERS: Mapping[Holder | None, str] = {None: "-", Holder.USER: "u", Holder.ROLE: "r", Holder.CHANNEL: "c"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One page of the history, and all that its buttons have to know. Entries newer than *start* came later."""

    what: str = CHANGES
    holder: Holder | None = None
    subject: int = 0
    start: Cursor | None = None
    number: int = 0

    @property
    def custom_id(self) -> str:
        at, n = self.start or (0, 0)
        return f"q1:history:{self.what[0]}:{LETTERS[self.holder]}{self.subject}:{at:x}:{n:x}:{self.number}"

    @classmethod
    def read(cls, parts: Sequence[str]) -> Self:
        """The page that a button's name, without its first two parts, asks for."""
        try:
            letter, who, at, n, number = parts
            what = {each[0]: each for each in (CHANGES, SPENDING)}[letter]
            holder = {each: name for name, each in LETTERS.items()}[who[:1]]
            asked = cls(what, holder, int(who[1:]), (int(at, 16), int(n, 16)), int(number))
        except (ValueError, KeyError):
            raise UserError("button.too_old") from None
        if not 0 <= asked.number < MOST_PAGES:
            raise UserError("button.too_old")
        return asked


def history(lines: Sequence[str], words: Words, *, asked: Asked, more: bool) -> ui.LayoutView:
    """A page of the history: *lines* as `change` and `spent` say them."""
    of = _whom(words, asked.holder, asked.subject, server=0) if asked.holder else ""
    title = " · ".join(each for each in (words.say(f"history.title_{asked.what}"), of) if each)
    shown = [f"- {each}" for each in lines] or [words.say("history.none")]
    buttons = []
    if asked.number:
        newer = replace(asked, number=asked.number - 1)
        buttons.append(button(words.say("history.newer"), newer.custom_id))
    if more and asked.number + 1 < MOST_PAGES:
        older = replace(asked, number=asked.number + 1)
        buttons.append(button(words.say("history.older"), older.custom_id))
    return page(box(paragraph(title, *shown), *rows(buttons), colour=BLURPLE))


# --- who changed what


def change(one: Change, words: Words, *, server: int) -> str:
    """One change as a sentence."""
    told = {"who": _who(words, one.actor), "whom": _whom(words, one.holder, one.subject, server=server)}
    sentence = words.say(f"history.{_key(one, words)}", **told, **_values(one, words))
    reason = one.body.get("reason")
    why = words.say("history.reason", reason=show(str(reason), most=MOST_REASON)) if reason else ""
    return " ".join(each for each in (moment(one.at), sentence, why) if each)


def _key(one: Change, words: Words) -> str:
    match one.action:
        case "set" if one.body.get("amount") is None:
            return "lifted"
        case "grant" if one.body.get("expires_at") is not None:
            return "grant_until"
        case "reset" if _taken(one) == Amount():
            return "reset_nothing"
        case "settings":
            key = _setting(one.body)
            return key if words.knows(f"history.{key}") else "settings"
        case "set" | "clear" | "grant" | "revoke" | "reset" | "block" | "unblock":
            return one.action
    return "other"


def _setting(body: Mapping[str, Any]) -> str:
    """What of a server's settings was changed; a channel or limit that was taken away reads otherwise."""
    setting = str(body.get("setting", "")).replace(".", "_")
    gone = {"channels_clear": "channel", "alerts": "channel"}.get(setting)
    return f"setting.{setting}_none" if gone and not body.get(gone) else f"setting.{setting}"


def _values(one: Change, words: Words) -> Mapping[str, str]:
    body = one.body
    match one.action:
        case "set":
            return {"limit": _limit(words, body)}
        case "clear":
            return {"limits": _limits(words, body.get("rules") or [])}
        case "grant" | "revoke":
            until = body.get("expires_at")
            amount = quota_text.amount(words, body["unit"], body["amount"])
            return {"amount": amount, "until": moment(until) if until is not None else ""}
        case "reset":
            return {"amount": quota_text.sums(words, _taken(one))}
        case "settings":
            return _settings(words, body)
    return {}


def _limit(words: Words, rule: Mapping[str, Any]) -> str:
    """`10 pictures a day`, and where no limit is named `pictures a day`."""
    window = Window(rule["window"]) if rule.get("window") else None
    if rule.get("amount") is not None:
        return quota_text.per(words, rule["unit"], rule["amount"], window=window)
    each = words.say(f"limits.each.{window}") if window else ""
    return " ".join(part for part in (words.say(f"limits.what.{Unit(rule['unit'])}"), each) if part)


def _limits(words: Words, rules: Sequence[Mapping[str, Any]]) -> str:
    told = [_limit(words, {**each, "amount": None}) for each in rules[:MOST_RULES]]
    return ", ".join([*told, "…"] if len(rules) > MOST_RULES else told)


def _taken(one: Change) -> Amount:
    return Amount(**(one.body.get("taken") or {}).get("total", {}))


def _settings(words: Words, body: Mapping[str, Any]) -> Mapping[str, str]:
    cap = [str(body["resolution"])] if body.get("resolution") else []
    cap += [words.say("card.asked", count=int(body["count"]))] if body.get("count") else []
    return {
        "channel": f"<#{body['channel']}>" if body.get("channel") else "",
        "model": show(str(body.get("model", "")), most=60),
        "timezone": show(str(body.get("timezone", "")), most=60),
        "before": show(str(body.get("before", "")), most=60),
        "limit": " · ".join(cap) or words.say("format.none"),
    }


def _who(words: Words, actor: int) -> str:
    return words.say("history.operator") if actor == OPERATOR else f"<@{actor}>"


def _whom(words: Words, holder: Holder | None, subject: int, *, server: int) -> str:
    if holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL):
        return mention(holder, subject, words, server=server)
    return words.say("history.server")


# --- who spent what


def spent(one: Entry, words: Words) -> str:
    """One ended job as a sentence."""
    key = "paid" if one.kind is Kind.SETTLE else "back"
    told = words.say(
        f"history.{key}",
        who=f"<@{one.user}>",
        channel=f"<#{one.channel}>",
        pictures=words.say("card.asked", count=one.images),
        price=words.money(one.micro_usd),
    )
    bonus = words.say("history.bonus", pictures=words.say("card.asked", count=one.bonus_images))
    return " ".join(each for each in (moment(one.at), told, bonus if one.bonus_images else "") if each)


def top(
    spenders: Sequence[Spender], words: Words, *, window: Window, spent: Amount, reserved: Amount
) -> ui.LayoutView:  # fmt: skip
    """Who spent most in *window*; *spent* and *reserved* are the whole server's."""
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


def _spender(one: Spender, words: Words, *, place: int, whole: Amount) -> str:
    facts = [words.say("card.asked", count=one.spent.images), words.money(one.spent.micro_usd)]
    if whole.micro_usd:
        facts.append(words.say("top.share", percent=round(one.spent.micro_usd * 100 / whole.micro_usd)))
    if one.reserved != Amount():
        facts.append(words.say("top.held", price=words.money(one.reserved.micro_usd)))
    return f"{place}\\. <@{one.user}>: {' · '.join(facts)}"


# --- every row of a period


def exported(words: Words, *, count: int, since: str, until: str, zone: str, file: str | None) -> ui.LayoutView:
    """What *file* holds; None where there was nothing to put into one. *since* and *until* are days, both included."""
    told = words.say("export.done" if file else "export.none", count=count, since=since, until=until)
    if file is None:
        return page(box(paragraph(words.say("export.title"), told), colour=BLURPLE))
    attached: ui.File[Any] = ui.File(f"attachment://{file}")
    facts = small(words.say("export.zone", timezone=show(zone, most=60)))
    return page(paragraph(words.say("export.title"), told, facts), attached)

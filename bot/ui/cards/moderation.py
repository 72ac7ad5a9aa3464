"""Draws what moderators see: reports, what was done about them, a member's record, and the list of words. Pure."""

from collections.abc import Sequence
from typing import Any

import discord
from discord import ui

from bot.core.moderation import STRIKES_TO_BLOCK
from bot.store.complaints import Complaint
from bot.store.moderation import MemberRecord
from bot.ui.cards.components import BLURPLE, DANGER, GREY, YELLOW, box, button, page, paragraph, quoted, rows, small
from bot.ui.cards.escape import show
from bot.ui.cards.reports import change
from bot.ui.cards.texts import Words, moment

MAX_REASON_LENGTH = 300  # characters
MAX_COMPLAINTS = 5
MAX_WORDS_LENGTH = 3000


def moderation_button(job_id: str, action: str) -> str:
    """The custom id of a moderator's button or a report's form; `m1` is the version of the format."""
    return f"m1:{job_id}:{action}"


def report_form(words: Words, job_id: str) -> ui.Modal:
    """The form that asks why a result is reported; its field is `reason`."""
    form = ui.Modal(title=words.say("form.report"), custom_id=moderation_button(job_id, "send"), timeout=None)
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id="reason", style=discord.TextStyle.paragraph, min_length=1, max_length=MAX_REASON_LENGTH
    )
    form.add_item(ui.Label(text=words.say("form.reason"), description=words.say("form.reason_about"), component=field))
    form.stop()
    return form


def report(words: Words, complaint: Complaint, *, job_id: str, url: str, requester: int) -> ui.LayoutView:
    """A new report in the log channel."""
    body = paragraph(
        words.say("moderation.report"),
        words.say("moderation.reported", url=url, requester=f"<@{requester}>", reporter=f"<@{complaint.reporter}>"),
        quoted(complaint.reason, max_length=MAX_REASON_LENGTH * 2),
    )
    buttons = [
        button(words.say("button.takedown"), moderation_button(job_id, "takedown"), style=DANGER),
        button(words.say("button.dismiss"), moderation_button(job_id, "dismiss")),
    ]
    return page(box(body, *rows(buttons), colour=YELLOW))


def settled(words: Words, done: str, complaints: Sequence[Complaint]) -> ui.LayoutView:
    """What replaces a report: *done*, the sentence for what a moderator did, and the reports about the result."""
    lines = [
        words.say("moderation.complaint", reporter=f"<@{each.reporter}>", reason=show(each.reason, max_length=200))
        for each in complaints[:MAX_COMPLAINTS]
    ]
    return page(box(paragraph(done, *lines), colour=GREY))


def settled_before(words: Words, by: int | None) -> ui.LayoutView:
    """Tells a moderator that another one was faster."""
    text = words.say("moderation.gone") if by is None else words.say("moderation.settled_by", who=f"<@{by}>")
    return page(box(paragraph(text), colour=GREY))


def ask_takedown(words: Words, *, job_id: str, requester: int) -> ui.LayoutView:
    asks = paragraph(words.say("moderation.ask", requester=f"<@{requester}>"))
    yes = button(words.say("button.takedown"), moderation_button(job_id, "takedown"), style=DANGER)
    return page(box(asks, *rows([yes]), colour=GREY))


def told(words: Words, *, server: str) -> ui.LayoutView:
    """The direct message to the member whose result was taken down."""
    return page(box(paragraph(words.say("moderation.told", server=show(server, max_length=100))), colour=GREY))


def line(text: str) -> ui.LayoutView:
    """One line in the log channel, or an answer of one sentence."""
    return page(box(paragraph(text), colour=BLURPLE))


def member_record(words: Words, record: MemberRecord, *, user: int, server: int) -> ui.LayoutView:
    title = words.say("moderation.record", who=f"<@{user}>")
    strikes = [
        words.say(f"moderation.strike.{each.reason}", at=moment(each.at), until=moment(each.expires_at))
        for each in record.strikes[:10]
    ]
    count = words.say("moderation.strikes", count=len(record.strikes), limit=STRIKES_TO_BLOCK)
    changes = [f"- {change(each, words, server=server)}" for each in record.changes]
    parts = [[title, count, *(f"- {each}" for each in strikes)], [words.say("moderation.done"), *changes]]
    return page(box(*(paragraph(*each) for each in (parts if changes else parts[:1])), colour=BLURPLE))


def word_list(words: Words, entries: Sequence[str], *, done: str = "") -> ui.LayoutView:
    """The list of words of a server, for its admins only."""
    shown, length = [], 0
    for each in entries:
        escaped = show(each, max_length=120)
        length += len(escaped) + 2
        if length > MAX_WORDS_LENGTH:
            break
        shown.append(escaped)
    more = len(entries) - len(shown)
    listed = ", ".join([*shown, words.say("settings.more", count=more)] if more else shown)
    title = words.say("moderation.words")
    about = small(words.say("moderation.words_about"))
    return page(box(paragraph(title, done, listed or words.say("moderation.no_words"), about), colour=BLURPLE))

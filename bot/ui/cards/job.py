"""Draws a job's message from its card. Pure.

Amounts of money come only from the card's `Charge`, which is read from the ledger.

Longer than other files: a card is one drawing, whatever state its job is in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from discord import ui

from bot.core.cards import HIDEABLE, Card, Reply
from bot.core.fair_queue import EXACT_PLACES
from bot.core.jobs import Cancel, State
from bot.core.quota import Amount
from bot.core.references import parse_link
from bot.ui.cards import quota_text
from bot.ui.cards.components import (
    BLURPLE,
    GREEN,
    GREY,
    MAX_PICTURES,
    RED,
    YELLOW,
    Part,
    bold,
    box,
    button,
    job_button,
    page,
    paragraph,
    quoted,
    rows,
    sentence,
    small,
)
from bot.ui.cards.escape import alt_text, show
from bot.ui.cards.job_buttons import CANCELLABLE, buttons, can_hide, done_buttons, links, short_buttons
from bot.ui.cards.texts import Words, discord_url, moment, relative

MAX_PROMPT_LENGTH = 300
MAX_FILES = 3
SHOWN_OPTIONS = ("resolution", "aspect_ratio")
NO_THINKING = "off"
CANCEL_REQUESTED = (Cancel.WANTED, Cancel.ASKED)

SHAPES: Mapping[State, str] = {
    State.ACCEPTED: "waiting",
    State.SUBMITTING: "sending",
    State.UNKNOWN: "unknown",
    State.QUEUED: "queued",
    State.RUNNING: "drawing",
    State.COLLECTING: "collecting",
    State.SUCCEEDED: "done",
    State.FAILED: "failed",
    State.REFUSED: "refused",
    State.CANCELLED: "cancelled",
}
COLOURS: Mapping[str, int] = {
    "unknown": YELLOW,
    "cancelling": YELLOW,
    "failed": RED,
    "refused": RED,
    "cancelled": GREY,
    "deleted": GREY,
    "hidden": GREY,
}


def render(card: Card, words: Words, *, files: Sequence[str] = (), now: int) -> ui.LayoutView:
    """The message for *card* at *now* (UTC milliseconds); *files*: names of the pictures uploaded with it."""
    hidden = card.hidden and card.job.deleted_at is None
    shape = "hidden" if hidden else shape_of(card)
    if shape in ("done", "late"):
        return _with_pictures(card, words, files=files, shape=shape, now=now)
    if not card.private and not hidden and job_ended_without(card):
        return _short(card, words, shape=shape, now=now)
    body_of = _hidden if hidden else _ended if card.job.state.is_final else _active
    body = paragraph(f"### {words.say(f'state.{shape}')}", *body_of(card, words, now))
    facts = (_requester(card, words), "" if hidden else source_link(card, words), details(card, words))
    fine_print = small(*facts, *_money(card, words))
    top = body if hidden else with_before(card, body, words, now=now)
    parts = [top, paragraph(fine_print, _reference(card, words)), *rows(buttons(card, words, now=now))]
    return page(box(*parts, colour=COLOURS.get(shape, BLURPLE)))


def with_before(card: Card, text: ui.TextDisplay[Any], words: Words, *, now: int) -> Part:
    """*text*, for an edit beside the picture that it was made from, as long as the link to that is valid."""
    references = card.job.request.references
    if not references or card.job.deleted_at is not None:
        return text
    first = references[0]
    if (first.expires_at is not None and now >= first.expires_at) or not parse_link(first.url):
        return text
    described = words.say("card.before", count=len(references))
    return ui.Section(text, accessory=ui.Thumbnail(first.url, description=described, spoiler=card.spoiler))


def source_link(card: Card, words: Words) -> str:
    """A link to the message that an edit was made from, where it has one."""
    if card.job.source is None or card.job.deleted_at is not None:
        return ""
    return words.say("card.source", url=discord_url(card.job.source))


def ended_notice(card: Card, words: Words, *, channel_id: int) -> ui.LayoutView:
    """The direct message about how a job ended, for when its card in *channel_id* cannot be edited."""
    shape, count = shape_of(card), len(card.pictures)
    waiting = words.say("direct.in_jobs", count=count, when=moment(card.listed_until)) if count else ""
    body = paragraph(
        f"### {words.say(f'state.{shape}')}",
        words.say("direct.unreachable", channel=f"<#{channel_id}>"),
        end_reason(card, words) if shape != "done" else "",
        waiting,
        cost(card, words),
        quoted(card.job.request.prompt, max_length=MAX_PROMPT_LENGTH),
        _reference(card, words),
    )
    look = [button(words.say("button.look"), job_button(card.job.id, "look"))] if count else []
    return page(box(body, *rows(look), colour=COLOURS.get(shape, BLURPLE)))


def job_ended_without(card: Card) -> bool:
    """Whether the job has ended without pictures, and its reply was not deleted."""
    return card.job.state.is_final and card.job.deleted_at is None and shape_of(card) not in ("done", "late")


def _short(card: Card, words: Words, *, shape: str, now: int) -> ui.LayoutView:
    """A line about a job that ended without pictures: its words and the reason are its requester's alone."""
    line = f"{words.say(f'state.{shape}')} · {_requester(card, words)}"
    watched = card.job.watch_until is not None and now < card.job.watch_until
    watching = words.say("card.watching", when=moment(card.job.watch_until or 0)) if watched else ""
    free = words.say("charge.nothing") if (card.charge.settled or Amount()) == Amount() else ""
    parts = [paragraph(line, small(free), small(watching)), *rows(short_buttons(card, words, now=now))]
    return page(box(*parts, colour=COLOURS.get(shape, BLURPLE)))


def announcement(card: Card, words: Words, *, reply: Reply) -> ui.LayoutView:
    """The one line that tells a member of the end of a job which took long."""
    user, url = f"<@{card.job.place.user_id}>", discord_url(reply.address)
    key = "ready" if shape_of(card) in ("done", "late") else "ended"
    line = words.say(f"announce.{key}", user=user, url=url, count=len(card.pictures))
    return page(paragraph(line, small(words.say("announce.off"))))


def shape_of(card: Card) -> str:
    """The kind of card for a job, unless it is hidden: a key below `state` in the locale files."""
    job = card.job
    if job.deleted_at is not None:
        return "deleted"
    if job.state is State.FAILED and job.images > 0:
        return "late"
    stoppable = job.state in CANCELLABLE | {State.RUNNING} and not (card.hide_only and job.state in HIDEABLE)
    if job.cancel in CANCEL_REQUESTED and stoppable:
        return "cancelling"
    return SHAPES[job.state]


# --- text


def _active(card: Card, words: Words, now: int) -> Iterator[str]:
    job = card.job
    yield from PROGRESS[job.state](card, words)
    if job.cancel is not Cancel.NONE:
        yield words.say(f"card.{_cancel_key(card)}", provider=_provider(card))
    if can_hide(card):
        yield words.say("card.hide")
    yield from _location_warnings(card, words)
    if card.outage is not None:
        yield words.say(f"trouble.{card.outage}", provider=_provider(card))
        if job.state is State.ACCEPTED:
            yield words.say("card.wait_limit", when=relative(max(job.deadline, now)))
    if card.slow and job.state in (State.QUEUED, State.RUNNING):
        yield words.say("card.slow", when=relative(max(job.deadline, now)))
    if card.final_edit:
        yield words.say("card.last_word")
    # The quote is last, because some clients draw the line after it as part of it.
    yield quoted(job.request.prompt, max_length=MAX_PROMPT_LENGTH)


def _cancel_key(card: Card) -> str:
    """The status of a requested cancellation: a key below `card`."""
    state = card.job.state
    if card.hide_only and state in (State.SUBMITTING, State.UNKNOWN):
        return "cancel_in_doubt"
    late = card.job.cancel is Cancel.TOO_LATE or state is State.COLLECTING or (card.hide_only and state in HIDEABLE)
    return "cancel_too_late" if late else "cancel_wanted"


def _waiting(card: Card, words: Words) -> Iterator[str]:
    if card.queue_position is not None:
        key = "next" if card.queue_position <= 1 else "place" if card.queue_position <= EXACT_PLACES else "place_about"
        yield words.say(f"card.{key}", place=card.queue_position)


def _submitting(card: Card, words: Words) -> Iterator[str]:
    yield words.say("card.sending", provider=_provider(card))


def _queued(card: Card, words: Words) -> Iterator[str]:
    if card.job.position is None:
        yield words.say("card.line", provider=_provider(card))
    else:
        yield words.say("card.position", position=card.job.position, provider=_provider(card))
    yield _usual_time(card, words)
    if card.hide_only and card.job.cancel is Cancel.NONE:
        yield words.say("card.no_stop")


def _running(card: Card, words: Words) -> Iterator[str]:
    key = "sent" if card.started_at is None else "started"
    since = card.started_at or card.job.submitted_at or card.job.changed_at
    yield words.say(f"card.{key}", provider=_provider(card), when=relative(since))
    yield _usual_time(card, words)
    if card.job.cancel is Cancel.NONE:
        yield words.say("card.no_stop")


def _collecting(card: Card, words: Words) -> Iterator[str]:
    if card.blocked_host is None:
        yield words.say("card.collecting", provider=_provider(card))
    else:
        host = show(card.blocked_host, max_length=100)
        yield words.say("card.blocked_host", host=host, when=relative(card.job.deadline))


def _unknown(card: Card, words: Words) -> Iterator[str]:
    yield words.say("card.unknown", provider=_provider(card), when=moment(card.job.deadline))


PROGRESS: Mapping[State, Callable[[Card, Words], Iterator[str]]] = {
    State.ACCEPTED: _waiting,
    State.SUBMITTING: _submitting,
    State.UNKNOWN: _unknown,
    State.QUEUED: _queued,
    State.RUNNING: _running,
    State.COLLECTING: _collecting,
}


def _ended(card: Card, words: Words, now: int) -> Iterator[str]:
    job = card.job
    if job.deleted_at is None:
        yield end_reason(card, words)
        if job.watch_until is not None and now < job.watch_until:
            yield words.say("card.watching", when=moment(job.watch_until))
    else:
        yield words.say("card.deleted")
    yield cost(card, words, price=card.shows_prices)
    if job.deleted_at is None:
        yield quoted(job.request.prompt, max_length=MAX_PROMPT_LENGTH)


def _hidden(card: Card, words: Words, now: int) -> Iterator[str]:
    """The progress or end of a hidden job, without its prompt and pictures."""
    job = card.job
    if job.state.is_final:
        yield end_reason(card, words) if job.state is not State.SUCCEEDED else ""
        yield cost(card, words, price=card.shows_prices)
        yield _hidden_result(card, words, now)
        return
    yield from PROGRESS[job.state](card, words)
    yield words.say("card.hidden")
    if card.final_edit:
        yield words.say("card.last_word")


def _hidden_result(card: Card, words: Words, now: int) -> str:
    if card.job.images == 0:
        return ""
    if not card.pictures:
        return words.say("card.gone")
    until = card.listed_until
    return words.say("card.hidden_done", when=moment(until)) if now < until else ""


def end_reason(card: Card, words: Words) -> str:
    """Why a job ended without pictures: one sentence, or one for each faulty reference picture."""
    reason = card.job.reason or {State.REFUSED: "refused", State.FAILED: "host_failed"}.get(card.job.state)
    if reason is None:
        return words.say("card.cancelled")
    if faults := list(_faults(card, words)):
        return " ".join(faults[:MAX_FILES])
    return words.say(f"reason.{reason}", provider=_provider(card))


def _faults(card: Card, words: Words) -> Iterator[str]:
    """What is wrong with the reference pictures, in the sentences of `error`."""
    for each in card.job.request.references:
        if each.fault is not None:
            key = str(each.fault["key"])
            yield sentence(words, f"error.{key}", {k: v for k, v in each.fault.items() if k != "key"}, kind=key)


def _location_warnings(card: Card, words: Words) -> Iterator[str]:
    """A warning for each reference picture whose metadata contains a location, which the provider receives."""
    files = [each.filename for each in card.job.request.references if each.has_location]
    for file in files[:MAX_FILES]:
        yield words.say("card.location", file=show(file, max_length=100), provider=_provider(card))


def cost(card: Card, words: Words, *, price: bool = True) -> str:
    """What an ended job cost according to the ledger, without amounts of money unless *price*."""
    settled, asked = card.charge.settled or Amount(), card.charge.reserved.images
    if settled == Amount():
        return words.say("charge.nothing")
    made = max(settled.images, card.job.images)
    part = words.say("charge.part", made=made, asked=asked, paid=settled.images) if settled.images < asked else ""
    if not price:
        return part
    text = words.say("charge.cost", price=words.money(settled.micro_usd, about=card.estimated))
    if card.charge.bonus:
        text = f"{text} · {words.say('charge.from_bonus', count=card.charge.bonus)}"
    return f"{part} {text}" if part else text


def details(card: Card, words: Words) -> str:
    """The request's model, style, options and count."""
    request = card.job.request
    options = [show(str(request.options[each]), max_length=20) for each in SHOWN_OPTIONS if each in request.options]
    thinking = str(request.options.get("thinking", NO_THINKING))
    if thinking != NO_THINKING:
        options.append(words.say("card.thinking", level=show(thinking, max_length=20)))
    if request.style is not None:
        options.insert(0, words.say("card.style", style=show(request.style.name, max_length=32)))
    return " · ".join([show(card.model, max_length=60), *options, words.say("card.asked", count=request.count)])


def reserved(card: Card, words: Words) -> str:
    """What is reserved for an active job."""
    if card.job.state.is_final:
        return ""
    return words.say("charge.held", price=words.money(card.charge.reserved.micro_usd, about=card.estimated))


def remaining_quota(card: Card, words: Words) -> list[str]:
    """What is left of the member's tightest limit and of their bonus, if they have any."""
    left = quota_text.left(words, card.left, price=card.charge.price) if card.left else ""
    return [each for each in (left, quota_text.bonus(words, card.bonus)) if each]


def _money(card: Card, words: Words) -> list[str]:
    """What is reserved, and what the requester has left, which is nobody else's business."""
    held = [reserved(card, words)] if card.shows_prices else []
    return [*held, *remaining_quota(card, words)] if card.private else held


def _requester(card: Card, words: Words) -> str:
    return "" if card.private else words.say("card.by", user=f"<@{card.job.place.user_id}>")


def _provider(card: Card) -> str:
    return show(card.provider, max_length=60)


def _usual_time(card: Card, words: Words) -> str:
    if card.ready_at is not None and not card.slow:
        return words.say("card.ready", when=relative(card.ready_at))
    return "" if card.usual is None else words.say("card.usual", low=card.usual[0], high=card.usual[1])


def _reference(card: Card, words: Words) -> str:
    text = words.say("card.reference", reference=show(card.job.id[-8:], max_length=20))
    return small(text) if card.job.state in (State.FAILED, State.REFUSED) else ""


# --- with pictures


def _with_pictures(
    card: Card, words: Words, *, files: Sequence[str], shape: str, now: int
) -> ui.LayoutView:  # fmt: skip
    job = card.job
    body = paragraph(
        bold(job.request.prompt, max_length=MAX_PROMPT_LENGTH),
        end_reason(card, words) if shape == "late" else "",
        words.say("card.cancel_late") if shape == "done" and job.cancel is not Cancel.NONE else "",
        *_missing_pictures(card, words, files=files),
        cost(card, words, price=card.shows_prices),
        *_location_warnings(card, words),
        small(*_done_facts(card, words, shape=shape), *_money(card, words)),
    )
    gallery = [_gallery(card, files)] if files else []
    top = with_before(card, body, words, now=now)
    return page(box(*gallery, top, *rows(links(card, words)), *rows(done_buttons(card, words)), colour=GREEN))


def _gallery(card: Card, files: Sequence[str]) -> ui.MediaGallery[Any]:
    """The uploaded pictures with descriptions; as spoilers if the provider flagged them as not safe for work."""
    numbers = {_stem(each.file): each.n for each in card.pictures}
    total = max([len(files), *numbers.values()])
    gallery: ui.MediaGallery[Any] = ui.MediaGallery()
    for at, name in enumerate(files[:MAX_PICTURES], start=1):
        described = alt_text(card.job.request.prompt, numbers.get(_stem(name), at), total)
        gallery.add_item(media=f"attachment://{name}", description=described, spoiler=card.spoiler)
    return gallery


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _missing_pictures(card: Card, words: Words, *, files: Sequence[str]) -> Iterator[str]:
    """Why the message shows fewer pictures than were made."""
    if card.by_rules:
        yield words.say("card.by_rules", when=moment(card.listed_until))
        return
    if card.links:
        yield words.say("card.links", count=len(card.links))
    if card.withheld:
        count = max(1, len(card.pictures) - len(files) - len(card.links))
        yield words.say("card.withheld", count=count, when=moment(card.listed_until))
    if not card.pictures and not files:
        yield words.say("card.gone")


def _done_facts(card: Card, words: Words, *, shape: str) -> Iterator[str]:
    job = card.job
    if job.ended_at is not None and job.state is State.SUCCEEDED:
        yield words.say("card.done_in", seconds=max(1, round((job.ended_at - job.created_at) / 1000)))
    else:
        yield words.say(f"state.{shape}")
    yield _requester(card, words)
    yield source_link(card, words)
    yield details(card, words)
    if card.ai_label:
        yield words.say("card.ai_label")

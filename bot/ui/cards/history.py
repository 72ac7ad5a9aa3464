"""Draws a member's earlier results: pages of their history, and one result with what it was made from. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.core.cards import Card
from bot.core.jobs import Job, Reference
from bot.store.queries import JobRecord
from bot.store.results import Filter
from bot.ui.cards.components import (
    BLURPLE,
    MAX_PICTURES,
    YELLOW,
    Part,
    bold,
    box,
    button,
    page,
    paragraph,
    rows,
    small,
)
from bot.ui.cards.escape import alt_text, show
from bot.ui.cards.job import cost, details, source_link
from bot.ui.cards.job_buttons import done_buttons
from bot.ui.cards.texts import Words, discord_url, moment, relative

PAGE_LENGTH = 10
MAX_WORDS_LENGTH = 40  # of a search: it has to fit into the custom ids of the page's buttons
MAX_LINE_LENGTH = 80
MAX_PROMPT_LENGTH = 1000
MAX_LABEL_LENGTH = 90
MAX_COPY_LENGTH = 300

Pictures = Mapping[str, Sequence[Reference]]  # links to the pictures of each job


def history_button(wanted: Filter, before: str) -> str:
    """The custom id of a button that shows a page; `h1` is the version of the format."""
    return f"h1:{'f' if wanted.favorites else 'a'}:{before}:{wanted.model}:{wanted.words}"


def history_filter(parts: Sequence[str]) -> tuple[Filter, str]:
    """The filter and the position in the parts of a page's custom id."""
    kind, before, model, *words = [*parts[1:], "", "", ""][: max(4, len(parts) - 1)]
    return Filter(words=":".join(words), model=model, favorites=kind == "f"), before


def show_button(job_id: str, action: str = "open") -> str:
    """The custom id of a button that shows one result: in a new message, or with `go` in the same one."""
    return f"s1:{job_id}:{action}"


def history_page(
    records: Sequence[JobRecord], wanted: Filter, words: Words, *, before: str | None, first: bool, pictures: Pictures
) -> ui.LayoutView:
    """A page of results, newest first. *before*: where the next page begins; *first*: nothing is newer."""
    title = words.say("results.favorites_title" if wanted.favorites else "results.own_title")
    asked = small(*([words.say("results.search", words=show(wanted.words, max_length=60))] if wanted.words else []))
    if not records:
        key = "results.no_match" if wanted.words or wanted.model else "results.no_favorites"
        empty = words.say(key if wanted.favorites or "match" in key else "results.no_results")
        more = [button(words.say("button.older"), history_button(wanted, before))] if before else []
        return page(box(paragraph(title, asked, empty), *rows(more), colour=BLURPLE))
    parts: list[Part] = [paragraph(title, asked)]
    gallery: ui.MediaGallery[Any] = ui.MediaGallery()
    for n, each in enumerate(records, start=1):
        for shown in pictures.get(each.job.id, ())[:1]:
            described = alt_text(each.job.request.prompt, n, len(records))
            gallery.add_item(media=shown.url, description=described, spoiler=each.job.flagged or each.job.spoiler)
    parts += [gallery] if gallery.items else []
    for n, each in enumerate(records, start=1):
        text = paragraph(_line(each, words, n))
        parts.append(ui.Section(text, accessory=button(words.say("button.open"), show_button(each.job.id))))
    moves = [] if first else [button(words.say("button.newest"), history_button(wanted, ""))]
    moves += [button(words.say("button.older"), history_button(wanted, before))] if before else []
    return page(box(*parts, *rows(moves), colour=BLURPLE))


def _line(record: JobRecord, words: Words, n: int) -> str:
    job = record.job
    prompt = show(job.request.prompt, max_length=MAX_LINE_LENGTH) or words.say("results.erased")
    facts = [f"**{n}.** {prompt}", relative(job.created_at), words.say("card.asked", count=job.images)]
    if record.reply.message_id is not None and record.reply.is_public:
        facts.append(words.say("results.jump", url=discord_url(record.reply.address)))
    elif record.reply.ephemeral:
        facts.append(words.say("results.private"))
    return " · ".join(facts)


def result_page(
    card: Card,
    words: Words,
    *,
    url: str | None,
    ancestors: Sequence[Job],
    children: Sequence[Job],
    chain_cost: int | None,
    media: Sequence[str] | None,
) -> ui.LayoutView:
    """One result and its place in the tree of edits.

    *url*: its message. *ancestors* (nearest first) and *children* are those that the member sees; *chain_cost* in
    micro-dollars, None for somebody else's. *media*: the pictures' addresses, None while they are not known yet.
    """
    job = card.job
    gallery: ui.MediaGallery[Any] = ui.MediaGallery()
    for n, address in enumerate((media or ())[:MAX_PICTURES], start=1):
        described = alt_text(job.request.prompt, n, len(media or ()))
        gallery.add_item(media=address, description=described, spoiler=card.spoiler)
    jump = words.say("results.jump", url=url) if url else ""
    own = chain_cost is not None
    facts = small(
        words.say("card.by", user=f"<@{job.place.user_id}>"), source_link(card, words), details(card, words), jump
    )
    body = paragraph(
        bold(job.request.prompt, max_length=MAX_PROMPT_LENGTH) or words.say("results.erased"),
        "" if media else words.say("results.loading" if media is None else "card.gone"),
        facts,
        small(moment(job.ended_at or job.created_at), cost(card, words) if own else ""),
    )
    tree = paragraph(*_tree(words, ancestors=ancestors, children=children, chain_cost=chain_cost))
    parts: list[Part] = [*([gallery] if gallery.items else []), body]
    parts += [tree] if ancestors or children else []
    if children:
        parts.append(_children(words, children))
    parent = [button(words.say("button.parent"), show_button(ancestors[0].id, "go"))] if ancestors else []
    return page(box(*parts, *rows(parent), *rows(done_buttons(card, words) if media else []), colour=BLURPLE))


def _tree(words: Words, *, ancestors: Sequence[Job], children: Sequence[Job], chain_cost: int | None) -> list[str]:
    lines = [f"{'　' * depth}↳ {_words_of(each, words)}" for depth, each in enumerate(reversed(ancestors))]
    lines += [f"{'　' * len(ancestors)}↳ **{words.say('results.this')}**"]
    lines += [f"{'　' * (len(ancestors) + 1)}↳ {_words_of(each, words)}" for each in children[:PAGE_LENGTH]]
    total = small(words.say("results.chain_cost", price=words.money(chain_cost))) if chain_cost else ""
    return [*lines, total]


def _words_of(job: Job, words: Words) -> str:
    return show(job.request.prompt, max_length=MAX_LINE_LENGTH) or words.say("results.erased")


def _children(words: Words, children: Sequence[Job]) -> Part:
    options = [
        discord.SelectOption(label=(_words_of(each, words))[:MAX_LABEL_LENGTH], value=each.id) for each in children[:25]
    ]
    select: ui.Select[Any] = ui.Select(
        custom_id=show_button("tree", "pick"),
        placeholder=words.say("results.children", count=len(children)),
        options=options,
    )
    row: ui.ActionRow[Any] = ui.ActionRow(select)
    return row


def gallery_copy(card: Card, words: Words, *, url: str, stars: int, files: Sequence[str]) -> ui.LayoutView:
    """The copy of a result in a gallery channel: its uploaded *files*, words, author, and the link *url* to it."""
    gallery: ui.MediaGallery[Any] = ui.MediaGallery()
    for n, name in enumerate(files[:MAX_PICTURES], start=1):
        described = alt_text(card.job.request.prompt, n, len(files))
        gallery.add_item(media=f"attachment://{name}", description=described, spoiler=card.spoiler)
    author = words.say("card.by", user=f"<@{card.job.place.user_id}>")
    facts = small(f"⭐ {stars}", author, words.say("results.jump", url=url))
    body = paragraph(bold(card.job.request.prompt, max_length=MAX_COPY_LENGTH), facts)
    return page(box(*([gallery] if gallery.items else []), body, colour=YELLOW))

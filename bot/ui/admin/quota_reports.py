"""The commands with which admins read the books of their server: `/quota history`, `/quota top`, `/quota export`."""

import asyncio
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

import discord
from discord import app_commands

from bot.core import amounts
from bot.core.amounts import PERIODS
from bot.core.errors import UserError
from bot.core.ledger_csv import csv_of
from bot.core.quota import Holder, Scope
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.jobs.delivery import FILE_SLACK, REQUEST_LIMIT
from bot.store.reports import Entry
from bot.ui.admin.base import CHANNEL, Admin, AdminAction, Option
from bot.ui.admin.quota_targets import SERVER, target_of
from bot.ui.cards.reports import CHANGES, ON_A_PAGE, SPENDING, Asked, change, exported, history, spent, top
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import NOBODY
from bot.ui.interactions.timeouts import database_timeout

TOP = 10
WINDOWS = (Window.DAY, Window.WEEK, Window.MONTH, Window.TOTAL)
MOST_ROWS = 50_000
AT_A_TIME = 2_000  # rows; so many are read and written down before anybody else has a turn
TIMEOUT = 60.0  # seconds for an upload


class QuotaReports:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._responder = admin.responder
        self._reports = admin.services.reports

    def add_to(self, group: app_commands.Group) -> None:
        add, said = self._admin.add, self._admin.said
        whats = [(said(f"admin_choice.{each}"), each) for each in (CHANGES, SPENDING)]
        windows = [(said(f"admin_choice.now_{each}"), each.value) for each in WINDOWS]
        add(
            group,
            "history",
            self._history,
            options=[Option("what", choices=whats), Option("member", discord.User), Option("channel", CHANNEL)],
        )
        add(group, "top", self._top, options=[Option("window", choices=windows)])
        add(
            group,
            "export",
            self._export,
            options=[Option("since", complete=self._periods), Option("until", complete=self._days)],
        )
        self._admin.button("history", self._turn)

    # --- history

    async def _history(self, act: AdminAction) -> None:
        if act.given["member"] is not None and act.given["channel"] is not None:
            raise UserError("history.both")
        target = target_of(act)
        asked = Asked(act.given["what"] or CHANGES)
        if target != SERVER:
            asked = replace(asked, holder=target.holder, subject=target.subject)
        await self._responder.reply_privately(act.interaction, await self._page(act, asked))

    async def _turn(self, act: AdminAction) -> None:
        view = await self._page(act, Asked.read(act.given["parts"]))
        async with self._responder.answering(act.interaction):
            await act.interaction.response.edit_message(view=view, allowed_mentions=NOBODY)

    async def _page(self, act: AdminAction, asked: Asked) -> discord.ui.LayoutView:
        """Read anew from the page's start each time: entries that came in between move nothing."""
        begin = asked.number * ON_A_PAGE
        read = self._changes if asked.what == CHANGES else self._spending
        async with database_timeout("busy"):
            found = await read(act, asked, limit=begin + ON_A_PAGE + 1)
        if asked.start is None and found:
            at, n = found[0][1]
            asked = replace(asked, start=(at, n + 1))
        lines = [line for line, _ in found[begin : begin + ON_A_PAGE]]
        return history(lines, act.words, asked=asked, more=len(found) > begin + ON_A_PAGE)

    async def _changes(self, act: AdminAction, asked: Asked, *, limit: int) -> Sequence[tuple[str, tuple[int, int]]]:
        found = await self._reports.changes(
            act.server, holder=asked.holder, subject=asked.subject, before=asked.start, limit=limit
        )
        return [(change(each, act.words, server=act.server), cursor) for each, cursor in found]

    async def _spending(self, act: AdminAction, asked: Asked, *, limit: int) -> Sequence[tuple[str, tuple[int, int]]]:
        user = asked.subject if asked.holder is Holder.USER else None
        channel = asked.subject if asked.holder is Holder.CHANNEL else None
        found = await self._reports.spending(act.server, user=user, channel=channel, before=asked.start, limit=limit)
        return [(spent(each, act.words), (each.at, each.id)) for each in found]

    # --- top

    async def _top(self, act: AdminAction) -> None:
        window = Window(act.given["window"] or Window.MONTH)
        async with database_timeout("busy"):
            standing = await self._admin.services.usage.quota_status(place_of(act.interaction, member=True))
            bucket = standing.used.moment(Scope.GUILD).buckets[window]
            spenders = await self._reports.top(act.server, bucket, limit=TOP)
        whole = standing.used.tally(Scope.GUILD, window)
        view = top(spenders, act.words, window=window, spent=whole.spent, reserved=whole.reserved)
        await self._responder.reply_privately(act.interaction, view)

    # --- export

    async def _export(self, act: AdminAction) -> None:
        async with database_timeout("busy"):
            server_settings = await self._admin.services.store.server_settings(act.server)
        zone = zone_of(server_settings)
        since, until = period(act.given["since"], act.given["until"], now=act.received_at, zone=zone)
        async with self._responder.answering(act.interaction):
            await act.interaction.response.defer(ephemeral=True, thinking=True)
        most = min(act.interaction.filesize_limit - FILE_SLACK, REQUEST_LIMIT)
        count, content = await self._written(act.server, since, until, zone=zone, most=most)
        first, last = day_of(since, zone), day_of(until - 1, zone)
        name = f"quota-{first}-{last}.csv" if count else None
        view = exported(act.words, count=count, since=first, until=last, zone=server_settings.timezone, file=name)
        files = [discord.File(io.BytesIO(content), filename=name)] if name else []
        async with asyncio.timeout(TIMEOUT):
            await act.interaction.edit_original_response(view=view, attachments=files, allowed_mentions=NOBODY)

    async def _written(self, server: int, since: int, until: int, *, zone: tzinfo, most: int) -> tuple[int, bytes]:
        """How many rows there are, and their file; `UserError` for more than fits, without reading on."""
        parts: list[bytes] = []
        count, size, after = 0, 0, (0, 0)
        while True:
            async with database_timeout("busy", seconds=TIMEOUT):
                found = await self._reports.export(server, since=since, until=until, after=after, limit=AT_A_TIME)
            count += len(found)
            if count > MOST_ROWS:
                raise UserError("export.many", limit=MOST_ROWS)
            parts.append(await asyncio.to_thread(_encoded, found, zone, header=not parts))
            size += len(parts[-1])
            if size > most:
                raise UserError("export.large", limit=most, unit="bytes")
            if len(found) < AT_A_TIME:
                return count, b"".join(parts)
            after = (found[-1].at, found[-1].id)

    async def _periods(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        """The words for periods, and the days that make sense without one."""
        named = [(act.words.say(f"export.period.{each.replace(' ', '_')}"), each) for each in PERIODS]
        return _matching([*named, *await self._recent(act)], typed)

    async def _days(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        return _matching(await self._recent(act), typed)

    async def _recent(self, act: AdminAction) -> Sequence[tuple[str, str]]:
        """Today and the two weeks before it."""
        zone = zone_of(await self._admin.services.store.server_settings(act.server))
        today = datetime.fromtimestamp(act.received_at / 1000, zone).date()
        days = [(today - timedelta(days=each)).isoformat() for each in range(15)]
        return [(each, each) for each in days]


def _encoded(found: Sequence[Entry], zone: tzinfo, *, header: bool) -> bytes:
    """Part of the file; it begins with the mark by which spreadsheets know UTF-8."""
    return csv_of(found, zone, header=header).encode("utf-8-sig" if header else "utf-8")


def _matching(offered: Sequence[tuple[str, str]], typed: str) -> Sequence[tuple[str, str]]:
    wanted = typed.strip().casefold()
    return [each for each in offered if any(wanted in part.casefold() for part in each)]


def period(since: str | None, until: str | None, *, now: int, zone: tzinfo = UTC) -> tuple[int, int]:
    """As `amounts.period`, with a word such as `yesterday` for the end too: its last day is meant."""
    word = re.sub(r"\s+", " ", (until or "").strip().casefold())
    if word in PERIODS:
        _, end = amounts.period(word, None, now=now, zone=zone)
        until = day_of(end - 1, zone)
    return amounts.period(since, until, now=now, zone=zone)


def day_of(at: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at / 1000, zone).date().isoformat()

"""The admins' commands `/quota history`, `/quota top` and `/quota export`: reports on a server's ledger."""

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
from bot.core.ledger_csv import Names, to_csv
from bot.core.quota import Holder, Scope
from bot.core.windows import Window
from bot.core.zones import zone_of
from bot.jobs.delivery import room_for_files
from bot.store.reports import Entry
from bot.ui.admin.permissions import CHANNEL, Admin, AdminAction, Option
from bot.ui.admin.quota_targets import SERVER, target_of
from bot.ui.cards.reports import CHANGES, PAGE_SIZE, SPENDING, HistoryQuery, change, exported, history, spent, top
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import NOBODY
from bot.ui.interactions.timeouts import database_timeout

TOP_LIMIT = 10  # members
WINDOWS = (Window.DAY, Window.WEEK, Window.MONTH, Window.TOTAL)
MAX_ROWS = 50_000
BATCH_SIZE = 2_000  # rows read and written at a time, so that other tasks can run in between
TIMEOUT = 60.0  # seconds for an upload


class QuotaReports:
    """Registers and runs the commands, and answers the page buttons of the history."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._responder = admin.responder
        self._reports = admin.services.reports

    def add_to(self, group: app_commands.Group) -> None:
        add, localized = self._admin.add, self._admin.localized
        whats = [(localized(f"admin_choice.{each}"), each) for each in (CHANGES, SPENDING)]
        windows = [(localized(f"admin_choice.now_{each}"), each.value) for each in WINDOWS]
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
        self._admin.button("history", self._show_page)

    # --- history

    async def _history(self, action: AdminAction) -> None:
        if action.given["member"] is not None and action.given["channel"] is not None:
            raise UserError("history.both")
        target = target_of(action)
        query = HistoryQuery(action.given["what"] or CHANGES)
        if target != SERVER:
            query = replace(query, holder=target.holder, subject=target.subject)
        await self._responder.reply_privately(action.interaction, await self._page(action, query))

    async def _show_page(self, action: AdminAction) -> None:
        view = await self._page(action, HistoryQuery.read(action.given["parts"]))
        await self._responder.replace(action.interaction, view)

    async def _page(self, action: AdminAction, query: HistoryQuery) -> discord.ui.LayoutView:
        """Draw a page. Entries are read from *query*'s start, so that newer ones do not shift the pages."""
        begin = query.number * PAGE_SIZE
        read = self._changes if query.what == CHANGES else self._spending
        async with database_timeout("busy"):
            entries = await read(action, query, limit=begin + PAGE_SIZE + 1)
        if query.start is None and entries:
            at, n = entries[0][1]
            query = replace(query, start=(at, n + 1))
        lines = [line for line, _ in entries[begin : begin + PAGE_SIZE]]
        return history(lines, action.words, query=query, more=len(entries) > begin + PAGE_SIZE)

    async def _changes(
        self, action: AdminAction, query: HistoryQuery, *, limit: int
    ) -> Sequence[tuple[str, tuple[int, int]]]:
        found = await self._reports.changes(
            action.server, holder=query.holder, subject=query.subject, before=query.start, limit=limit
        )
        return [(change(each, action.words, server=action.server), cursor) for each, cursor in found]

    async def _spending(
        self, action: AdminAction, query: HistoryQuery, *, limit: int
    ) -> Sequence[tuple[str, tuple[int, int]]]:
        user = query.subject if query.holder is Holder.USER else None
        channel = query.subject if query.holder is Holder.CHANNEL else None
        found = await self._reports.spending(action.server, user=user, channel=channel, before=query.start, limit=limit)
        return [(spent(each, action.words), (each.at, each.id)) for each in found]

    # --- top

    async def _top(self, action: AdminAction) -> None:
        window = Window(action.given["window"] or Window.MONTH)
        async with database_timeout("busy"):
            status = await self._admin.services.usage.quota_status(place_of(action.interaction, member=True))
            bucket = status.used.moment(Scope.GUILD).buckets[window]
            spenders = await self._reports.top(action.server, bucket, limit=TOP_LIMIT)
        whole = status.used.tally(Scope.GUILD, window)
        view = top(spenders, action.words, window=window, spent=whole.spent, reserved=whole.reserved)
        await self._responder.reply_privately(action.interaction, view)

    # --- export

    async def _export(self, action: AdminAction) -> None:
        async with database_timeout("busy"):
            server_settings = await self._admin.services.store.server_settings(action.server)
        zone = zone_of(server_settings)
        since, until = period(action.given["since"], action.given["until"], now=action.received_at, zone=zone)
        async with self._responder.answering(action.interaction):
            await action.interaction.response.defer(ephemeral=True, thinking=True)
        max_bytes = room_for_files(action.interaction.filesize_limit)
        count, content = await self._csv(action, since, until, zone=zone, max_bytes=max_bytes)
        first, last = day_of(since, zone), day_of(until - 1, zone)
        name = f"quota-{first}-{last}.csv" if count else None
        view = exported(action.words, count=count, since=first, until=last, zone=server_settings.timezone, file=name)
        files = [discord.File(io.BytesIO(content), filename=name)] if name else []
        async with asyncio.timeout(TIMEOUT):
            await action.interaction.edit_original_response(view=view, attachments=files, allowed_mentions=NOBODY)

    async def _csv(
        self, action: AdminAction, since: int, until: int, *, zone: tzinfo, max_bytes: int
    ) -> tuple[int, bytes]:
        """The number of rows and the CSV file; `UserError` as soon as there are too many rows or bytes."""
        parts: list[bytes] = []
        count, size, after = 0, 0, (0, 0)
        while True:
            async with database_timeout("busy", seconds=TIMEOUT):
                rows = await self._reports.export(
                    action.server, since=since, until=until, after=after, limit=BATCH_SIZE
                )
            count += len(rows)
            if count > MAX_ROWS:
                raise UserError("export.many", limit=MAX_ROWS)
            names = self._names(action, rows)
            parts.append(await asyncio.to_thread(_encode, rows, zone, names=names, header=not parts))
            size += len(parts[-1])
            if size > max_bytes:
                raise UserError("export.large", limit=max_bytes, unit="bytes")
            if len(rows) < BATCH_SIZE:
                return count, b"".join(parts)
            after = (rows[-1].at, rows[-1].id)

    def _names(self, action: AdminAction, rows: Sequence[Entry]) -> Names:
        """The names that are in memory, of the members and channels in *rows*; Discord is not asked for others."""
        guild, seen = action.interaction.guild, self._responder.names
        members = {each: seen.name_of(action.server, each) for row in rows for each in (row.user, row.actor)}
        channels = {
            each: guild.get_channel_or_thread(each) for each in {row.channel for row in rows}
        } if guild else {}  # fmt: skip
        return Names(
            {each: name for each, name in members.items() if name is not None},
            {each: channel.name for each, channel in channels.items() if channel is not None},
        )

    async def _periods(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        """Named periods and recent days."""
        named = [(action.words.say(f"export.period.{each.replace(' ', '_')}"), each) for each in PERIODS]
        return _matching([*named, *await self._recent(action)], typed)

    async def _days(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        return _matching(await self._recent(action), typed)

    async def _recent(self, action: AdminAction) -> Sequence[tuple[str, str]]:
        """Today and the 14 days before it, in the server's time zone."""
        zone = zone_of(await self._admin.services.store.server_settings(action.server))
        today = datetime.fromtimestamp(action.received_at / 1000, zone).date()
        days = [(today - timedelta(days=each)).isoformat() for each in range(15)]
        return [(each, each) for each in days]


def _encode(rows: Sequence[Entry], zone: tzinfo, *, names: Names, header: bool) -> bytes:
    """A part of the CSV file; the first starts with a byte order mark, by which spreadsheets recognise UTF-8."""
    return to_csv(rows, zone, names=names, header=header).encode("utf-8-sig" if header else "utf-8")


def _matching(offered: Sequence[tuple[str, str]], typed: str) -> Sequence[tuple[str, str]]:
    wanted = typed.strip().casefold()
    return [each for each in offered if any(wanted in part.casefold() for part in each)]


def period(since: str | None, until: str | None, *, now: int, zone: tzinfo = UTC) -> tuple[int, int]:
    """As `amounts.period`, but *until* may be a named period such as `yesterday` too; it stands for its last day."""
    word = re.sub(r"\s+", " ", (until or "").strip().casefold())
    if word in PERIODS:
        _, end = amounts.period(word, None, now=now, zone=zone)
        until = day_of(end - 1, zone)
    return amounts.period(since, until, now=now, zone=zone)


def day_of(at: int, zone: tzinfo) -> str:
    """The date in *zone* of a time in UTC milliseconds, as `2026-11-21`."""
    return datetime.fromtimestamp(at / 1000, zone).date().isoformat()

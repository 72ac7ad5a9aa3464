"""The pages of the demo: SimCord's preview shows one channel, so each channel has one, with links to the others.

The parts of SimCord that have no public name are those of version 3.2.1, which is pinned.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from html import escape
from typing import Any

import simcord
import simcord.preview  # before its CDN_BASE is replaced: it never loads a message's pictures from there
from aiohttp import web

TICK = 0.25  # seconds between checks for new messages
REFRESH_INTERVAL = 30.0  # seconds after which a page is refreshed in any case, for its relative times
LINKS_BEFORE = '<div class="channel-context">'  # in SimCord's page: the name of its only channel
TARGET = '{ policy: "target", targetId: String(snapshot.targetId) }'
STAYS_AT_END = """
    const isUp = ui.timeline.scrollTop < (ui.timeline.lastTop ?? 0);
    ui.timeline.lastTop = ui.timeline.scrollTop;
    if (!state.ready || (state.scrollIntent?.policy === "bottom" && !isUp)) return;
"""
REPLACED = {  # in SimCord's scripts: as in Discord, a page opens at its end and stays there until its reader scrolls up
    "/timeline.js": (
        (f"? {TARGET}", f'? (previousTargetId ? {TARGET} : {{ policy: "bottom" }})'),
        (
            'if (state.scrollIntent?.policy !== "target")',
            'if (!state.scrollIntent || state.scrollIntent.policy === "anchor")',
        ),
        ('if (!state.ready && state.scrollIntent?.policy === "target") return;', STAYS_AT_END),
        ("clientHeight <= 1 ?", "clientHeight <= 150 ?"),
    )
}
STYLE = """
.channel-context, #layout-label, #refresh { display: none; }
.channel-links { display: flex; flex-direction: column; gap: 2px; padding: 4px 0; }
.channel-links a { padding: 5px 8px; border-radius: 4px; color: var(--discord-muted); font-weight: 600;
  text-decoration: none; }
.channel-links a:hover { color: var(--discord-text); background: var(--workbench-hover); }
.channel-links a[aria-current] { color: var(--discord-text); background: var(--workbench-control); }
"""


class Pages:
    """The pages of the channels, in their order."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._pages: list[Any] = []
        self._closed = False  # read by SimCord

    @property
    def urls(self) -> Sequence[str]:
        return [each.url for each in self._pages]

    async def enter(self, stack: AsyncExitStack, channel: Any, *, viewers: Sequence[Any], port: int) -> None:
        """Serve a page for *channel* until *stack* is closed; *port* 0 takes any free one."""
        self._env._preview = None  # noqa: SLF001 - it accepts one page only
        page = self._env.preview(channel, viewers=viewers, layout="channel", port=port or None)
        page._explicit_assets = _Attachments(self._env)  # noqa: SLF001 - it loads no other pictures of messages
        self._extend(page)
        await stack.enter_async_context(page)
        self._pages.append(page)
        self._env._preview = self  # noqa: SLF001 - it tells a page that its action was sent

    def _mark_action_dispatched(self) -> None:
        for each in self._pages:
            each._mark_action_dispatched()  # noqa: SLF001 - only the page whose action is in progress notes it

    def _extend(self, page: Any) -> None:
        """Add the links to the page, and open it as the person who is viewed in the page that links to it."""
        static, open_page = page._server._static, page._open_page  # noqa: SLF001
        viewer: list[int] = []

        async def extended(request: web.Request) -> web.Response:
            response: web.Response = await static(request)
            if request.path == "/":
                viewer[:] = self._current_viewer()
                response.text = (response.text or "").replace(LINKS_BEFORE, self._links(page) + LINKS_BEFORE)
            elif request.path == "/preview.css":
                response.text = (response.text or "") + STYLE
            for old, new in REPLACED.get(request.path, ()):
                response.text = (response.text or "").replace(old, new)
            return response

        def opened(viewer_id: Any = None, target_id: Any = None) -> Any:
            sent = self._env.backend.messages.get(page.channel.id)
            page._python.target_id = max(sent) if sent else None  # noqa: SLF001 - it opens there
            return open_page(viewer_id or next(iter(viewer), None), target_id)

        page._server._static, page._open_page = extended, opened  # noqa: SLF001

    def _links(self, page: Any) -> str:
        links = []
        for each in self._pages:
            if not each._closed:  # noqa: SLF001 - by its own menu
                current = " aria-current=page" if each is page else ""
                links.append(f'<a href="{escape(each.url)}"{current}># {escape(each.channel.name)}</a>')
        return f'<nav class="channel-links" aria-label="Channels">{"".join(links)}</nav>'

    def _current_viewer(self) -> Iterator[int]:
        """The id of the person in the browser's page that was read last, if one is open."""
        opened = [one for each in self._pages for one in each._pages.values() if one.id != "python"]  # noqa: SLF001
        if opened:
            yield max(opened, key=lambda one: float(one.last_activity)).viewer.id

    async def refresh_forever(self) -> None:
        """Refresh the pages and their clock: they do not receive what the bot sends by itself.

        After a refresh a page rejects actions until it has loaded the new state, up to half a second later. So they are
        refreshed only when the bot has sent something, and every REFRESH_INTERVAL seconds.
        """
        shown, refreshed_at, env = 0, time.monotonic(), self._env
        while True:
            await asyncio.sleep(TICK)
            env.backend.clock.advance((datetime.now(UTC) - env.now()).total_seconds())
            # a page shows immediate responses to its own actions itself
            sent = sum("/callback" not in each.path for each in env.http_requests)
            if sent == shown and time.monotonic() - refreshed_at < REFRESH_INTERVAL:
                continue
            with suppress(simcord.SetupError):  # an action is in progress: the next tick retries
                self._publish()
                shown, refreshed_at = sent, time.monotonic()

    def _publish(self) -> None:
        """A page's own `refresh` without its wait for the bot.

        An action during that wait fails, and the page accepts no more actions after it.
        """
        self._env._begin_operation("preview.refresh")  # noqa: SLF001 - SetupError during an action
        try:
            for page in self._pages:
                page._advance_presentation_time()  # noqa: SLF001
                for each in tuple(page._pages.values()):  # noqa: SLF001
                    page._publish(each, reason="refresh")  # noqa: SLF001
        finally:
            self._env._end_operation()  # noqa: SLF001


class _Attachments:
    """The attachments of all messages by URL: a card may show one of another message, which SimCord does not load."""

    def __init__(self, env: Any) -> None:
        self._files = env.backend.cdn

    def get(self, url: str) -> tuple[str, bytes] | None:
        plain = url.partition("?")[0]
        found = self._files.get(plain)
        return None if found is None else (plain.rpartition("/")[2], found)


@asynccontextmanager
async def channel_pages(
    env: Any, channels: Sequence[Any], *, viewers: Sequence[Any], port: int
) -> AsyncIterator[Pages]:
    """Serve a page for each channel, the first one on *port*, and keep them up to date."""
    pages = Pages(env)
    async with AsyncExitStack() as stack:
        for each in channels:
            await pages.enter(stack, each, viewers=viewers, port=0 if pages.urls else port)
        refresh = asyncio.create_task(pages.refresh_forever())
        try:
            yield pages
        finally:
            refresh.cancel()
            with suppress(asyncio.CancelledError):
                await refresh

"""Tracks outages of the bot itself (disk, bucket, database, clock) and notifies the operator of their begin and end."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from bot.core.clock import Clock
from bot.core.jobs import SECOND
from bot.core.system_outages import HARMLESS, OVER_AFTER_WRITE, STOPS_SUBMITS, Outage
from bot.files.storage import PictureStorage
from bot.store.database import DATABASE_ERRORS, Database
from bot.store.system_outages import outage_of, probe

log = logging.getLogger(__name__)

EVERY = 20.0  # seconds between probes
RETRY_AFTER = 10 * SECOND  # until what an outage has interrupted is retried
TIMEOUT = 5.0  # seconds a write may take
QUIET = 60 * SECOND  # without a sign of an outage before it counts as over: by then everything that failed was retried
UNREAD = "The database cannot be read just now"  # the log sentence of loops that read what is due

Notify = Callable[[str, Mapping[str, object]], Awaitable[None]]  # notifies the operator: a message key and its values


class Outages:
    def __init__(self, database: Database, *, storage: PictureStorage, clock: Clock, notify: Notify) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._notify = notify
        self._seen_at: dict[Outage, int] = {}
        self._since_probe: set[Outage] = set()  # seen since the last successful probe
        self._clock_is_off = False  # compared with Discord's; only another interaction can show that it no longer is
        self.wake = asyncio.Event()
        self._unsent: deque[tuple[str, Outage]] = deque()  # notifications for the operator that are not sent yet

    @property
    def current(self) -> Sequence[Outage]:
        """The current outages, oldest first."""
        return tuple(self._seen_at)

    @property
    def failing(self) -> Outage | None:
        """The outage that has caused an error since the last successful write, else None."""
        return next((each for each in self._seen_at if each in self._since_probe - HARMLESS), None)

    @property
    def unsafe(self) -> Outage | None:
        """The outage during which no paid request may be sent, since pictures could not be kept; else None."""
        return next((each for each in self._seen_at if each in self._since_probe & STOPS_SUBMITS), None)

    def seen(self, exc: BaseException) -> Outage | None:
        """Record the outage that caused *exc*, and log it if it is new; None where *exc* has another cause."""
        outage = outage_of(exc)
        if outage is not None:
            self._note(outage, _words_of(exc))
        return outage

    @contextmanager
    def outlasting(self, log_message: str) -> Iterator[None]:
        """Suppress what disk or database raise in the block; *log_message* is logged where it is no known outage."""
        try:
            yield
        except DATABASE_ERRORS as exc:
            if self.seen(exc) is None:
                log.warning("%s", log_message, exc_info=True, extra={"event": "store_trouble"})

    def clock_is_off(self, *, off: bool) -> None:
        """Record whether the system clock differs too much from Discord's."""
        self._clock_is_off = off
        if off:
            self._note(Outage.CLOCK, "this machine's clock differs from Discord's")

    async def run(self, stop: asyncio.Event) -> None:
        """Probe regularly, and at once when a new outage is seen, until *stop*."""
        while not stop.is_set():
            self.wake.clear()
            await self.check()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self.wake.wait()

    async def check(self) -> None:
        """Write to the database and the pictures' storage. An outage that has not been seen for a while is over."""
        try:
            await self._probe()
        except DATABASE_ERRORS as exc:
            why = (self._database.unavailable_because or exc) if isinstance(exc, TimeoutError) else exc
            if self.seen(why) is None:
                self._note(Outage.DATABASE_AWAY, _words_of(why))
        else:
            self._since_probe.clear()
            since = self._clock() - QUIET
            quiet = [each for each, at in self._seen_at.items() if each in OVER_AFTER_WRITE or at <= since]
            for each in quiet:
                if not (each is Outage.CLOCK and self._clock_is_off):
                    self._over(each)
        while self._unsent:
            key, outage = self._unsent.popleft()
            await self._notify(key, {"outage": outage.value})

    async def _probe(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await self._database.write(probe)
        await self._storage.probe()

    def _note(self, outage: Outage, why: str) -> None:
        if outage not in self._seen_at:
            log.warning("An outage has begun: %s", why, extra={"event": "outage", "reason": outage.value})
            self._unsent.append((f"operator.outage.{outage}", outage))
        if outage not in self._since_probe:  # it may pass at once, so probe now
            self.wake.set()
        self._seen_at[outage] = self._clock()
        self._since_probe.add(outage)

    def _over(self, outage: Outage) -> None:
        del self._seen_at[outage]
        log.info("An outage is over", extra={"event": "outage_over", "reason": outage.value})
        if (
            begun := (f"operator.outage.{outage}", outage)
        ) in self._unsent:  # it ended before the operator was notified
            self._unsent.remove(begun)
        else:
            self._unsent.append(("operator.outage_over", outage))


def _words_of(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__

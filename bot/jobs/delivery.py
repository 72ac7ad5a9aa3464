"""The loop that keeps replies up to date: it sends the newest card of a job by the first path that is open.

It decides what to try next and when; the Messenger turns a card into a request to Discord. Longer than other files,
so that everything that happens when a path is closed is in one place.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Protocol

from bot.core.cards import JOBS_LIST_RETENTION, Card, Picture, Reply, ReplyPath, paths
from bot.core.clock import Clock
from bot.core.errors import (
    BadPicture,
    ContentBlocked,
    DeliverLater,
    MessageGone,
    PathClosed,
    RateLimitReached,
    TooLarge,
)
from bot.core.jobs import HOUR, MINUTE, SECOND, Job, Lease, State, Verb
from bot.core.polling import backoff
from bot.core.preferences import Notify
from bot.files.storage import PictureStorage
from bot.jobs import system_outages
from bot.jobs.changes import Changes
from bot.jobs.leases import Leases
from bot.jobs.reply_schedule import ReplySchedule
from bot.jobs.service import Jobs
from bot.jobs.system_outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.pictures.byte_budget import ByteBudget
from bot.pictures.fit import Fitted
from bot.pictures.provenance import ai_mark
from bot.store.database import CONNECTION_LOST
from bot.store.gallery import GalleryCopies
from bot.store.preferences import MemberPreferences
from bot.store.replies import DueReply
from bot.store.store import Store

log = logging.getLogger(__name__)

REQUEST_LIMIT = 24 * 1024 * 1024  # Discord takes 25 MiB a request; the card itself needs a little
FILE_SLACK = 64 * 1024
SPACING = 3 * SECOND  # between two cards of an unfinished job
LONG_JOB = 30 * SECOND  # from the command: the member may have looked elsewhere
NEWS_LIFE = 10 * MINUTE  # after which nobody is told that a job has ended
QUIET_AFTER = HOUR  # Discord limits edits of messages older than that (30046)
MAX_DELIVERIES = 32
MAX_LARGE = 2  # of them for cards whose pictures must be made smaller, which takes seconds each
MAX_WAITING = 16  # of them for cards of unfinished jobs, so that a final one finds a slot
MAX_UPLOADED = 64 * 1024 * 1024  # bytes of pictures in memory that need not be made smaller
CONNECTION_LOST_DELAY = 2 * SECOND
LONGEST_SLEEP = 60.0  # seconds
COMPARE_EVERY = 30 * SECOND
JUST_DUE = 5 * SECOND  # a reply that has been due for less may be about to enter the schedule
REREAD_DELAY = 1.0  # seconds
SIZE_STEPS = 3  # attempts to shrink a message that is too large
BLOCKED_DELAY = 10 * MINUTE  # until a path that Discord has closed is retried; doubled each time
MAX_BLOCKED_DELAY = HOUR  # each attempt counts towards Discord's limit of refused requests


@dataclass(frozen=True, slots=True)
class Upload:
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: *complete* with all pictures; else *retry* says whether the missing ones may follow later."""

    message_id: int
    complete: bool = True
    retry: bool = False


class Messenger(Protocol):
    async def send(self, card: Card, reply: Reply, *, path: ReplyPath, uploads: Sequence[Upload]) -> int:
        """Send *card* by *path*; returns the message's id and raises only the delivery errors of `bot.core.errors`.

        `RateLimitReached` where it is not sent now: others may have used the path since `delay`.
        """
        ...

    async def delete(self, reply: Reply, *, path: ReplyPath) -> None:
        """Delete the reply's message by *path*; raises as `send` does."""
        ...

    async def delete_copy(self, *, channel_id: int, message_id: int) -> None:
        """Delete a message of ours; raises `DeliverLater` only, what cannot be deleted is logged."""
        ...

    def delay(self, reply: Reply, *, path: ReplyPath, final: bool) -> float:
        """Seconds until a card should be sent by *path*, so that Discord's limit of that path is not used up."""
        ...

    async def open_thread(self, card: Card, reply: Reply, *, message_id: int) -> None:
        """Open a thread on the card's message; raises nothing."""
        ...

    async def notify(self, card: Card, reply: Reply) -> bool:
        """Send the member a direct message about how the job ended; False where they accept none.

        `DeliverLater` when it cannot be sent now.
        """
        ...

    async def announce(self, card: Card, reply: Reply, *, by: Notify) -> None:
        """Tell the member once that their job has ended; what cannot be sent is only logged."""
        ...


class Fitter(Protocol):
    async def fit(self, data: bytes, *, max_bytes: int, xmp: bytes) -> Fitted | None: ...


class Delivery:
    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        messenger: Messenger,
        *,
        fitter: Fitter,
        storage: PictureStorage,
        link: Callable[[str, Picture], str | None],
        preferences: MemberPreferences,
        gallery: GalleryCopies,
        outages: Outages,
        wakeups: Wakeups,
        leases: Leases,
        changes: Changes,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        """*link*: a picture's public address, None where the operator serves none."""
        self._store = store
        self._jobs = jobs
        self._messenger = messenger
        self._fitter = fitter
        self._storage = storage
        self._link = link
        self._preferences = preferences
        self._gallery = gallery
        self._random = random
        self._outages = outages
        self._wakeups = wakeups
        self._leases = leases
        self._clock = clock
        self._schedule = ReplySchedule(clock, slots=MAX_DELIVERIES, large_slots=MAX_LARGE, waiting_slots=MAX_WAITING)
        self._uploaded = ByteBudget(MAX_UPLOADED)
        self._compared_at = 0
        self._idle = asyncio.Event()
        self._idle.set()
        store.on_reply_due(self._reply_due)
        changes.on_reply_due(self._reply_due)

    def _reply_due(self, due: DueReply) -> None:
        if self._leases.owns(due.worker):
            if self._schedule.set(due):
                self._wakeups.replies.set()
        elif due.due_at is not None:
            self._leases.check_owner(due.worker)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver due replies until *stop*; afterwards `drain` finishes the deliveries in progress."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                self._wakeups.replies.clear()
                await self._read_rows()
                for job_id in self._schedule.take_due():
                    group.create_task(self._attend(job_id))
                await _wait(self._wakeups.replies, seconds=self._sleep())

    async def run_due(self) -> int:
        """Deliver every reply that is due now, once; returns their number."""
        await self._read_rows()
        due = self._schedule.take_due()
        async with asyncio.TaskGroup() as group:
            for job_id in due:
                group.create_task(self._attend(job_id))
        return len(due)

    async def drain(self, *, seconds: float) -> None:
        """Deliver due replies before the program ends, for at most *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                while await self.run_due():
                    pass
                await self._idle.wait()
        except TimeoutError:
            log.warning("Stopped with replies still to send; they go out at the next start", extra={"event": "drain"})

    # --- what is due

    def _sleep(self) -> float:
        times = [self._compared_at + COMPARE_EVERY]
        if (next_at := self._schedule.next_at) is not None:
            times.append(next_at)
        longest = REREAD_DELAY if self._wakeups.reread_replies.is_set() else LONGEST_SLEEP
        return max(0.0, min(longest, (min(times) - self._clock()) / 1000))

    async def _read_rows(self) -> None:
        """Take over what another process has changed; and from time to time look for due replies that are missing."""
        if self._wakeups.reread_replies.is_set():
            with self._outages.outlasting(system_outages.UNREAD):
                await self.reload()
        elif self._clock() >= self._compared_at + COMPARE_EVERY:
            self._compared_at = self._clock()
            with self._outages.outlasting(system_outages.UNREAD):
                await self.find_missing()

    async def reload(self) -> None:
        """Rebuild the schedule from the rows."""
        self._schedule.begin_reading()
        self._compared_at = self._clock()
        self._wakeups.reread_replies.clear()
        try:
            rows = await self._store.due_replies(worker=self._leases.worker)
        except BaseException:
            self._wakeups.reread_replies.set()
            raise
        self._schedule.replace(rows)

    async def find_missing(self) -> None:
        """Schedule replies that are due by their rows only. There should be none, so each is logged as a defect."""
        self._schedule.begin_reading()
        rows = await self._store.due_replies(before=self._clock() - JUST_DUE, worker=self._leases.worker)
        for job_id in self._schedule.add_missing(rows):
            extra = {"event": "reply_found", "job_id": job_id}
            log.warning("A due reply was missing from the schedule", extra=extra)

    async def _attend(self, job_id: str) -> None:
        self._idle.clear()
        not_before = None
        try:
            not_before = await self.deliver(job_id)
        except CONNECTION_LOST as exc:
            extra = {"event": "store_trouble", "job_id": job_id}
            log.warning("A delivery lost the connection to the database: %s", type(exc).__name__, extra=extra)
            not_before = self._clock() + CONNECTION_LOST_DELAY
        except Exception as exc:  # one job's error must not stop the others' replies
            delay = system_outages.RETRY_AFTER
            if self._outages.seen(exc) is None:
                log.exception("A reply could not be sent", extra={"event": "reply_error", "job_id": job_id})
                delay = MINUTE
            not_before = self._clock() + delay  # in memory, since the database may be the cause
        finally:
            self._schedule.done(job_id, not_before=not_before)
            self._wakeups.replies.set()
            if self._schedule.is_idle:
                self._idle.set()

    # --- one reply

    async def deliver(self, job_id: str) -> int | None:
        """Update one reply, or store when to retry; returns when its next card may be sent, None if at any time."""
        if not self._leases.held:  # another process may have claimed the job
            return self._clock() + SECOND
        found = await self._jobs.card_and_reply(job_id)
        if found is None:
            self._schedule.drop(job_id)
            return None
        card, reply = found
        if not self._leases.owns(card.job.lease.worker):
            self._schedule.drop(job_id)
            return None
        if reply.gone:
            await self._store.mark_reply_gone(job_id, lease=card.job.lease)
            return None
        if card.job.deleted_at is not None:
            await self._delete(reply, lease=card.job.lease)
            return None
        now = self._clock()
        if not card.job.state.is_final and now - card.job.created_at > QUIET_AFTER:
            return now + HOUR
        try:
            await self._send_within_limits(replace(card, final_edit=_is_final_edit(card.job, reply, now=now)), reply)
        except RateLimitReached as exc:
            return self._clock() + math.ceil(exc.retry_after * 1000)
        return None if card.job.state.is_final else self._clock() + SPACING

    async def _send_within_limits(self, card: Card, reply: Reply) -> None:
        """Send a card, unless Discord's limits do not allow it now, or it is large and has to wait for a slot."""
        open_paths = paths(reply, now=self._clock(), final=_shows_files(card))
        if open_paths:  # before any picture is read
            delay = self._messenger.delay(reply, path=open_paths[0], final=card.job.state.is_final)
            if delay > 0:
                raise RateLimitReached(delay)
        if not _is_large(card, reply):
            async with self._uploaded.hold(sum(each.size for each in card.pictures) if _shows_files(card) else 0):
                await self._send(card, reply)
        elif self._schedule.claim_large_slot(card.job.id):
            await self._send(card, reply)

    async def _send(self, card: Card, reply: Reply) -> None:
        final = card.job.state.is_final and not card.hidden  # a hidden job gets no new message
        lease, reopens = card.job.lease, False
        try:
            for path in paths(reply, now=self._clock(), final=final):
                try:
                    sent = await self._send_by(path, card, reply)
                except PathClosed as exc:
                    await self._closed(path, reply, exc)
                    reopens = reopens or not exc.permanent
                    if exc.channel:
                        break
                else:
                    await self._open_thread(card, reply, message_id=sent.message_id)
                    await self._record_sent(card, reply, sent)
                    return
            if final and not reply.notified:
                await self._notify(card, reply)
        except MessageGone:
            await self._store.mark_reply_gone(reply.job_id, lease=lease)
        except DeliverLater as exc:
            await self._postpone(reply, exc, lease=lease)
        else:  # a click on the reply or /jobs delivers it, and so does a path that opens again
            due_at = self._blocked_until(card, reply) if reopens else None
            await self._store.postpone_delivery(reply.job_id, due_at=due_at, version=reply.wanted, lease=lease)

    async def _open_thread(self, card: Card, reply: Reply, *, message_id: int) -> None:
        """Open the thread that the finished card is to get; if Discord refuses, the card has none."""
        if reply.thread and card.job.state is State.SUCCEEDED and not card.hidden and not reply.ephemeral:
            await self._messenger.open_thread(card, reply, message_id=message_id)
            await self._store.mark_thread_opened(reply.job_id, lease=card.job.lease)

    async def _delete(self, reply: Reply, *, lease: Lease) -> None:
        """Delete the message of a deleted job and its copy in a gallery.

        Where no path is open, nothing can be done; its buttons say so.
        """
        if (copy := await self._gallery.find(reply.job_id)) is not None:
            try:
                await self._messenger.delete_copy(channel_id=copy.channel_id, message_id=copy.message_id)
            except DeliverLater as exc:
                await self._postpone(reply, exc, lease=lease)
                return
            await self._gallery.forget(reply.job_id)
        for path in paths(reply, now=self._clock(), final=False):
            try:
                await self._messenger.delete(reply, path=path)
            except PathClosed as exc:
                await self._closed(path, reply, exc)
            except MessageGone:
                break
            except DeliverLater as exc:
                await self._postpone(reply, exc, lease=lease)
                return
            else:
                break
        await self._store.mark_reply_gone(reply.job_id, lease=lease)

    async def _closed(self, path: ReplyPath, reply: Reply, exc: PathClosed) -> None:
        log.info("A path to a reply is closed", extra={"event": "way_closed", "job_id": reply.job_id, "way": path})
        log.debug("%s", exc)
        if path is ReplyPath.TOKEN and exc.permanent and reply.token is not None:
            await self._store.drop_token(reply.job_id, reply.token)

    async def _notify(self, card: Card, reply: Reply) -> None:
        """Notify the member of the end of a job by a direct message, once, if no other path is left."""
        event = "notified" if await self._messenger.notify(card, reply) else "not_notified"
        log.info("A direct message was tried", extra={"event": event, "job_id": reply.job_id})
        await self._store.mark_notified(reply.job_id, lease=card.job.lease)

    def _blocked_until(self, card: Card, reply: Reply) -> int | None:
        """When a closed path is retried; None once /jobs no longer lists the job and its pictures are deleted."""
        now, ended_at = self._clock(), card.job.ended_at
        if ended_at is not None and now >= ended_at + JOBS_LIST_RETENTION and not card.pictures:
            return None
        return now + min(MAX_BLOCKED_DELAY, BLOCKED_DELAY << min(reply.attempts, 10))

    async def _send_by(self, path: ReplyPath, card: Card, reply: Reply) -> Sent:
        """Send by one path, smaller each time that Discord rejects it; `PathClosed` where nothing is accepted."""
        max_bytes = room_for_files(reply.filesize_limit)
        for _ in range(SIZE_STEPS):
            fitted, uploads, later = await self._fitted(card, max_bytes=max_bytes)
            if later and not uploads:
                break
            try:
                message_id = await self._messenger.send(fitted, reply, path=path, uploads=uploads)
            except TooLarge:
                max_bytes //= 3
            except ContentBlocked:
                break
            else:
                return Sent(message_id, complete=not fitted.withheld, retry=later)
        return await self._send_text(path, self._without_files(card), reply, tried=not uploads and not later)

    async def _send_text(self, path: ReplyPath, card: Card, reply: Reply, *, tried: bool) -> Sent:
        """Send *card* without files: with the prompt unless that was *tried*, then without."""
        if card.withheld and reply.text_version == reply.wanted and reply.message_id is not None:
            return Sent(reply.message_id, complete=False, retry=True)  # the message says so already
        blocked: Exception | None = None
        for each in (_without_prompt(card),) if tried else (card, _without_prompt(card)):
            try:
                message_id = await self._messenger.send(each, reply, path=path, uploads=())
            except (TooLarge, ContentBlocked) as exc:
                blocked = exc
            else:
                return Sent(message_id, complete=not card.withheld, retry=True)
        raise PathClosed(str(blocked)) from blocked

    async def uploads(self, card: Card, *, max_bytes: int) -> tuple[Card, Sequence[Upload]]:
        """The pictures as files that fit into a message (*max_bytes* each); those that do not fit become links."""
        fitted, uploads, _ = await self._fitted(card, max_bytes=max_bytes)
        return fitted, uploads

    async def originals(self, card: Card, *, max_bytes: int) -> tuple[Card, Sequence[Upload]]:
        """The pictures as files exactly as they were made; those over *max_bytes* or a message's room become links."""
        uploads, links, room = [], [], REQUEST_LIMIT
        for picture in card.pictures:
            data = await self._storage.read(picture.file) if picture.size <= max_bytes else None
            if data is not None and len(data) <= min(room, max_bytes):
                uploads.append(Upload(picture.file, data))
                room -= len(data)
            elif (address := self._link(card.job.id, picture)) is not None:
                links.append(address)
        missing = len(card.pictures) - len(uploads) - len(links)
        return replace(card, links=tuple(links), withheld=missing > 0), uploads

    async def _fitted(self, card: Card, *, max_bytes: int) -> tuple[Card, Sequence[Upload], bool]:
        """What `uploads` returns, and whether more may fit later."""
        if not _shows_files(card):
            return card, (), False
        uploads, links, room, later = [], [], REQUEST_LIMIT, False
        for number, picture in enumerate(card.pictures):
            share = min(max_bytes, room // (len(card.pictures) - number))
            try:
                upload = await self._fit(picture, card, max_bytes=share)
            except (OSError, BrokenExecutor) as exc:  # `TimeoutError` is one of the first
                if self._outages.seen(exc) is None:
                    log.exception("A picture cannot be uploaded now", extra={"event": "fit_failed"})
                upload, later = None, True
            if upload is not None:
                uploads.append(upload)
                room -= len(upload.data)
            elif (address := self._link(card.job.id, picture)) is not None:
                links.append(address)
        missing = len(card.pictures) - len(uploads) - len(links)
        return replace(card, links=tuple(links), withheld=missing > 0), uploads, later

    def _without_files(self, card: Card) -> Card:
        if not _shows_files(card):
            return card
        links = tuple(found for each in card.pictures if (found := self._link(card.job.id, each)) is not None)
        return replace(card, links=links, withheld=bool(card.pictures) and not links)

    async def _fit(self, picture: Picture, card: Card, *, max_bytes: int) -> Upload | None:
        data = await self._storage.read(picture.file)
        if data is None:
            return None
        if len(data) <= max_bytes:
            return Upload(picture.file, data)
        try:
            fitted = await self._fitter.fit(data, max_bytes=max_bytes, xmp=_ai_mark_of(card))
        except (BadPicture, MemoryError):
            log.exception("A picture could not be made smaller", extra={"event": "fit_failed"})
            return None
        return None if fitted is None else Upload(f"{PurePath(picture.file).stem}.{fitted.type}", fitted.data)

    async def _postpone(self, reply: Reply, exc: DeliverLater, *, lease: Lease) -> None:
        self._outages.seen(exc)
        wait = backoff(reply.attempts + 1, retry_after=exc.retry_after, jitter=self._random())
        log.info("A reply is delayed", extra={"event": "reply_later", "job_id": reply.job_id, "seconds": round(wait)})
        log.debug("%s", exc)
        await self._store.postpone_delivery(
            reply.job_id, due_at=self._clock() + int(wait * 1000), version=reply.wanted, lease=lease
        )

    async def _record_sent(self, card: Card, reply: Reply, sent: Sent) -> None:
        now, final, job_id, lease = self._clock(), card.job.state.is_final, reply.job_id, card.job.lease
        if not sent.complete:
            due_at = self._blocked_until(card, reply) if sent.retry else None
            await self._store.mark_text_shown(
                job_id, version=reply.wanted, message_id=sent.message_id, due_at=due_at, lease=lease
            )
            return
        only_token = paths(reply, now=now, final=False) == (ReplyPath.TOKEN,)
        due_at = reply.final_edit_at if only_token and not final and not card.final_edit else None
        await self._store.mark_delivered(
            job_id, version=reply.wanted, message_id=sent.message_id, now=now, due_at=due_at, lease=lease
        )
        if final and _is_news(card, reply, now=now):
            await self._announce(card, replace(reply, message_id=sent.message_id))

    async def _announce(self, card: Card, reply: Reply) -> None:
        """Tell the member once what a public reply does not: why their job failed, or that a slow one has ended.

        An edited message notifies nobody.
        """
        by = (await self._preferences.get(card.job.place.user_id)).notify
        if by is Notify.OFF and not _explains(card):
            return
        if await self._store.mark_notified(reply.job_id, lease=card.job.lease):  # before: rather never than twice
            await self._messenger.announce(card, reply, by=by)


def room_for_files(filesize_limit: int) -> int:
    """How many bytes of files fit into one message where Discord takes files of *filesize_limit* bytes."""
    return min(filesize_limit - FILE_SLACK, REQUEST_LIMIT)


def _is_news(card: Card, reply: Reply, *, now: int) -> bool:
    """Whether the member is to be told how their job has ended."""
    job = card.job
    if job.ended_at is None or reply.notified or card.hidden or job.state is State.CANCELLED:
        return False
    return now - job.ended_at <= NEWS_LIFE and (_explains(card) or job.ended_at - job.created_at > LONG_JOB)


def _explains(card: Card) -> bool:
    """Whether the public reply keeps from others why the job has ended."""
    return card.job.state in (State.FAILED, State.REFUSED) and not card.job.images and not card.private


def _is_large(card: Card, reply: Reply) -> bool:
    """Whether a picture of the card must be made smaller."""
    share = min(reply.filesize_limit - FILE_SLACK, REQUEST_LIMIT // max(1, len(card.pictures)))
    return _shows_files(card) and any(each.size > share for each in card.pictures)


def _shows_files(card: Card) -> bool:
    return card.job.state.is_final and not card.hidden and not card.by_rules


def _without_prompt(card: Card) -> Card:
    """The card without the prompt, for a server whose filters block it."""
    return replace(card, job=replace(card.job, request=replace(card.job.request, prompt="")))


def _ai_mark_of(card: Card) -> bytes:
    """XMP that marks a re-encoded picture as AI-generated; unchanged files keep their provider's metadata."""
    return ai_mark(card.model, edited=card.job.request.verb is Verb.EDIT)


def _is_final_edit(job: Job, reply: Reply, *, now: int) -> bool:
    """Whether this may be the last edit of an unfinished reply that needs no click."""
    if job.state.is_final or paths(reply, now=now, final=False) != (ReplyPath.TOKEN,):
        return False
    return now >= reply.final_edit_at


async def _wait(event: asyncio.Event, *, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass

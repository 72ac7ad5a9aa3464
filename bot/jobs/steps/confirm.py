"""Asks Discord for the card of a job whose acknowledgement was never recorded."""

from collections.abc import Awaitable, Callable

from bot.core.cards import Reply
from bot.core.errors import DeliverLater
from bot.core.jobs import WAIT_LIMIT, Job, State
from bot.jobs.steps.context import StepContext

MAX_LOOKUPS = 3  # Discord has denied messages that were there
RETRY_DELAY = 2.0  # seconds; longer with each attempt

FindReply = Callable[[Reply], Awaitable[tuple[int, bool] | None]]  # the message's id and whether it is ephemeral


class Confirm:
    def __init__(self, context: StepContext, find_reply: FindReply) -> None:
        """*find_reply* asks Discord for the message of a reply; None if there is none, `DeliverLater` if it cannot."""
        self._context = context
        self._find_reply = find_reply

    async def run(self, job: Job) -> int | None:
        at = self._context
        record = await at.store.job_record(job.id)
        now = at.clock()
        if record is None or not _can_be_found(record.reply) or now >= job.created_at + WAIT_LIMIT:
            await at.end(job, State.CANCELLED, reason="unacknowledged")
            return None
        try:
            found = await self._find_reply(record.reply)
        except DeliverLater as exc:
            return at.after(exc.retry_after or RETRY_DELAY * at.attempt(job, "confirm"))
        if found is not None:
            await at.store.acknowledge(job.id, message_id=found[0], ephemeral=found[1], now=now)
            return now
        if (lookups := at.attempt(job, "confirm")) < MAX_LOOKUPS:
            return at.after(RETRY_DELAY * lookups)
        await at.end(job, State.CANCELLED, reason="unacknowledged")
        return None


def _can_be_found(reply: Reply) -> bool:
    """Whether Discord can be asked: by the interaction's token, or for what follows the message that requested."""
    return reply.token is not None or reply.request_message is not None

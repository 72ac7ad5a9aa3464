"""Whose results a member may see."""

from bot.core.errors import UserError
from bot.store.queries import JobRecord


def sees(record: JobRecord, *, user_id: int, channel_id: int | None) -> bool:
    """Whether a member sees a job here: their own, or one whose public reply is shown in this very channel.

    Results in other channels are not shown to others, because they may not be allowed to read those.
    """
    job, reply = record.job, record.reply
    if job.deleted_at is not None:
        return False
    if job.place.user_id == user_id:
        return True
    public = reply.is_public and job.hidden_at is None and job.place.guild_id is not None
    return public and channel_id == job.place.channel_id


def require_seen(record: JobRecord | None, *, user_id: int, channel_id: int | None) -> JobRecord:
    """*record* if the member sees it; otherwise `UserError`, the same for a job that does not exist."""
    if record is None or not sees(record, user_id=user_id, channel_id=channel_id):
        raise UserError("job.unknown")
    return record

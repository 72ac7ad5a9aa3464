"""One press of a button or one submitted form, as its custom id says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.jobs import Job
from bot.ui.interactions.parsing import address_of
from bot.ui.interactions.responder import Interaction


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A pressed button or a submitted form. Its custom id is `<kind and version>:<id>[:<action>[:<n>[:<value>]]]`.

    *received_at* is in UTC milliseconds. *on_reply*: the button is on the job's own reply, not in a list such as
    `/jobs`.
    """

    interaction: Interaction
    received_at: int
    on_reply: bool = False

    @property
    def parts(self) -> Sequence[str]:
        data: Mapping[str, Any] = self.interaction.data or {}
        return str(data.get("custom_id", "")).split(":")

    @property
    def kind(self) -> str:
        return self._part(0)

    @property
    def id(self) -> str:
        return self._part(1)

    @property
    def action(self) -> str:
        return self._part(2)

    @property
    def n(self) -> int:
        """The number of a picture, from 1; 0 where the custom id has none."""
        number = self._part(3)
        return int(number) if number.isdecimal() and len(number) < 4 else 0

    @property
    def value(self) -> str:
        return self._part(4)

    @property
    def user_id(self) -> int:
        return self.interaction.user.id

    @property
    def on_ephemeral(self) -> bool:
        return self.interaction.message is not None and self.interaction.message.flags.ephemeral

    @property
    def source(self) -> str | None:
        """The message with the button, as `Job.source`."""
        return address_of(self.interaction, self.interaction.message)

    def may_moderate(self, job: Job | None) -> bool:
        """Whether the member may manage messages in the server that *job* belongs to."""
        here = self.interaction.guild_id
        return (
            job is not None
            and here is not None
            and job.place.guild_id == here
            and self.interaction.permissions.manage_messages
        )

    def owner_for(self, job: Job | None) -> int:
        """The user id whose jobs the member may delete: their own, or *job*'s requester's for a moderator."""
        return job.place.user_id if job is not None and self.may_moderate(job) else self.user_id

    def _part(self, position: int) -> str:
        parts = self.parts
        return parts[position] if position < len(parts) else ""

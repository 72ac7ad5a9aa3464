"""What somebody asks for, as typed and unchecked, and the interaction by which they do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bot.core.catalog import RequestedOptions
from bot.core.jobs import Place, Reference, Verb

VIEW_CHANNEL, SEND_MESSAGES, ATTACH_FILES, SEND_IN_THREADS = 1 << 10, 1 << 11, 1 << 15, 1 << 38  # Discord's bits


@dataclass(frozen=True, slots=True)
class InteractionContext:
    """One interaction that asks for pictures: who, where, and how its reply can be reached."""

    interaction_id: int
    application_id: int
    token: str
    received_at: int
    place: Place
    locale: str
    filesize_limit: int
    bot_can_edit: bool
    bot_can_post: bool
    app_permissions: int  # Discord's bits: what the bot may do in this place, as the interaction says
    private: bool = False


def missing_permissions(place: Place, app_permissions: int, *, private: bool) -> tuple[str, ...]:
    """Discord's names of what the bot lacks to show a reply in *place* with pictures, and to change it later.

    A private reply needs nothing, and neither do direct messages and places where only the member has the bot.
    """
    if private or place.guild_id is None or not place.installed:
        return ()
    in_thread = place.parent_id is not None
    send = ("send_messages_in_threads", SEND_IN_THREADS) if in_thread else ("send_messages", SEND_MESSAGES)
    needed = (("view_channel", VIEW_CHANNEL), send, ("attach_files", ATTACH_FILES))
    return tuple(name for name, bit in needed if not app_permissions & bit)


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """What a member asks for, as typed: unchecked, and kept as a draft when it cannot be done."""

    verb: Verb
    prompt: str
    model: str | None = None
    asked: RequestedOptions = field(default_factory=RequestedOptions)
    references: tuple[Reference, ...] = ()
    private: bool = False
    parent_id: str | None = None

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, body: Mapping[str, Any]) -> "RequestDraft":
        fields = dict(body)
        fields["verb"] = Verb(fields["verb"])
        fields["asked"] = RequestedOptions(**fields["asked"])
        fields["references"] = tuple(Reference(**each) for each in fields["references"])
        return cls(**fields)

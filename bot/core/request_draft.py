"""An unchecked request for pictures (`RequestDraft`), and the interaction that it came with (`InteractionContext`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bot.core.catalog import RequestedOptions
from bot.core.jobs import AppliedStyle, Place, Reference, Verb

# Discord's permission bits
VIEW_CHANNEL, SEND_MESSAGES, ATTACH_FILES, SEND_IN_THREADS = 1 << 10, 1 << 11, 1 << 15, 1 << 38


@dataclass(frozen=True, slots=True)
class InteractionContext:
    """One interaction, or one message, that requests pictures: who, where, and how its reply can be updated.

    *interaction_id* is the message's id where a message requests.
    """

    interaction_id: int
    application_id: int
    token: str
    received_at: int
    place: Place
    locale: str
    filesize_limit: int
    bot_can_edit: bool
    bot_can_post: bool
    app_permissions: int  # Discord's bits: the bot's permissions in this channel, as the interaction says
    private: bool = False
    can_open_thread: bool = False  # the bot may open threads in this channel
    request_message: int | None = None  # the message that requests, instead of an interaction; then *token* is empty


def missing_permissions(place: Place, app_permissions: int, *, private: bool) -> tuple[str, ...]:
    """Discord's names of the permissions that the bot lacks to post a reply with pictures in *place* and edit it later.

    Private replies, direct messages and user installs need no permission.
    """
    if private or place.guild_id is None or not place.installed:
        return ()
    in_thread = place.parent_id is not None
    send = ("send_messages_in_threads", SEND_IN_THREADS) if in_thread else ("send_messages", SEND_MESSAGES)
    needed = (("view_channel", VIEW_CHANNEL), send, ("attach_files", ATTACH_FILES))
    return tuple(name for name, bit in needed if not app_permissions & bit)


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """What a member asks for, as typed and unchecked; saved while a form or a button is open."""

    verb: Verb
    prompt: str
    model: str | None = None
    asked: RequestedOptions = field(default_factory=RequestedOptions)
    references: tuple[Reference, ...] = ()
    private: bool = False
    parent_id: str | None = None
    source: str | None = None  # the message that the references are from, as `Job.source`
    style: str | AppliedStyle | None = None  # a name to look up, or one that is applied already
    ignored_flags: tuple[str, ...] = ()  # typed in the prompt, without a meaning here
    overridden_flags: tuple[str, ...] = ()  # typed in the prompt, while another value of the option was chosen
    thread: bool = False  # the result gets a thread

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, body: Mapping[str, Any]) -> "RequestDraft":
        fields = dict(body)
        fields["verb"] = Verb(fields["verb"])
        fields["asked"] = RequestedOptions(**fields["asked"])
        fields["references"] = tuple(Reference(**each) for each in fields["references"])
        if isinstance(style := fields.get("style"), Mapping):
            fields["style"] = AppliedStyle(**style)
        for each in ("ignored_flags", "overridden_flags"):  # drafts of older versions have none
            fields[each] = tuple(fields.get(each, ()))
        return cls(**fields)

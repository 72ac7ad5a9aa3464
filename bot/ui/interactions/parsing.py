"""Reads interactions: the place, how the reply can be reached, reference pictures and the fields of forms."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import discord

from bot.core.jobs import Place, Reference, message_address
from bot.core.references import UNKNOWN_TYPE, link_expires_at, media_type, path_of
from bot.core.request_draft import InteractionContext

DRAWN_STICKERS = frozenset({discord.StickerFormatType.png, discord.StickerFormatType.apng})
THREADS = frozenset(
    {discord.ChannelType.news_thread, discord.ChannelType.public_thread, discord.ChannelType.private_thread}
)


def place_of(interaction: discord.Interaction[Any], *, member: bool) -> Place:
    """Where an interaction comes from, and its user. *member*: the bot is a member of the server."""
    guild_id = interaction.guild_id
    thread = getattr(interaction.channel, "type", None) in THREADS
    return Place(
        user_id=interaction.user.id,
        channel_id=interaction.channel_id or 0,
        guild_id=guild_id,
        parent_id=(getattr(interaction.channel, "parent_id", None) or None) if thread else None,
        installed=guild_id is None or member,
        roles=() if guild_id is None else (guild_id, *_roles(interaction.user)),  # `@everyone` has the server's id
    )


def _roles(user: discord.User | discord.Member) -> Sequence[int]:
    # `Member.roles` leaves out roles that are not in the cache, and with them the limits that they give.
    return sorted(getattr(user, "_roles", ()))


def is_direct(interaction: discord.Interaction[Any]) -> bool:
    """Whether this is a direct message with the bot itself."""
    return interaction.guild_id is None and bool(interaction.context.dm_channel)


def is_age_restricted(interaction: discord.Interaction[Any]) -> bool:
    """Whether Discord restricts the channel, or the channel of a thread, to adults."""
    channel = interaction.channel
    parent = getattr(channel, "parent", None)
    return any(bool(getattr(each, "nsfw", False)) for each in (channel, parent) if each is not None)


def context_of(
    interaction: discord.Interaction[Any],
    *,
    received_at: int,
    member: bool,
    private: bool,
    locale: str | None = None,
) -> InteractionContext:
    """What a job keeps of its interaction.

    *received_at* is in UTC milliseconds; *member*: the bot is a member of the server; *private*: the reply is
    ephemeral; *locale*: the member's own choice, instead of Discord's.
    """
    can_edit, can_post = _bot_access(interaction, member=member)
    return InteractionContext(
        interaction_id=interaction.id,
        application_id=interaction.application_id,
        token=interaction.token,
        received_at=received_at,
        place=place_of(interaction, member=member),
        locale=locale or str(interaction.locale),
        filesize_limit=interaction.filesize_limit,
        bot_can_edit=can_edit,
        bot_can_post=can_post,
        app_permissions=interaction.app_permissions.value,
        private=private,
        can_open_thread=member and can_open_thread(interaction),
    )


def can_open_thread(interaction: discord.Interaction[Any]) -> bool:
    """Whether the bot may open threads on messages in the channel, which is a server's text channel."""
    is_text = getattr(interaction.channel, "type", None) is discord.ChannelType.text
    return interaction.guild_id is not None and is_text and interaction.app_permissions.create_public_threads


def _bot_access(interaction: discord.Interaction[Any], *, member: bool) -> tuple[bool, bool]:
    """Whether the bot may, with its own token, edit its messages in the channel, and post new ones with pictures."""
    if is_direct(interaction):
        return True, True
    if not member:
        return False, False
    permissions = interaction.app_permissions
    in_thread = getattr(interaction.channel, "type", None) in THREADS
    writes = permissions.send_messages_in_threads if in_thread else permissions.send_messages
    return permissions.view_channel, permissions.view_channel and writes and permissions.attach_files


def address_of(interaction: discord.Interaction[Any], message: discord.Message | None) -> str | None:
    """The `message_address` of *message*; None for an ephemeral one, which nobody else can open."""
    if message is None or message.flags.ephemeral:
        return None
    return message_address(interaction.guild_id, message.channel.id, message.id)


# --- pictures


def reference_of(attachment: discord.Attachment) -> Reference:
    return Reference(
        url=attachment.url,
        filename=attachment.filename,
        content_type=attachment.content_type,
        size=attachment.size,
        expires_at=link_expires_at(attachment.url),
    )


def pictures_in(message: discord.Message) -> tuple[Reference, ...]:
    """The possible pictures in a message and its forwarded snapshots, in the order shown, without duplicates."""
    references: dict[str, Reference] = {}
    sources: list[discord.Message | discord.MessageSnapshot] = [message, *message.message_snapshots]
    for source in sources:
        attached = [reference_of(each) for each in source.attachments if _may_be_picture(each.content_type)]
        stickers = [_sticker(each) for each in source.stickers if each.format in DRAWN_STICKERS]
        for each in (*attached, *_in_galleries(source.components), *_in_embeds(source.embeds), *stickers):
            references.setdefault(path_of(each.url), each)
    return tuple(references.values())


def _sticker(sticker: discord.StickerItem) -> Reference:
    return Reference(sticker.url, f"{sticker.name}.{sticker.format.file_extension}")


def avatar_of(user: discord.User | discord.Member) -> Reference:
    """A user's avatar as they have it here, or Discord's default one, as a still PNG."""
    url = user.display_avatar.with_static_format("png").with_format("png").with_size(1024).url
    return Reference(url, f"{user.name}.png", content_type="image/png")


def picture_by_number(message: discord.Message, job_id: str, n: int) -> Reference | None:
    """Picture *n* of a job in *message*, found by its file name `<job id>-<n>.…`; None if it is not shown there."""
    for each in _in_galleries(message.components):
        if PurePosixPath(each.filename).stem == f"{job_id}-{n}":
            return each
    return None


def _in_galleries(components: Sequence[Any]) -> Iterator[Reference]:
    for each in components:
        for media in [item.media for item in getattr(each, "items", ())]:
            url = media.url if media.attachment_id is not None else media.proxy_url or media.url
            if url.startswith(("https://", "http://")) and _may_be_picture(media.content_type):
                yield Reference(url, _name(url), content_type=media.content_type, expires_at=link_expires_at(url))
        yield from _in_galleries(getattr(each, "children", ()))  # a message that was fetched is not flattened


def _in_embeds(embeds: Sequence[discord.Embed]) -> Iterator[Reference]:
    for embed in embeds:
        for image in (embed.image, embed.thumbnail):
            if image.proxy_url:  # Discord's copy; the original is on some other host
                yield Reference(image.proxy_url, _name(image.proxy_url), expires_at=link_expires_at(image.proxy_url))


def _name(url: str) -> str:
    return unquote(PurePosixPath(path_of(url)).name) or "picture"


def _may_be_picture(content_type: str | None) -> bool:
    """Whether a content type is an image's or says nothing; Discord derives it from the file name alone."""
    kind = media_type(content_type)
    return kind.startswith("image/") or kind == UNKNOWN_TYPE


# --- forms


def fields_of(interaction: discord.Interaction[Any]) -> Mapping[str, str | None]:
    """The values of a submitted form by field name; None for a field left empty."""
    data: Mapping[str, Any] = interaction.data or {}
    return dict(_fields(data.get("components") or []))


def chosen_in(interaction: discord.Interaction[Any]) -> Sequence[str]:
    """The values chosen in a select."""
    data: Mapping[str, Any] = interaction.data or {}
    return [str(each) for each in data.get("values") or []]


def files_in(interaction: discord.Interaction[Any]) -> tuple[Reference, ...]:
    """The files added to a submitted form, in their order."""
    data: Mapping[str, Any] = interaction.data or {}
    resolved = (data.get("resolved") or {}).get("attachments") or {}
    attached = [discord.Attachment(data=each, state=interaction._state) for each in resolved.values()]  # noqa: SLF001 - discord.py resolves them only for forms that it keeps
    return tuple(reference_of(each) for each in attached)


def _fields(components: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str | None]]:
    for each in components:
        children = each.get("components") or ([each["component"]] if each.get("component") else [])
        if children:
            yield from _fields(children)
        elif "custom_id" in each:
            values = each.get("values") or ([each["value"]] if each.get("value") else [])
            yield each["custom_id"], str(values[0]) if values else None

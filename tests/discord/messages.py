"""Messages with their versions, and building a version from a request body."""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.discord import rules
from tests.discord.cdn import Cdn, File, Upload
from tests.discord.rules import EPHEMERAL, LOADING, V2, Json, Refused
from tests.discord.waiting import Changes

if TYPE_CHECKING:
    from tests.discord.interactions import Interaction
    from tests.discord.world import Channel, User, World


class Button(NamedTuple):
    label: str
    custom_id: str | None
    disabled: bool


class Picture(NamedTuple):
    url: str
    alt: str | None
    spoiler: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One version of a message. Media of components contain the `File` under `file`; links are signed when read."""

    cdn: Cdn
    at: float
    content: str
    flags: int
    components: tuple[Json, ...]
    embeds: tuple[Json, ...]
    attachments: tuple[File, ...]

    @property
    def text(self) -> str:
        """What it says, with mentions of commands as their names."""
        displays = [each["content"] for _, each in rules.walk(self.components) if each.get("type") == 10]
        said = "\n".join([self.content, *displays] if self.content else displays)
        return re.sub(r"</([a-z_ ]+):\d+>", r"`/\1`", said)

    @property
    def buttons(self) -> list[Button]:
        every = [each for _, each in rules.walk(self.components) if each.get("type") == 2]
        return [Button(b.get("label") or "", b.get("custom_id"), bool(b.get("disabled"))) for b in every]

    @property
    def gallery(self) -> list[Picture]:
        return [
            Picture(address(self.cdn, item["media"]), item.get("description"), bool(item.get("spoiler")))
            for item in self._items()
        ]

    @property
    def thinking(self) -> bool:
        return bool(self.flags & LOADING)

    @property
    def shown_ids(self) -> frozenset[int]:
        """The ids of files in components, which Discord leaves out of a v2 message's attachments."""
        media = [one for _, each in rules.walk(self.components) for _, one in rules.media_of(each)]
        return frozenset(one["file"].id for one in media if "file" in one)

    def files(self) -> list[bytes]:
        """The bytes of the gallery's uploaded pictures, in order."""
        return [item["media"]["file"].data for item in self._items() if "file" in item["media"]]

    def _items(self) -> list[Json]:
        galleries = [each for _, each in rules.walk(self.components) if each.get("type") == 12]
        return [item for each in galleries for item in each["items"]]


class Message:
    """A message. Its properties are those of the newest version; `history` has all versions."""

    def __init__(
        self,
        *,
        message_id: int,
        channel: "Channel",
        author: "User",
        shown: Shown,
        kind: int = 0,
        interaction: "Interaction | None" = None,
    ) -> None:
        self.id = message_id
        self.channel = channel
        self.author = author
        self.kind = kind
        self.interaction = interaction
        self.history = [shown]
        self.deleted = False
        self.reference: Json | None = None
        self.listeners: list[Changes] = [channel.changes]

    def __repr__(self) -> str:
        state = "deleted " if self.deleted else "thinking " if self.now.thinking else ""
        return (
            f"<Message {self.id} {state}{self.text!r} {[b.label for b in self.buttons]} {len(self.gallery)} pictures>"
        )

    @property
    def now(self) -> Shown:
        return self.history[-1]

    @property
    def text(self) -> str:
        return self.now.text

    @property
    def buttons(self) -> list[Button]:
        return self.now.buttons

    @property
    def gallery(self) -> list[Picture]:
        return self.now.gallery

    @property
    def flags(self) -> int:
        return self.now.flags

    @property
    def attachments(self) -> tuple[File, ...]:
        return self.now.attachments

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)

    def files(self) -> list[bytes]:
        return self.now.files()

    async def until(self, predicate: "Callable[[Message], bool]", *, within: float) -> "Message":
        changes = Changes()
        self.listeners.append(changes)
        try:
            return await changes.until(lambda: self if predicate(self) else None, within=within, seen=lambda: self)
        finally:
            self.listeners.remove(changes)

    def become(self, shown: Shown) -> None:
        self.history.append(shown)
        self.tell()

    def vanish(self) -> None:
        self.deleted = True
        if self in self.channel.messages:
            self.channel.messages.remove(self)
        self.tell()

    def tell(self) -> None:
        for each in tuple(self.listeners):
            each.notify()


def address(cdn: Cdn, media: Json) -> str:
    return cdn.link(media["file"]) if "file" in media else str(media["url"])


def compose(
    world: "World",
    channel_id: int,
    *,
    body: Json,
    files: Sequence[Upload],
    limit: int,
    before: Shown | None = None,
    keep_unlisted: bool = True,
    ephemeral: bool = False,
) -> Shown:
    """The version of a message that *body* creates; raises `Refused`. *before* is the version that is edited."""
    if any(len(each.data) > limit for each in files):
        raise Refused(413, 40005, "Request entity too large")
    attachments = _attachments(world, channel_id, body, files, before, keep_unlisted=keep_unlisted)
    flags = _flags(body, before, ephemeral=ephemeral)
    whole: Json = {
        "flags": flags,
        "content": (before.content if before and "content" not in body else body.get("content")) or "",
        "embeds": (list(before.embeds) if before and "embeds" not in body else body.get("embeds")) or [],
        "components": (_as_sent(before) if before and "components" not in body else body.get("components")) or [],
    }
    rules.check_message(whole, filenames=frozenset(each.filename for each in attachments))
    if not (whole["content"] or whole["embeds"] or whole["components"] or attachments):
        raise Refused(400, 50006, "Cannot send an empty message")
    return Shown(
        cdn=world.cdn,
        at=world.now(),
        content=whole["content"],
        flags=flags,
        components=tuple(_resolve(world.cdn, whole["components"], attachments)),
        embeds=tuple(whole["embeds"]),
        attachments=attachments,
    )


def _flags(body: Json, before: Shown | None, *, ephemeral: bool) -> int:
    """The new flags: v2 cannot be unset, ephemeral is set by the first answer, and an edit clears loading."""
    wanted = int(body.get("flags") or 0) & ~(EPHEMERAL | LOADING)
    kept = before.flags & ~LOADING if before else 0
    return wanted | kept | (EPHEMERAL if ephemeral else 0)


def _as_sent(shown: Shown) -> list[Json]:
    """Components that an edit does not change, in the form that the rules check."""
    components: list[Json] = copy.deepcopy(list(shown.components))
    for _, each in rules.walk(components):
        for _, media in rules.media_of(each):
            if "file" in media:
                media["url"] = shown.cdn.link(media.pop("file"))
    return components


def _attachments(
    world: "World",
    channel_id: int,
    body: Json,
    files: Sequence[Upload],
    before: Shown | None,
    *,
    keep_unlisted: bool,
) -> tuple[File, ...]:
    had = {each.id: each for each in before.attachments} if before else {}
    listed = body.get("attachments")
    if listed is None:
        kept = list(had.values()) if keep_unlisted else []
        listed = [{"id": n} for n in range(len(files))]
    else:
        kept = []
    for n, entry in enumerate(listed):
        number = int(entry["id"])
        if number in had:
            kept.append(had[number])
        elif number < len(files):
            alt = entry.get("description")
            kept.append(world.cdn.keep(files[number], file_id=world.ids.next(), channel_id=channel_id, alt=alt))
        else:
            raise rules.invalid(f"attachments.{n}.id", "The referenced attachment was not found")
    if len(kept) > 10:
        raise Refused(400, 30015, "Maximum number of attachments in a message reached (10)")
    return tuple(kept)


def _resolve(cdn: Cdn, components: list[Json], attachments: Sequence[File]) -> list[Json]:
    """A copy of the components with ids assigned and URLs resolved to files; the request log keeps the original."""
    copied: list[Json] = copy.deepcopy(components)
    by_name = {each.filename: each for each in attachments}
    for n, (_, component) in enumerate(rules.walk(copied), start=1):
        component["id"] = component.get("id") or n
        for _, media in rules.media_of(component):
            url = str(media["url"])
            named = by_name.get(url.removeprefix("attachment://")) if url.startswith("attachment://") else cdn.find(url)
            if named is not None:
                media.clear()
                media["file"] = named
    return copied


def blank(world: "World", *, flags: int) -> Shown:
    """The placeholder of a deferred answer."""
    return Shown(world.cdn, world.now(), "", flags, (), (), ())


def render(shown: Shown) -> list[Json]:
    """A version's components as Discord sends them: media with newly signed links and facts about the file."""
    attached = {each.id for each in shown.attachments}
    components: list[Json] = copy.deepcopy(list(shown.components))
    for _, component in rules.walk(components):
        for _, media in rules.media_of(component):
            if "file" in media:
                file: Any = media.pop("file")
                media.update(shown.cdn.media(file, attached=file.id in attached))
            else:
                media.update({"proxy_url": media["url"], "flags": 0, "loading_state": 1})
    return components


def is_v2(shown: Shown) -> bool:
    return bool(shown.flags & V2)

"""What somebody asks for, as typed and unchecked, and the interaction by which they do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bot.core.catalog import Asked
from bot.core.jobs import Place, Reference, Verb


@dataclass(frozen=True, slots=True)
class Intake:
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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a member asks for, as typed: unchecked, and kept as a draft when it cannot be done."""

    verb: Verb
    prompt: str
    model: str | None = None
    asked: Asked = field(default_factory=Asked)
    references: tuple[Reference, ...] = ()
    private: bool = False
    parent_id: str | None = None

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, body: Mapping[str, Any]) -> "Wish":
        fields = dict(body)
        fields["verb"] = Verb(fields["verb"])
        fields["asked"] = Asked(**fields["asked"])
        fields["references"] = tuple(Reference(**each) for each in fields["references"])
        return cls(**fields)

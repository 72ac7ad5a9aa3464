"""Styles: words around a member's prompt, option values and a model, under a name that members choose.

The operator's are in `bot/config/models.toml`, a server's in its settings.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bot.core.routes import Part, Wire
from bot.core.visible import visible

MAX_NAME_LENGTH = 32
MAX_WORDS_LENGTH = 500  # before the prompt, and after it
MAX_STYLES = 50  # of one server

StyleWords = Annotated[str, Field(max_length=MAX_WORDS_LENGTH)]


class Style(BaseModel):
    """What a style adds to a request. *about* says it in a few words; where it is empty, the words are shown."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer version may have written more fields

    about: str = ""
    before: StyleWords = ""
    after: StyleWords = ""
    options: Mapping[str, str | int | bool] = Field(default_factory=dict)  # names as in `RequestedOptions`
    model: str | None = None


class StyleOptions(Part):
    """Option values of a style in `models.toml`; None leaves the option open."""

    aspect_ratio: str | None = None
    resolution: str | None = None
    format: str | None = None
    count: int | None = None
    seed: int | None = None
    safety: int | None = None
    web_search: bool | None = None
    thinking: str | None = None


class ConfiguredStyle(Part):
    """A style in `models.toml`."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    about: Annotated[str, Field(max_length=100)] = ""
    before: StyleWords = ""
    after: StyleWords = ""
    options: StyleOptions = StyleOptions()
    model: str | None = None

    @field_validator("name")
    @classmethod
    def _has_visible_name(cls, name: str) -> str:
        if not visible(name):
            raise ValueError("it has no visible character")
        return name

    @property
    def given(self) -> Mapping[str, Wire]:
        """The option values by name."""
        return {name: value for name, value in self.options if value is not None}

    @property
    def style(self) -> Style:
        return Style(about=self.about, before=self.before, after=self.after, options=self.given, model=self.model)

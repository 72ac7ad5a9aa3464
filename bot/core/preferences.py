"""A member's preferences, and filling in what a request leaves open with them. Pure."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Reference, Verb
from bot.core.request_draft import RequestDraft

# Stand in for what is not known yet, so that a request can be checked.
SAMPLE_REFERENCE = Reference("https://cdn.discordapp.com/sample.png", "sample.png")
SAMPLE_PROMPT = "a picture"  # long enough for every provider
FILLED_OPTIONS = ("resolution", "aspect_ratio", "format")


class Notify(StrEnum):
    """How a member is told that a job which took long has ended."""

    MENTION = "mention"  # where it was asked for, visible to them alone as long as Discord allows it
    DIRECT = "direct"
    OFF = "off"


class Preferences(BaseModel):
    """What a member wants unless a command says otherwise; None: as the server has it."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer version may have written more fields

    model: str | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    format: str | None = None
    private: bool | None = None
    notify: Notify = Notify.MENTION
    language: str | None = None  # a locale; None: Discord's own


def fill(
    draft: RequestDraft, preferences: Preferences, *, check: Callable[[RequestDraft], ImageRequest]
) -> RequestDraft:
    """*draft* with preferences for what it leaves open, as far as they are possible together with the rest.

    *check* validates a draft for the place of the request, and raises `UserError` where it is not possible.
    """
    if draft.model is None and preferences.model is not None:
        draft = _if_possible(draft, replace(draft, model=preferences.model), check)
    for name in FILLED_OPTIONS:
        preferred = getattr(preferences, name)
        if preferred is not None and getattr(draft.asked, name) is None:
            filled = replace(draft, asked=replace(draft.asked, **{name: preferred}))
            draft = _if_possible(draft, filled, check)
    return draft


def _if_possible(
    draft: RequestDraft, filled: RequestDraft, check: Callable[[RequestDraft], ImageRequest]
) -> RequestDraft:
    references = (SAMPLE_REFERENCE,) if draft.verb is Verb.EDIT else ()
    try:
        check(replace(filled, prompt=SAMPLE_PROMPT, references=references))
    except UserError:
        return draft
    return filled

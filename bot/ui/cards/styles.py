"""Draws styles: what each adds, as one line. Pure."""

from collections.abc import Iterator, Mapping

from bot.core.styles import Style

SEPARATOR = " · "
GAP = "…"  # stands for the prompt
PLAIN_OPTIONS = frozenset({"aspect_ratio", "resolution", "format"})  # whose values need no name
MAX_CHOICE_LENGTH = 100


def choice(name: str, style: Style, models: Mapping[str, str]) -> str:
    """A style's name and what it adds, in at most 100 characters."""
    text = " ".join(SEPARATOR.join(each for each in (name, added(style, models)) if each).split())
    return text if len(text) <= MAX_CHOICE_LENGTH else text[: MAX_CHOICE_LENGTH - 1].rstrip() + "…"


def added(style: Style, models: Mapping[str, str]) -> str:
    """`soft washes · 16:9 · Nano Banana Pro`: what a style adds; *models* has names by key. Not escaped."""
    return SEPARATOR.join([each for each in (style.about.strip() or words_of(style), *_options(style, models)) if each])


def words_of(style: Style) -> str:
    """`before … after`; empty for a style without words."""
    before, after = style.before.strip(), style.after.strip()
    return " ".join(each for each in (before, GAP, after) if each) if before or after else ""


def _options(style: Style, models: Mapping[str, str]) -> Iterator[str]:
    for name, value in style.options.items():
        yield str(value) if name in PLAIN_OPTIONS else f"{name} {str(value).lower()}"
    if style.model is not None:
        yield models.get(style.model, style.model)

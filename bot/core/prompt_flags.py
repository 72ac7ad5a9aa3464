"""Flags typed at the end of a prompt, as for Midjourney: `--ar 16:9 --seed 5 --no hands`. Pure.

Only names in `KINDS` make a flag, and only at the end of a prompt, so that dashes in ordinary text stay. Phones turn
`--` into a dash: then a flag needs a number or a ratio, or another flag that leaves no doubt.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from bot.core.catalog import Catalog, resolution_size
from bot.core.jobs import Verb
from bot.core.request_draft import RequestDraft

MARK = re.compile(r"(--|[\u2014\u2013])([A-Za-z]+)")
PUNCTUATION = ",;."  # after a flag or its value
NUMBER = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}%?")
WORD = re.compile(r"[\w.:-]{1,40}")
RATIO = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?[:/x\u00d7][0-9]{1,5}(?:\.[0-9]{1,3})?")
SEPARATOR = re.compile(r"[/x\u00d7]")  # of a ratio, where it is not a colon
ANY_RATIO = re.compile(r"[^\s`]{1,20}")  # a wrong one is refused with those that are valid
SEED = re.compile(r"[0-9]{1,20}")
REFERENCE = re.compile(r"https?://[^\s`]+|[0-9]+(?:::[0-9.]+)?|random")
NOTHING = re.compile(r"(?!)")
MAX_TYPED = 60  # characters of a flag that are repeated to the member

ASPECT, SEED_NAME, LARGEST, WITHOUT = "aspect", "seed", "hd", "no"
KINDS: Mapping[str, re.Pattern[str]] = {  # by name, the values that a flag may have
    **dict.fromkeys(("ar", ASPECT), ANY_RATIO),
    SEED_NAME: SEED,
    LARGEST: NOTHING,
    **dict.fromkeys(("v", "version", "niji", "q", "quality", "s", "stylize", "c", "chaos", "w", "weird", "iw", "cw",
                     "sw", "ow", "sv", "exp", "stop", "r", "repeat", "bs"), NUMBER),
    **dict.fromkeys(("style", "p", "profile", "motion"), WORD),
    **dict.fromkeys(("sref", "cref", "oref"), REFERENCE),
    **dict.fromkeys(("fast", "relax", "turbo", "draft", "raw", "tile", "video", "loop", "public", "stealth"), NOTHING),
}  # fmt: skip
SEVERAL = frozenset({"sref", "cref", "oref"})  # flags that may have more than one value
CERTAIN_AFTER_DASH = (NUMBER, SEED, ANY_RATIO)


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag as *typed* that sets *option*; without a *value*, to the largest that the model has."""

    typed: str
    option: str
    value: str | int | None = None


@dataclass(frozen=True, slots=True)
class SplitPrompt:
    """A prompt without its flags, those that set an option (each option once), and those that mean nothing here."""

    prompt: str
    meant: Sequence[Flag] = ()
    ignored: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Segment:
    """A flag's name with the tokens up to the next flag. Offsets are in the prompt."""

    start: int
    dash: bool  # after a dash, not two hyphens
    name: str
    tokens: tuple[str, ...]  # without the punctuation after the last one
    typed: str

    @property
    def is_flag(self) -> bool:
        """Whether it is one wherever other flags follow: a name with values that suit it, or an unknown number."""
        if self.name == WITHOUT:
            return not any("--" in each for each in self.tokens)
        kind = KINDS.get(self.name)
        if kind is None:
            return not self.tokens or (len(self.tokens) == 1 and bool(NUMBER.fullmatch(self.tokens[0])))
        if len(self.tokens) > 1 and self.name not in SEVERAL:
            return False
        kind = RATIO if kind is ANY_RATIO and self.dash else kind
        return all(kind.fullmatch(each) for each in self.tokens)

    @property
    def is_certain(self) -> bool:
        """Whether it is a flag even if no other one is near."""
        kind = KINDS.get(self.name)
        if not self.is_flag or (kind is None and self.name != WITHOUT) or (not self.tokens and kind is not NOTHING):
            return False
        return not self.dash or kind in CERTAIN_AFTER_DASH

    @property
    def may_follow(self) -> bool:
        """Whether it is a flag where another one comes before it: anything with one word at most."""
        short = len(self.tokens) <= 1 and all(WORD.fullmatch(each) for each in self.tokens)
        return self.is_flag or (short and not self.dash)


def split_flags(prompt: str) -> SplitPrompt:
    """Separate the flags at the end of *prompt* from it; without any, the prompt is returned unchanged."""
    flags = _tail(_segments(prompt))
    if not flags:
        return SplitPrompt(prompt)
    meant: dict[str, Flag] = {}
    ignored: dict[str, None] = {}
    unwanted: list[str] = []
    for each in flags:
        if each.name == WITHOUT and each.tokens:
            unwanted.append(" ".join(each.tokens))
        elif (flag := _meaning(each)) is not None:
            meant.pop(flag.option, None)
            meant[flag.option] = flag  # the last one counts
        else:
            ignored[each.typed] = None
    head = prompt[: flags[0].start].rstrip()
    return SplitPrompt(_with_unwanted(head, unwanted), tuple(meant.values()), tuple(ignored))


def apply_flags(
    draft: RequestDraft, catalog: Catalog, *, model: str | None, chosen: Collection[str] | None = None
) -> RequestDraft:
    """*draft* with the flags of its prompt as options, except for those that the member chose otherwise.

    *model* is the one that will be used, None where that is not known. *chosen* are names of options, by default of
    those that the draft has.
    """
    found = split_flags(draft.prompt)
    if not found.meant and not found.ignored:
        return draft if found.prompt == draft.prompt else replace(draft, prompt=found.prompt)
    options: dict[str, str | int] = {}
    ignored, overridden = list(found.ignored), list[str]()
    for flag in found.meant:
        value = _largest(catalog, model, draft.verb) if flag.value is None else flag.value
        given = getattr(draft.asked, flag.option)
        if value is None:
            ignored.append(flag.typed)
        elif given is None or (chosen is not None and flag.option not in chosen):
            options[flag.option] = value
        elif given != value:
            overridden.append(flag.typed)
    return replace(
        draft,
        prompt=found.prompt,
        asked=replace(draft.asked, **options),  # type: ignore[arg-type]
        ignored_flags=tuple(dict.fromkeys((*draft.ignored_flags, *ignored))),
        overridden_flags=tuple(dict.fromkeys((*draft.overridden_flags, *overridden))),
    )


def asks_for_largest(prompt: str) -> bool:
    """Whether a flag of *prompt* means something else for each model."""
    return any(each.value is None for each in split_flags(prompt).meant)


# --- parsing


def _segments(prompt: str) -> Sequence[_Segment]:
    tokens = [(each.start(), each[0]) for each in re.finditer(r"\S+", prompt)]
    marks = [(n, found) for n, (_, token) in enumerate(tokens) if (found := _mark(token)) is not None]
    ends = [*(n for n, _ in marks), len(tokens)][1:]
    segments = []
    for (n, found), end in zip(marks, ends, strict=True):
        values = " ".join(token for _, token in tokens[n + 1 : end]).rstrip(PUNCTUATION + " ")
        typed = f"{found[0]} {values}" if values else found[0]
        typed = typed if len(typed) <= MAX_TYPED else f"{typed[: MAX_TYPED - 1]}…"
        segments.append(_Segment(tokens[n][0], found[1] != "--", found[2].lower(), tuple(values.split()), typed))
    return segments


def _mark(token: str) -> re.Match[str] | None:
    """The dashes and the name of a flag; after a dash, only of one in the table."""
    found = MARK.fullmatch(token.rstrip(PUNCTUATION))
    if found is None or found[1] == "--":
        return found
    return found if found[2].lower() in {WITHOUT, *KINDS} else None


def _tail(segments: Sequence[_Segment]) -> Sequence[_Segment]:
    """The flags with nothing but flags behind them; none where it is not certain that they are flags."""
    first = len(segments)
    while first and segments[first - 1].may_follow:
        first -= 1
    certain = next((n for n in range(first, len(segments)) if segments[n].is_certain), None)
    if certain is None:
        return ()
    while certain > first and segments[certain - 1].is_flag:
        certain -= 1
    return segments[certain:]


# --- meaning


def _meaning(segment: _Segment) -> Flag | None:
    if segment.name == LARGEST and not segment.tokens:
        return Flag(segment.typed, "resolution")
    if not segment.tokens or not segment.is_flag:
        return None
    value = segment.tokens[0]
    if segment.name == SEED_NAME:
        return Flag(segment.typed, "seed", int(value))
    if KINDS.get(segment.name) is ANY_RATIO:
        ratio = SEPARATOR.sub(":", value) if RATIO.fullmatch(value) else value
        return Flag(segment.typed, "aspect_ratio", ratio)
    return None


def _with_unwanted(prompt: str, unwanted: Sequence[str]) -> str:
    if not unwanted:
        return prompt
    words = f"without {', '.join(unwanted)}"
    if not prompt:
        return words
    return f"{prompt} {words}" if prompt[-1] in ",;:.!?…" else f"{prompt}, {words}"


def _largest(catalog: Catalog, model: str | None, verb: Verb) -> str | None:
    entry = catalog.models.get(model or "")
    endpoint = entry.endpoint(verb) if entry else None
    spec = endpoint.options.resolution if endpoint else None
    sizes = [each for each in spec.choices if isfinite(resolution_size(each)[0])] if spec else []
    return max(sizes, key=resolution_size, default=None)

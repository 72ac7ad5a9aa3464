"""Cards for tests, and functions that read a drawn message as lines."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from discord import ui

from bot.core.cards import Card, Charge, Picture
from bot.core.jobs import ImageRequest, Job, Place, State, Verb
from bot.core.quota import Allowance, Amount
from bot.ui.cards.texts import Texts, read_locales

NOW = 1_700_000_000_000
JOB_ID = "01HF0000000000000000000042"
LOCALES = read_locales(Path(__file__).parents[3] / "bot/config/locales")
TEXTS = Texts(LOCALES, strict=True)  # a client needs its own: it sets the ids of its commands
EN = TEXTS.for_locale("en-US")
HELD = Amount(1, 80_000)

JOB = Job(
    id=JOB_ID,
    place=Place(user_id=7, channel_id=8, guild_id=9),
    request=ImageRequest(
        model="nano-banana-2",
        verb=Verb.IMAGINE,
        prompt="a red fox",
        options={"resolution": "1K", "aspect_ratio": "16:9", "count": 1, "seed": 42},
    ),
    provider="runcomfy",
    route="x/y",
    state=State.ACCEPTED,
    created_at=NOW - 31_000,
    changed_at=NOW - 10_000,
    due_at=None,
    give_up_after=1_800_000,
)
LEFT = Allowance("user_day_images", 10, 1, "images", NOW + 3_600_000)
CARD = Card(
    job=JOB,
    model="Nano Banana 2",
    provider="RunComfy",
    charge=Charge(HELD),
    estimated=True,
    left=LEFT,
    usual=(10, 30),
    private=True,
)


def card(state: State, *, options: dict[str, Any] | None = None, **changes: Any) -> Card:
    """A card in *state*; arguments named like a job's fields change the job, others (and *place*) the card."""
    of_job = {name: changes.pop(name) for name in list(changes) if name in Job.__slots__ and name != "place"}
    prompt, style = changes.pop("prompt", JOB.request.prompt), changes.pop("style", None)
    request = replace(JOB.request, prompt=prompt, style=style, options={**JOB.request.options, **(options or {})})
    return replace(CARD, job=replace(JOB, state=state, request=request, **of_job), **changes)


def pictures(number: int) -> tuple[Picture, ...]:
    return tuple(Picture(n, f"{JOB_ID}-{n}.png", "png", 64, 64, 1000) for n in range(1, number + 1))


def names(number: int) -> list[str]:
    return [each.file for each in pictures(number)]


def done(number: int, *, asked: int | None = None, **changes: Any) -> Card:
    count = asked or number
    return card(
        State.SUCCEEDED,
        options={"count": count},
        images=number,
        ended_at=NOW,
        pictures=pictures(number),
        charge=Charge(Amount(count, 80_000 * count), settled=Amount(number, 80_000 * number)),
        **changes,
    )


def nodes(view: ui.LayoutView | ui.Modal) -> Iterator[dict[str, Any]]:
    """Every component of a message or a form, as Discord counts them."""

    def walk(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for each in components:
            yield each
            inner = [each[name] for name in ("component", "accessory") if name in each]
            yield from walk([*each.get("components", []), *inner])

    tree: Any = view.to_components()
    yield from walk(tree)


def text_of(view: ui.LayoutView) -> str:
    return "\n".join(each["content"] for each in nodes(view) if each["type"] == 10)


def read(view: ui.LayoutView) -> list[str]:
    """A message as lines: text unchanged, `[label → id]` for buttons, `<name: alt>` for pictures."""
    lines: list[str] = []
    for each in nodes(view):
        match each["type"]:
            case 10:
                lines += each["content"].split("\n")
            case 1:
                row = [(button["label"], button.get("custom_id", button.get("url"))) for button in each["components"]]
                lines.append(" ".join(f"[{label} → {target.removeprefix(f'j1:{JOB_ID}:')}]" for label, target in row))
            case 12:
                lines += [_picture(item) for item in each["items"]]
            case 13:
                lines.append(f"<{each['file']['url']}>")
    return lines


def _picture(item: dict[str, Any]) -> str:
    veil = " (spoiler)" if item["spoiler"] else ""
    return f"<{item['media']['url']}: {item['description']}{veil}>"


def ids(view: ui.LayoutView) -> list[str]:
    return [each["custom_id"] for each in nodes(view) if "custom_id" in each]


def labels(view: ui.LayoutView) -> list[str]:
    return [each["label"] for each in nodes(view) if each["type"] == 2]


def colour(view: ui.LayoutView) -> int | None:
    return next((each["accent_color"] for each in nodes(view) if each["type"] == 17), None)

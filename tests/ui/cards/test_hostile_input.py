"""Every message for any input and state is within Discord's limits and has no active markup."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from discord import ui
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.cards import Card, Charge
from bot.core.errors import UserError
from bot.core.fair_queue import QueueCounts
from bot.core.jobs import AppliedStyle, Cancel, Job, State
from bot.core.quota import Allowance, Amount, Grant, Limits, Scope, Unit
from bot.core.styles import Style
from bot.core.visible import storable
from bot.core.windows import Window
from bot.ui.cards.job import render
from bot.ui.cards.job_list import jobs_list
from bot.ui.cards.notices import ModelFact, help_page, ignored_flags, notice, refusal, welcome
from bot.ui.cards.prompt import prompt_page
from bot.ui.cards.status import ModelSpeed, OperatorFacts, Service, Status, status
from bot.ui.cards.styles import changed, styles_page
from bot.ui.cards.usage import ChartImage, UsageLine, usage
from tests.ui.cards.drawing import JOB_ID, LEFT, NOW, TEXTS, card, ids, labels, names, nodes, pictures, text_of
from tests.ui.hostile import hostile

# Markup that Discord would act on; our own headings, quotes, bold text and times are removed first.
ALIVE = re.compile(
    r"<(?:@|#|/|a?:|t:|id:|mailto:|https?:)|@(?:everyone|here)|://|discord(?:app)?\.(?:gg|com)|(?<!\\)\]\("
    r"|(?<!\\)(?:\\\\)*(?:```|~~|\|\||__)",
    re.IGNORECASE,
)
OURS = re.compile(r"<t:\d+:[Rf]>|`[^`\n]*`")  # times, and code, in which no markup is active
HEADING = re.compile(r"^\s*#{1,3}\s", re.MULTILINE)
LONG = "*_" * 500
PRICE = 39_990_000  # micro-dollars: four pictures at nearly ten dollars


def check(view: ui.LayoutView) -> None:
    every = list(nodes(view))
    text = text_of(view)
    assert len(every) <= 40
    assert 0 < len(text) <= 4000
    assert all(each["content"].strip() for each in every if each["type"] == 10)
    assert not ALIVE.search(OURS.sub("", text))
    assert len(HEADING.findall(text)) <= 1
    found = ids(view)
    assert len(set(found)) == len(found)
    assert all(1 <= len(each) <= 100 for each in found)
    assert all(1 <= len(each) <= 38 for each in labels(view))
    for row in (each for each in every if each["type"] == 1):
        assert 1 <= len(row["components"]) <= 5
    for gallery in (each for each in every if each["type"] == 12):
        assert 1 <= len(gallery["items"]) <= 10
        assert all(1 <= len(item["description"]) <= 1024 for item in gallery["items"])


def worst(prompt: str, **changes: object) -> Iterator[Card]:
    """A card with every optional part, all of maximum length."""
    for state in State:
        made = 4 if state is State.SUCCEEDED else 0
        yield replace(
            card(
                state,
                prompt=prompt,
                style=AppliedStyle(LONG),
                options={"count": 4},
                images=made,
                ended_at=NOW,
                watch_until=NOW + 1,
                position=9,
            ),
            model=LONG,
            provider=LONG,
            charge=Charge(Amount(4, PRICE), settled=Amount(3, PRICE * 3 // 4) if made else None, bonus=2),
            left=Allowance("user_hour_usd", PRICE, 1, "micro_usd", NOW, window=Window.HOUR),
            bonus=Amount(999_999, PRICE),
            queue_position=99_999,
            outage="credentials",
            blocked_host=LONG,
            slow=True,
            final_edit=True,
            withheld=True,
            pictures=pictures(4),
            links=("https://pictures.example/" + "x" * 400,) * 4,
            **changes,  # type: ignore[arg-type]
        )


def having(given_card: Card, cancel: Cancel) -> Card:
    return replace(given_card, job=replace(given_card.job, cancel=cancel))


LONGEST = "*" * 4000


@pytest.mark.parametrize("locale", TEXTS.locales)
@pytest.mark.parametrize(
    ("prompt", "cancel"),
    [
        *((LONGEST, each) for each in Cancel),
        *((each, Cancel.NONE) for each in ("a fox", "<@1>" * 1000, "\u200b", "# a\n" * 900)),
    ],
)
async def test_every_state_keeps_to_the_limits_in_every_language(locale: str, cancel: Cancel, prompt: str) -> None:
    words = TEXTS.for_locale(locale)

    for each in worst(prompt):
        check(render(having(each, cancel), words, files=names(4), now=NOW))
        check(render(replace(having(each, cancel), by_rules=True), words, now=NOW))


@settings(max_examples=200, deadline=None)
@given(hostile(), st.sampled_from(list(State)), st.sampled_from(TEXTS.locales), st.integers(0, 10), st.booleans())
async def test_no_prompt_stays_active(
    prompt: str,
    state: State,
    locale: str,
    number: int,
    flagged: bool,  # noqa: FBT001
) -> None:
    given_card = card(state, prompt=prompt, images=number, flagged=flagged, pictures=pictures(number))

    view = render(given_card, TEXTS.for_locale(locale), files=names(number), now=NOW)

    check(view)
    assert all(item["spoiler"] is flagged for each in nodes(view) if each["type"] == 12 for item in each["items"])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([State.SUCCEEDED, State.FAILED, State.REFUSED, State.CANCELLED]),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(0, 10_000_000),
)
async def test_the_card_states_the_charge_of_the_ledger(state: State, asked: int, made: int, price: int) -> None:
    settled = Amount(made, made * price) if made else None
    released = None if made else Amount(asked, asked * price)
    charge = Charge(Amount(asked, asked * price), settled=settled, released=released)
    words = TEXTS.for_locale("en")

    text = text_of(render(card(state, charge=charge, estimated=False, images=made), words, now=NOW))

    assert ("This doesn't count" in text) is (made == 0)
    assert (f"Cost: {words.money(made * price)}" in text) is (made > 0)


@settings(max_examples=100, deadline=None)
@given(hostile(), st.sampled_from(TEXTS.locales))
async def test_nothing_typed_stays_active_in_a_refusal_a_notice_or_a_prompt_page(text: str, locale: str) -> None:
    words = TEXTS.for_locale(locale)

    check(refusal(UserError("references.broken", file=text), words, draft_id="d"))
    check(
        refusal(
            UserError("option.choice", option=text, given=text, choices=[text] * 25, model=text), words, draft_id=None
        )
    )
    check(refusal(UserError("house.model", given=text, choices=[text] * 25), words, draft_id=None))
    check(refusal(UserError("house.timezone", given=text), words, draft_id=None))
    check(refusal(UserError("style.unknown", given=text, choices=[text] * 55), words, draft_id="d"))
    check(styles_page({text: Style(after=storable(text)[:500])}, words, models={}))
    check(notice("operator.model_gone", words, provider="RunComfy", model=text, route=text))
    page = prompt_page(text, words).view
    assert len(text_of(page)) <= 4000
    assert not ALIVE.search(text_of(page))


@pytest.mark.parametrize("locale", TEXTS.locales)
async def test_lists_and_pages_keep_to_the_limits_in_every_language(locale: str) -> None:
    words = TEXTS.for_locale(locale)
    facts = [ModelFact(LONG, LONG, PRICE, estimated=True)] * 25

    for number in (1, 9, 10, 30):
        for state in State:
            cards = [_numbered(next(each for each in worst(LONG) if each.job.state is state), n) for n in range(number)]
            check(jobs_list(cards, words, NOW))
    check(help_page(words, models=facts, provider_names=[LONG] * 9, keep_hours=48, keep_days=30))
    wide = UsageLine(replace(LEFT, limit=PRICE, used=PRICE, unit="micro_usd", scope=Scope.CAP), PRICE)
    grants = [Grant(n, Unit.IMAGES, PRICE, expires_at=NOW) for n in range(99)]
    check(usage([wide] * 66, grants, words, now=NOW, idle_days=30, chart=ChartImage("usage.png", "x" * 1024)))
    for outage in ("credentials", "balance", "down"):
        facts_of_all = Status(
            services=[Service(LONG, outage, NOW)] * 9,
            speeds=[ModelSpeed(LONG, 9_999, 9_999)] * 25,
            here=QueueCounts(99_999, 99_999),
            everywhere=QueueCounts(99_999, 99_999),
            limits=[wide] * 22,
            operator=OperatorFacts([(LONG, PRICE)] * 9, [wide]),
        )
        check(status(facts_of_all, words, now=NOW))
    wordy = Style(about=LONG, before=LONGEST[:500], after=LONGEST[:500], model=LONG)
    check(styles_page({f"{'*' * 30}{n}": wordy for n in range(10, 80)}, words, models={LONG: LONG}))
    check(changed("style.done.styles_add", words, name=LONG, style=wordy, models={LONG: LONG}))
    check(ignored_flags(words, ignored=["--" + "x" * 58] * 99, overridden=["--" + "x" * 58] * 99))
    for is_open in (True, False):
        check(welcome(words, is_open=is_open, guild_id=10**19, limits=Limits()))


def _numbered(given_card: Card, n: int) -> Card:
    job: Job = replace(given_card.job, id=f"{JOB_ID[:24]}{n:02d}")
    return replace(given_card, job=job)

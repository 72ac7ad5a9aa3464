"""Texts of refusals: the limit, what is left of it, when it resets, and who can help."""

from typing import Any

import pytest

from bot.core.errors import UserError
from bot.core.quota import Scope, Unit
from bot.core.windows import Window
from bot.ui.cards.components import YELLOW
from bot.ui.cards.notices import refusal
from bot.ui.cards.quota_text import left, name, per, refusal_text
from tests.ui.cards.drawing import EN, LEFT, TEXTS, colour, read

SOON = 1_700_003_600_000
AGAIN = "It resets <t:1700003600:R>."
ADMIN = "A server admin can change this with `/quota`."
OPERATOR = "Only the bot's operator can change this."


def over(scope: Scope = Scope.USER, **changes: Any) -> UserError:
    values = {"scope": scope, "unit": Unit.IMAGES, "window": Window.DAY, "limit": 10, "left": 1, "asked": 4}
    return UserError("quota.x", **{**values, "bonus": 0, "resets_at": SOON, **changes})


def refusal_of(error: UserError, *, outside: bool = False) -> str:
    return refusal_text(EN, error, outside=outside)


async def test_a_broken_limit_is_yellow_and_says_what_is_left_and_when_more_comes() -> None:
    view = refusal(over(), EN, draft_id="01DRAFT")

    assert read(view) == [
        "### ⏸️ Limit reached",
        (
            "You asked for 4 pictures. Your limit is 10 pictures per day, and you have 1 picture left. "
            f"{AGAIN} Try fewer pictures. {ADMIN}"
        ),
        "[Change prompt → d1:01DRAFT:change]",
    ]
    assert colour(view) == YELLOW


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            over(Scope.CHANNEL, unit=Unit.MICRO_USD, window=Window.HOUR, limit=500_000, left=0, asked=320_000),
            f"This costs $0.32. This channel's limit is $0.50 per hour, with $0.00 left. {AGAIN} {ADMIN}",
        ),
        (
            over(Scope.CHANNEL, left=0, channels=[7]),
            (
                "You asked for 4 pictures. This channel's limit is 10 pictures per day, with 0 pictures left. "
                f"{AGAIN} This limit doesn't apply in <#7>. {ADMIN}"
            ),
        ),
        (
            over(Scope.GUILD, window=Window.TOTAL, left=0, resets_at=None),
            (
                "You asked for 4 pictures. This server's limit is 10 pictures in total, with 0 pictures left. "
                f"It doesn't reset on its own. {ADMIN}"
            ),
        ),
        (
            over(Scope.HOST, unit=Unit.MICRO_USD, window=Window.MONTH, limit=50_000_000, left=10_000, asked=80_000),
            (
                "This costs $0.08. The limit for the whole bot is $50.00 per month, with $0.01 left. "
                f"{AGAIN} Fewer pictures or a smaller resolution cost less. {OPERATOR}"
            ),
        ),
        (
            over(window=Window.WEEK, left=0, bonus=2),
            (
                "You asked for 4 pictures. Your limit is 10 pictures per week, and you have 0 pictures left. "
                f"{AGAIN} Your bonus would cover 2 of these pictures. Try fewer pictures. {ADMIN}"
            ),
        ),
        (
            over(unit=Unit.JOBS, window=None, limit=5, left=0, asked=1, resets_at=None),
            (
                "You can have 5 active jobs at a time. Wait for one to finish, or cancel one "
                f"with `/jobs`. {ADMIN}"
            ),
        ),
    ],
)  # fmt: skip
def test_a_refusal_names_the_limit_what_is_left_and_who_can_help(error: UserError, sentence: str) -> None:
    assert refusal_of(error) == sentence


@pytest.mark.parametrize(
    ("scope", "outside", "helper"),
    [
        (Scope.USER, False, ADMIN),
        (Scope.USER, True, OPERATOR),
        (Scope.CHANNEL, False, ADMIN),
        (Scope.GUILD, False, ADMIN),
        (Scope.DIRECT, True, OPERATOR),
        (Scope.CAP, False, OPERATOR),
        (Scope.HOST, False, OPERATOR),
    ],
)
def test_only_the_operator_helps_where_no_admin_can(scope: Scope, outside: bool, helper: str) -> None:  # noqa: FBT001
    assert refusal_of(over(scope), outside=outside).endswith(helper)


@pytest.mark.parametrize("locale", TEXTS.locales)
@pytest.mark.parametrize("scope", list(Scope))
def test_every_limit_there_can_be_is_refused_in_every_language(locale: str, scope: Scope) -> None:
    words = TEXTS.for_locale(locale)
    spans = [(Unit.JOBS, None), *((unit, each) for unit in (Unit.IMAGES, Unit.MICRO_USD) for each in Window)]

    told = {
        refusal_text(words, over(scope, unit=unit, window=window, bonus=1, channels=[7]), outside=False)
        for unit, window in spans
    }

    assert len(told) == len(spans)
    assert len({name(words, scope, unit, window=window) for unit, window in spans}) == len(spans)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("blocked.user"), f"You're blocked from making pictures in this server. {ADMIN}"),
        (UserError("blocked.role"), f"One of your roles is blocked from making pictures in this server. {ADMIN}"),
        (
            UserError("blocked.channel", channels=[7]),
            f"Pictures are blocked in this channel. Use <#7>. {ADMIN}",
        ),
        (
            UserError("house.channel", channels=[7, 8, 9]),
            "Pictures aren't enabled in this channel. Use <#7>, <#8> or <#9>.",
        ),
        (
            UserError("house.denied", channels=[]),
            (
                "Pictures aren't enabled in this channel. Use another channel. "
                "A server admin can change this with `/settings`."
            ),
        ),
        (
            UserError("house.model", given="nano-banana-pro", choices=["Nano Banana 2"]),
            (
                "nano-banana-pro isn't available in this server. Choose Nano Banana 2. "
                "A server admin can change this with `/settings`."
            ),
        ),
        (
            UserError("house.model", given="nano-banana-pro", choices=[]),
            (
                "No model is available for this in this server. "
                "A server admin can change this with `/settings`."
            ),
        ),
        (
            UserError("house.resolution", limit="1K", given="4K", channels=[7]),
            "This channel allows up to 1K, and you asked for 4K. You can get more in <#7>.",
        ),
        (
            UserError("house.count", limit=1, given=4, channels=[]),
            (
                "This channel allows 1 picture at a time, and you asked for 4 pictures. "
                "A server admin can change this with `/settings`."
            ),
        ),
        (
            UserError("house.timezone", given="Mars/Olympus_Mons"),
            (
                r"Mars/Olympus\_Mons isn't a time zone. Choose one from the list, such as Europe/Berlin or "
                "America/New_York."
            ),
        ),
    ],
)  # fmt: skip
def test_a_refusal_by_server_settings_names_what_works(error: UserError, sentence: str) -> None:
    assert refusal_of(error) == sentence
    assert all(refusal_text(TEXTS.for_locale(each), error, outside=False) for each in TEXTS.locales)


def test_only_the_operator_can_lift_a_block_outside_of_servers() -> None:
    assert refusal_of(UserError("blocked.user"), outside=True).endswith(OPERATOR)


def test_limits_are_named_in_every_unit_and_window() -> None:
    assert per(EN, "micro_usd", 5_000_000, window=Window.TOTAL) == "$5.00 in total"
    assert per(EN, "jobs", 1, window=None) == "1 active job"
    assert left(TEXTS.for_locale("de"), LEFT, price=1) == "heute noch 9 Bilder übrig"

"""Acceptance: the first card is drawn from what was written, and a request that would be late writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.admission import MAX_AGE
from bot.core.catalog import RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import SECOND, Verb
from bot.core.quota import Grant, Limits, Unit
from bot.core.request_draft import RequestDraft
from bot.jobs.requests import OVERLOADED
from bot.store.quotas import By
from tests.kit import ALICE, BOB, GUILD, Rig, rig
from tests.store.ledger_model import rows

DRAFT = RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse")


@pytest.fixture
async def app(tmp_path: Path, url: str) -> AsyncIterator[Rig]:
    async with rig(tmp_path, url=url, limits=Limits(user_day_images=3, guild_in_flight=None)) as found:
        yield found


@pytest.mark.parametrize("bonus", [0, 5])
async def test_the_first_card_is_the_one_that_its_rows_draw(app: Rig, bonus: int) -> None:
    if bonus:
        by = By(id="1", server=GUILD, actor=BOB, at=app.time.now)
        await app.services.quotas.grant(by, ALICE, Grant(0, Unit.IMAGES, bonus))
    await app.imagine(count=2)
    draft = RequestDraft(verb=Verb.IMAGINE, prompt="a harbour", asked=RequestedOptions(count=3 if bonus else 1))

    card = await app.services.requests.accept(app.context(), draft)

    assert card == await app.services.jobs.card(card.job.id)
    assert (card.left.left if card.left else None, card.bonus.images) == (0, bonus and bonus - 2)


async def test_a_request_whose_card_would_be_late_writes_nothing(app: Rig) -> None:
    with pytest.raises(UserError, match=OVERLOADED):
        await app.services.requests.accept(app.context(received_at=app.time.now - MAX_AGE), DRAFT)

    assert await rows(app.store, "SELECT id FROM interactions") == []


async def test_of_a_burst_those_that_are_late_are_refused_and_the_others_accepted(app: Rig) -> None:
    requests = app.services.requests
    asked = [asyncio.create_task(requests.accept(app.context(user), DRAFT)) for user in range(1000, 1400)]
    await asyncio.sleep(0)  # the first ones begin
    asked[-1].cancel()
    app.time.go(MAX_AGE / SECOND)
    done = await asyncio.gather(*asked, return_exceptions=True)

    accepted = sum(not isinstance(each, BaseException) for each in done)
    assert not any(isinstance(each, BaseException) for each in done[:accepted])
    refused = done[accepted:-1]
    assert refused
    assert {str(each) for each in refused} == {OVERLOADED}
    assert len(await rows(app.store, "SELECT id FROM interactions")) == accepted

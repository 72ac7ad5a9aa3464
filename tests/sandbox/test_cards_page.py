"""Every card in the demo's page, in both widths. With DARKROOM_SHOTS, its pictures are written there.

Without, it only proves that each of them is drawn.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Locator, Page, async_playwright, expect

from bot.sandbox import demo
from bot.sandbox.demo_server import sample_picture
from bot.sandbox.faults import Fault
from bot.sandbox.service import Pace
from tests.sandbox.test_browser import CHROMIUM, FLAGS, TIMEOUT

SHOTS = os.environ.get("DARKROOM_SHOTS")
WIDTHS = {"wide": 960, "narrow": 420}
COLUMNS = {"wide": 2, "narrow": 4}
HEIGHT = 6000  # pixels, so that nothing is cut off
GAP = 12  # pixels between two cards on a sheet
BACKGROUND = "#313338"
HARBOUR = ("harbour.png", sample_picture())

pytestmark = [
    pytest.mark.browser,
    pytest.mark.prove,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[demo.Scene, Page]]:
    expect.set_options(timeout=TIMEOUT)
    async with demo.stage(folder, port=0, pace=Pace(queue_s=0.1, run_s=0.2)) as scene, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": WIDTHS["wide"], "height": HEIGHT})
        page.set_default_timeout(TIMEOUT)
        yield scene, page
        await browser.close()


async def ended(scene: demo.Scene, count: int) -> None:
    """Wait until *count* jobs have ended and their cards are shown."""
    store = scene.app.services.store
    while await store.database.read(_shown) < count:  # noqa: ASYNC110 - the bot and the service run beside the test
        await asyncio.sleep(0.05)


async def _shown(tx: Any) -> int:
    row = await tx.one(
        """
        SELECT count(*) AS n FROM jobs JOIN replies ON replies.job = jobs.id
        WHERE jobs.ended_at IS NOT NULL AND replies.delivered >= replies.wanted
        """
    )
    return int(row["n"])


async def public_cards(scene: demo.Scene) -> None:
    """One card of each kind in the channel, each requested by Ada."""
    at, host = scene.server, scene.service
    host.faults.add(
        Fault("submit", "refuse", match="something forbidden"),
        Fault("submit", "fail", match="a machine that breaks"),
        Fault("submit", "stuck_queue", match="a long queue"),
    )
    for prompt in ("a lighthouse at dusk", "a machine that breaks", "something forbidden"):
        await at.ada.slash(at.pictures, "imagine", prompt=prompt)
    await at.ada.slash(at.pictures, "imagine", prompt="four paper boats", count=4, aspect_ratio="1:1")
    await at.ada.slash(at.pictures, "edit", prompt="a calm evening", image=HARBOUR)
    await ended(scene, 5)


async def private_cards(scene: demo.Scene) -> None:
    """What only Ada sees, and the panel and the state of the bot for Noor, the admin."""
    at = scene.server
    message = at.pictures.history()[0]
    await at.ada.slash(at.pictures, "imagine", prompt="a secret garden", private=True)
    await at.ada.click(message, label="More…")
    await at.ada.click(message, label="Upscale")
    await at.ada.context_menu(at.pictures, "Add to tray", message)
    for command in ("jobs", "usage", "history", "favorites", "tray", "preferences", "privacy", "help"):
        await at.ada.slash(at.pictures, command)
    await at.ada.slash(at.pictures, "imagine", prompt="too large", model="no such model")
    await at.ada.slash(at.lounge, "imagine", prompt="not here")
    for command in ("settings panel", "settings show", "status", "quota show", "quota history"):
        await at.noor.slash(at.sketches, command)


async def sheet(page: Page, url: str, name: str, *, at_least: int) -> None:
    """Take a picture of each message on the page, in both widths, once there are so many."""
    for width, pixels in WIDTHS.items():
        await page.set_viewport_size({"width": pixels, "height": HEIGHT})
        await page.goto(url)
        cards = page.locator("article.channel-message")
        await expect(cards.nth(at_least - 1)).to_be_visible()
        for each in await page.locator("article.channel-message img").all():
            await expect(each).to_have_js_property("complete", value=True)
        if SHOTS:
            _stitch([await _shot(each) for each in await cards.all()], columns=COLUMNS[width]).save(
                Path(SHOTS) / f"cards-{name}-{width}.png", optimize=True
            )


async def _shot(card: Locator) -> Image.Image:
    await card.scroll_into_view_if_needed()
    return Image.open(BytesIO(await card.screenshot())).convert("RGB")


def _stitch(shots: Sequence[Image.Image], *, columns: int) -> Image.Image:
    """The cards in columns, each below the shortest one so far, in few colours."""
    width = max(each.width for each in shots)
    heights, places = [0] * columns, []
    for each in shots:
        column = heights.index(min(heights))
        places.append((column * (width + GAP), heights[column]))
        heights[column] += each.height + GAP
    page = Image.new("RGB", (columns * (width + GAP) - GAP, max(heights) - GAP), BACKGROUND)
    for each, place in zip(shots, places, strict=True):
        page.paste(each, place)
    return page.quantize(colors=128)


async def test_every_card_is_drawn_in_both_widths(tmp_path: Path) -> None:
    async with opened(tmp_path / "demo") as (scene, page):
        await public_cards(scene)
        await scene.server.ada.slash(scene.server.pictures, "imagine", prompt="a long queue")
        await sheet(page, scene.url, "public", at_least=7)
        await private_cards(scene)
        await sheet(page, scene.url, "private", at_least=20)

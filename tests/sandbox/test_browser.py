"""The demo's page in Chromium, used as a member would use Discord: type a command, attach a file, press a button.

With DARKROOM_SHOTS naming a folder, the README's picture is written there.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Error, Locator, Page, Response, async_playwright, expect

from bot.sandbox import demo
from bot.sandbox.demo_server import sample_picture
from bot.sandbox.service import Pace

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
SHOTS = os.environ.get("DARKROOM_SHOTS")
TIMEOUT = 15_000.0  # milliseconds
PROMPT = "the moon over misty mountains, paper cut"
CHANGE = "a calm evening, seen through a frame"
SEED = 16  # the local image service draws the same pictures for it every time

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


@asynccontextmanager
async def opened(folder: Path, *, pace: Pace) -> AsyncIterator[Page]:
    """The demo's page in the browser. No fixture: the local Discord must end in the context that started it."""
    expect.set_options(timeout=TIMEOUT)
    async with demo.stage(folder, port=0, pace=pace) as scene, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 960, "height": 1300})
        page.set_default_timeout(TIMEOUT)
        await page.goto(scene.url)
        await expect(page.locator("#action-status")).to_have_text("Viewport updated")  # typing before is lost
        yield page
        await browser.close()


async def view_as(page: Page, name: str) -> None:
    await page.locator("#viewer-picker").select_option(label=name)


async def begin(page: Page, command: str) -> None:
    """Type a command's name and pick it from the list, which puts the cursor into its first option."""
    await page.locator("#channel-composer-input").press_sequentially(f"/{command}")
    await page.get_by_role("option").filter(has_text=f"/{command}").first.click()
    await expect(page.locator(".command-chip")).to_have_text(f"/{command}")


async def add_option(page: Page, name: str) -> None:
    """Add one of the options that are not shown from the start."""
    await page.locator(".command-ghost").click()
    await page.get_by_role("option", name=name).first.click()


async def option(page: Page, name: str, value: str) -> None:
    await add_option(page, name)
    await page.locator(f"input.command-option-input[data-option={name}]").fill(value)


async def press(button: Locator) -> None:
    """Press a button, repeatedly if the page ignores it or has an old state."""
    await expect(button).to_be_enabled()
    for _ in range(5):
        try:
            async with button.page.expect_response(_is_action, timeout=3000) as answer:
                await button.click(timeout=3000)
        except Error:  # no answer: the page was busy reading
            continue
        receipt = await (await answer.value).json()
        if not receipt["rejected"]:
            return
    pytest.fail("the page refused five times")


def _is_action(response: Response) -> bool:
    return response.url.endswith("/api/action") and "configure_presentation" not in (response.request.post_data or "")


async def send(page: Page) -> None:
    await press(page.get_by_role("button", name="Send"))
    await expect(page.locator(".command-chip")).to_have_count(0)


async def imagine(page: Page, **options: str) -> None:
    await begin(page, "imagine")
    await page.locator("input[data-option=prompt]").fill(PROMPT)
    for name, value in options.items():
        await option(page, name, value)
    await send(page)


def message(page: Page, number: int) -> Locator:
    return page.locator("article.channel-message").nth(number)


def button(page: Page, number: int, name: str) -> Locator:
    return message(page, number).get_by_role("button", name=name)


async def expect_pictures(within: Locator, count: int) -> None:
    """Expect so many loaded pictures: one that did not load has no width."""
    pictures = within.locator("img.gallery-image")
    await expect(pictures).to_have_count(count)
    for each in await pictures.all():
        await expect(each).to_have_js_property("naturalWidth", 1024)


async def test_a_member_makes_and_edits_pictures_and_reads_the_whole_prompt(tmp_path: Path) -> None:
    attached = tmp_path / "harbour.png"
    attached.write_bytes(sample_picture())
    async with opened(tmp_path / "demo", pace=Pace(queue_s=0.5, run_s=1.0)) as page:
        made, edited, private = (message(page, number) for number in range(3))

        await imagine(page, count="2", seed=str(SEED))
        await expect(made).to_contain_text("Ada used /imagine")
        await expect(made).to_contain_text("Queued")

        await begin(page, "edit")
        await page.locator("input[data-option=prompt]").fill(CHANGE)
        await add_option(page, "image")
        await page.locator("input[type=file][data-option=image]").set_input_files(attached)
        await option(page, "seed", str(SEED))
        await send(page)
        await expect_pictures(made, 2)
        await expect(made).to_contain_text("Done")
        await expect(edited).to_contain_text("Ada used /edit")
        await expect_pictures(edited, 1)
        if SHOTS:
            await edited.scroll_into_view_if_needed()
            await page.locator("#channel-layout").screenshot(path=Path(SHOTS) / "demo.png")

        await press(button(page, 0, "More…"))
        await expect(private).to_contain_text("Only you can see this")
        await expect(private).to_contain_text(PROMPT)
        await expect(page.locator("article.channel-message")).to_have_count(3)

        await view_as(page, "Noor")
        await expect(page.locator("article.channel-message")).to_have_count(2)
        await begin(page, "demo menu")
        await page.keyboard.type("Edit")
        await page.get_by_role("option", name="Edit this").click()
        await send(page)
        await expect(page.get_by_role("dialog", name="Edit pictures")).to_be_visible()
        if SHOTS:
            for width, pixels in (("narrow", 420), ("wide", 960)):
                await page.set_viewport_size({"width": pixels, "height": 1290})
                form = page.get_by_role("dialog", name="Edit pictures")
                await form.screenshot(path=Path(SHOTS) / f"cards-forms-{width}.png")

        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("link", name="# sketches").click()
        await expect(page.locator("#channel-name")).to_have_text("sketches")
        await expect(page.locator("#viewer-picker option:checked")).to_have_text("Noor")


@pytest.mark.prove
async def test_a_member_cancels_what_still_waits_and_asks_for_it_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "demo", pace=Pace(queue_s=600, run_s=600)) as page:
        first, second = message(page, 0), message(page, 1)
        await imagine(page)
        await expect(first).to_contain_text("Queued")

        await press(button(page, 0, "Cancel"))
        await expect(first).to_contain_text("This doesn't count toward any limits.")

        await press(button(page, 0, "Generate anyway"))
        await expect(second).to_contain_text("Queued")
        await expect(second).to_contain_text(PROMPT)

"""Pictures made and changed by the bot as its own process: every endpoint, format, count and kind of reply."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bot.sandbox import drawing
from bot.sandbox.faults import Fault
from tests.discord.cdn import Upload
from tests.kit import picture
from tests.pictures.make import credentialed
from tests.scenarios.harness import SOON, scene, shows

ENDPOINTS = {
    ("imagine", "nano-banana-2"): "google/nano-banana-2/text-to-image",
    ("edit", "nano-banana-2"): "google/nano-banana-2/edit",
    ("imagine", "nano-banana-pro"): "google/nano-banana/pro/text-to-image",
    ("edit", "nano-banana-pro"): "google/nano-banana/pro/edit",
}
WORDS = ("Waiting", "Queued", "Generating", "Done")
CASES = [
    ("imagine", "nano-banana-2", "png", 1, False),
    ("imagine", "nano-banana-2", "jpeg", 4, True),
    ("edit", "nano-banana-2", "webp", 2, False),
    ("imagine", "nano-banana-pro", "webp", 1, False),
    ("edit", "nano-banana-pro", "jpeg", 1, True),
]


@pytest.mark.prove
async def test_every_endpoint_format_count_and_kind_of_reply_shows_each_state(tmp_path: Path) -> None:
    async with scene(tmp_path, quota__user_day_usd="none") as bot:
        bot.host.hold = True
        slow = await bot.alice.slash(bot.channel, "imagine", prompt="a slow lighthouse")
        await slow.until(shows("Queued"), within=SOON)
        bot.host.advance(bot.host.accepted[0], "in_progress")
        await slow.until(shows("Generating"), within=SOON)
        bot.host.hold = False
        shown = [each.text for each in (await slow.until(shows("Done"), within=SOON)).history]
        assert [next(word for word in WORDS if word in each) for each in shown] == list(WORDS)

        for command, model, kind, count, private in CASES:
            options: dict[str, Any] = {"prompt": f"a {kind} please", "model": model, "format": kind, "private": private}
            if count > 1:
                options["count"] = count
            if command == "edit":
                options["image"] = Upload("given.png", picture("orange"))

            asked = await bot.alice.slash(bot.channel, command, **options)
            ack = await asked.acked()
            done = await asked.until(shows("Done"), within=SOON)

            assert (ack.ephemeral, ack.ms < 2500) == (private, True)
            assert [Image.open(BytesIO(each)).format for each in done.files()] == [kind.upper()] * count
            assert all(alt for _, alt, _ in done.gallery)
            run = bot.host.runs[bot.host.accepted[-1]]
            assert run.model == ENDPOINTS[command, model]
        assert bot.books() == {"reserve": 1 + len(CASES), "settle": 1 + len(CASES)}
        bot.assert_in_order()


async def test_a_picture_that_fits_reaches_discord_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = {kind: credentialed(kind) for kind in ("png", "jpeg", "webp")}
    monkeypatch.setattr(drawing, "draw", lambda order: signed[order.format])
    async with scene(tmp_path) as bot:
        for kind, data in signed.items():
            asked = await bot.alice.slash(bot.channel, "imagine", prompt="signed", format=kind)
            done = await asked.until(shows("Done"), within=SOON)

            assert done.files() == [data]
            assert "AI-generated" not in done.text
        bot.assert_in_order()


async def test_a_shrunk_picture_is_marked_as_ai_generated_without_naming_the_member(tmp_path: Path) -> None:
    async with scene(tmp_path, discord__ai_label="true") as bot:
        bot.host.faults.replace([Fault("file", "file:huge")])
        asked = await bot.asks(bot.alice, "a secret prompt")
        done = await asked.until(shows("Done"), within=SOON)

        (data,) = done.files()
        mark = Image.open(BytesIO(data)).info["xmp"].decode()
        assert [each in mark for each in ("trainedAlgorithmicMedia", "Nano Banana 2", "secret", "alice")] == [
            True, True, False, False,
        ]  # fmt: skip
        assert "AI-generated" in done.text
        bot.assert_in_order()

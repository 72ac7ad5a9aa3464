"""`/edit` with attached pictures and with pictures of a message, and files of another type than they claim."""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.discord.cdn import Upload
from tests.discord.interactions import Interaction
from tests.discord.messages import Message
from tests.kit import picture
from tests.pictures.make import (
    claiming,
    encoded,
    grain,
    located,
    many_scans,
    moving,
    oriented,
    plain,
    png_header,
    quartered,
)
from tests.scenarios.harness import SOON, Scene, scene, shows

MENU = "Edit this"
MIB = 1024 * 1024


async def _refusal(asked: Interaction) -> str:
    """The ephemeral sentence that is the whole answer to a command."""
    ack = await asked.acked()
    assert ack.ephemeral
    assert ack.message is not None
    return ack.message.text


def _fetched(bot: Scene, name: str) -> int:
    """How often the file *name* was downloaded completely."""
    return len([each for each in bot.discord.requests if each.route == "cdn" and each.path.endswith(name)])


def _file(name: str) -> Callable[[str, str], bool]:
    return lambda _, path: path.endswith(name)


def _given(bot: Scene, prompt: str) -> list[str]:
    """The names of the pictures that the provider received for *prompt*, in order."""
    (run,) = bot.runs(prompt)
    return [url.partition("?")[0].rpartition("/")[2] for url in run.inputs["image_urls"]]


# --- attached


async def test_attached_pictures_reach_the_provider_in_order_with_their_detected_type(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        for count in (1, 4):
            names = [f"{count}-{n}.png" for n in range(1, count + 1)]
            images: dict[str, Any] = {
                f"image{n if n > 1 else ''}": Upload(name, picture("orange")) for n, name in enumerate(names, start=1)
            }
            asked = await bot.alice.slash(bot.channel, "edit", prompt=f"make {count} blue", **images)
            done = await asked.until(shows("Done"), within=SOON)

            assert len(done.files()) == 1
            assert _given(bot, f"make {count} blue") == names
            assert all(_fetched(bot, each) == 3 for each in names)  # we looked at it twice, the host took it
            assert bot.charged(asked) == ("settle", 1, 80_000)

        files = {"a.png": plain("jpeg"), "b.gif": plain("png"), "c": plain("webp"), "d.txt": located("jpeg")}
        images = {f"image{n if n > 1 else ''}": Upload(*each) for n, each in enumerate(files.items(), start=1)}
        asked = await bot.alice.slash(bot.channel, "edit", prompt="whatever", **images)
        done = await asked.until(shows("Done"), within=SOON)

        assert _given(bot, "whatever") == list(files)
        assert "d.txt contains the location where it was taken. RunComfy receives the file unchanged." in done.text
        bot.assert_in_order()


@dataclass(frozen=True)
class Bad:
    """A file that is refused. *claims* are the fields in which Discord describes it wrongly."""

    says: str
    name: str = "given.png"
    data: bytes = field(default_factory=picture)
    claims: dict[str, Any] = field(default_factory=dict)


DEAD_LINK = "http://{host}/ephemeral-attachments/1/2/given.png?ex=5f000000&is=5e000000&hm=00"
BAD = {
    "a web page": Bad("given.png isn't a PNG, JPEG or WebP picture", data=b"<!doctype html><html></html>"),
    "a drawing in SVG": Bad("given.png isn't a PNG, JPEG or WebP picture", data=b"<svg xmlns='x' onload='y()'/>"),
    "the first five bytes": Bad("given.png isn't a PNG, JPEG or WebP picture", data=picture()[:5]),
    "a GIF that says PNG": Bad("given.png is a GIF. Save one frame", data=b"GIF89a" + bytes(80)),
    "nothing at all": Bad("given.png is empty", data=b""),
    "too large": Bad("given.png is 51 MB, and the maximum is 30 MB", claims={"size": 51 * MIB}),
    "12,000 pixels square": Bad("given.png is 12000 × 12000 pixels", data=png_header(12_000, 12_000)),  # noqa: RUF001
    "a moving WebP": Bad("a.webp is an animated WebP", name="a.webp", data=moving("webp", frames=2)),
    "a text": Bad("notes.txt isn't a PNG, JPEG or WebP picture", name="notes.txt", data=b"hello"),
    "a phone's photo": Bad("a.heic is a HEIC photo. Save it as", name="a.heic", data=encoded(grain(64), "heif")),
    "an AVIF": Bad("a.avif is an AVIF picture. Save it as", name="a.avif", data=encoded(grain(64), "avif")),
    "elsewhere": Bad("given.png isn't hosted by Discord", claims={"url": "https://pictures.example/given.png"}),
    "next door": Bad("given.png isn't hosted by Discord", claims={"url": "http://127.0.0.1:1/given.png"}),
    "the host's name in front": Bad("given.png isn't hosted by", claims={"url": "http://{host}@evil.example/g.png"}),
    "a dead link": Bad("Discord's link to given.png has expired", claims={"url": DEAD_LINK}),
    "a hostile name": Bad("isn't a PNG", name="<@1> @everyone [x](y).png", data=b"<html>"),
}


async def test_unusable_files_are_refused_in_one_ephemeral_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as bot:
        cdn = bot.discord.cdn
        describe = cdn.attachment
        for case, bad in BAD.items():
            claims = {
                key: value.format(host=bot.discord.cdn_host) if key == "url" else value
                for key, value in bad.claims.items()
            }
            with monkeypatch.context() as lie:
                lie.setattr(cdn, "attachment", lambda file, claims=claims: describe(file) | claims)
                asked = await bot.alice.slash(bot.channel, "edit", prompt="a picture", image=Upload(bad.name, bad.data))
            sentence = await _refusal(asked)

            assert bad.says in sentence, case
            assert "<@1>" not in sentence
            assert "@everyone" not in sentence
            assert [each.label for each in asked.message.buttons] == ["Change prompt"] if asked.message else case

        sentence = await _refusal(await bot.alice.slash(bot.channel, "edit", force=True, prompt="of nothing"))
        assert "There's no picture to edit" in sentence

        for message in (
            bot.channel.post(bot.bob, "only words"),
            bot.channel.post(bot.bob, attachments=[Upload("notes.txt", b"x")]),
            bot.channel.post(bot.bob, embeds=[{"title": "no picture"}]),
        ):
            sentence = await _refusal(await bot.alice.menu(bot.channel, MENU, message))
            assert "That message has no picture" in sentence

        with monkeypatch.context() as past:
            past.setattr(bot.discord.cdn, "_now", lambda: time.time() - 24 * 3600 + 30)  # issued a day ago
            form = await _form(bot, bot.channel.post(bot.bob, attachments=[Upload("one.png", picture())]))
        sentence = await _refusal(await bot.alice.submit(form, {"prompt": "too late"}))
        assert "Discord's link to one.png has expired" in sentence

        form = await _form(bot, bot.channel.post(bot.bob, attachments=[Upload("one.png", picture())]))
        sentence = await _refusal(await bot.bob.submit(form, {"prompt": "mine now"}))
        assert "Start again with the command" in sentence
        assert (bot.books(), bot.states(), bot.host.accepted) == ({}, [], [])
        assert len((await _edited(bot, form, "hers")).files()) == 1
        bot.assert_in_order()


WHOLE = encoded(grain(512), "jpeg", exif=b"Exif\x00\x00" + bytes(5_000))  # its size is behind the first bytes
LATER = {
    "cut.png": ("is damaged or incomplete", encoded(grain(128), "png")[:-2_000]),
    "cut.jpg": ("is damaged or incomplete", WHOLE[:-2_000]),
    "wide.jpg": ("is 12000 × 12000 pixels, and the maximum is 51 megapixels", claiming(WHOLE, 12_000, 12_000)),  # noqa: RUF001
    "endless.jpg": ("takes too much memory or time to open", many_scans(500)),
}


async def test_whole_files_are_checked_before_the_submit_however_slow_their_download(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        for name, (says, data) in LATER.items():
            fine, bad = Upload("fine.png", picture()), Upload(name, data)
            asked = await bot.alice.slash(bot.channel, "edit", prompt="half", image=fine, image2=bad)
            failed = await asked.until(shows("Failed"), within=SOON)

            await asked.until(shows(f"{name} {says}"), within=SOON)
            assert "This doesn't count toward any limits." in failed.text
            assert bot.charged(asked)[0] == "release"
        assert bot.host.accepted == []

        files = {"fine": ("fine.png", picture()), "lies": ("lies.png", b"<html>")}
        for name, _ in files.values():
            bot.discord.fault(_file(name), do="hang", times=1)
        good, lies = await asyncio.gather(
            *(
                bot.alice.slash(bot.channel, "edit", prompt=prompt, image=Upload(*file))
                for prompt, file in files.items()
            )
        )
        for each in (good, lies):
            ack = await each.acked()
            assert (ack.ephemeral, 1000 < ack.ms < 2500) == (False, True)
        done = await good.until(shows("Done"), within=SOON)
        await lies.until(shows("lies.png isn't a PNG, JPEG or WebP picture."), within=SOON)

        assert len(done.files()) == 1
        assert bot.charged(lies)[0] == "release"
        assert [run.prompt for run in bot.host.runs.values()] == ["fine"]
        bot.assert_in_order()


async def test_pictures_that_the_provider_cannot_read_reach_it_converted_by_our_own_links(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with scene(tmp_path, web__port=port, web__public_url=f"http://127.0.0.1:{port}") as bot:
        files = {
            "a.heic": oriented(quartered(), "heif", 6),
            "b.gif": moving("gif", frames=3),
            "c.jpg": oriented(quartered(), "jpeg", 6),
            "d.png": picture(),
        }
        images: dict[str, Any] = {
            f"image{n if n > 1 else ''}": Upload(*each) for n, each in enumerate(files.items(), 1)
        }
        asked = await bot.alice.slash(bot.channel, "edit", prompt="all four", **images)
        done = await asked.until(shows("Done"), within=SOON)

        assert len(done.files()) == 1
        assert "location" not in done.text
        names = [re.sub(r"^[0-9A-Z]{26}", "", each) for each in _given(bot, "all four")]
        assert names == ["-r1.jpg", "-r2.jpg", "-r3.jpg", "d.png"]
        assert [_fetched(bot, each) for each in ("a.heic", "b.gif", "c.jpg")] == [2, 2, 2]  # by us, not by the host
        assert [bot.charged(asked)[0], bot.states()] == ["settle", ["succeeded"]]

        cut = encoded(grain(128), "heif", tile_size=64)[:-2_000]
        asked = await bot.alice.slash(bot.channel, "edit", prompt="cut", image=Upload("cut.heic", cut))
        await asked.until(shows("cut.heic is damaged or incomplete"), within=SOON)
        assert bot.charged(asked)[0] == "release"
        bot.assert_in_order()


# --- from a message


async def _form(bot: Scene, message: Message) -> Interaction:
    opened = await bot.alice.menu(bot.channel, MENU, message)
    assert (await opened.acked()).modal is not None
    return opened


async def _edited(bot: Scene, form: Interaction, prompt: str) -> Message:
    sent = await bot.alice.submit(form, {"prompt": prompt})
    return await sent.until(shows("Done"), within=SOON)


async def test_the_menu_edits_the_pictures_of_a_message_even_after_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        made = await (await bot.asks(bot.bob, "ours")).until(shows("Done"), within=SOON)
        files = [Upload("one.png", picture()), Upload("notes.txt", b"x"), Upload("two.webp", picture())]
        files += [
            Upload("moving.gif", b"GIF89a" + bytes(80)),
            Upload("three.gif", picture()),
            Upload("four", picture()),
        ]
        shown = {
            "attached": bot.channel.post(bot.bob, "look", attachments=files),
            "embedded": bot.channel.post(bot.bob, embeds=[{"image": Upload("cat.png", picture())}]),
            "ours again": made,
        }
        forms = {prompt: await _form(bot, message) for prompt, message in shown.items()}
        await bot.restart()
        for prompt, form in forms.items():
            done = await _edited(bot, form, prompt)
            assert len(done.files()) == 1

        assert _given(bot, "attached") == ["one.png", "two.webp", "three.gif", "four"]
        assert _given(bot, "embedded") == ["cat.png"]
        assert [each.rpartition(".")[2] for each in _given(bot, "ours again")] == ["png"]
        bot.assert_in_order()

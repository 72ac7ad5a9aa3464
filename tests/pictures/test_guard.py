import random
import resource
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bot.core.errors import BadPicture
from bot.pictures.guard import MAX_SCANS, Checked, check, check_head, check_reference
from tests.pictures.make import (
    claiming,
    encoded,
    grain,
    located,
    many_scans,
    moving,
    plain,
    png_header,
    webp_canvas,
)

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


PHONE = 51_000_000  # pixels


def problem(data: bytes, *, max_pixels: int = 25_000_000) -> str:
    with pytest.raises(BadPicture) as caught:
        check(data, max_pixels=max_pixels)
    return caught.value.problem


def reference_problem(data: bytes, *, max_pixels: int = PHONE) -> str:
    with pytest.raises(BadPicture) as caught:
        check_reference(data, max_pixels=max_pixels)
    return caught.value.problem


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_smallest_picture_passes(kind: str) -> None:
    data = plain(kind)

    assert check(data) == Checked(type=kind, width=1, height=1, size=len(data), frames=1)


def test_nothing_is_no_picture() -> None:
    assert problem(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        SVG,
        plain("gif"),
        plain("bmp"),
        b"<html>" + plain("png"),
        b"%PDF-1.7\n" + plain("jpeg"),
        b"GIF89a" + plain("webp"),
        b"PK\x03\x04" + plain("jpeg"),
    ],
    ids=["svg", "gif", "bmp", "html+png", "pdf+jpeg", "gif+webp", "zip+jpeg"],
)
def test_other_file_types_are_refused_by_type(data: bytes) -> None:
    assert problem(data) == "type"


@pytest.mark.parametrize(
    "data",
    [
        plain("png")[:8] + SVG,
        plain("jpeg")[:4] + b"<html>" * 20,
        plain("webp")[:12] + plain("png"),
        plain("png")[:8] + plain("jpeg"),
    ],
    ids=["png+svg", "jpeg+html", "webp+png", "png+jpeg"],
)
def test_a_borrowed_beginning_does_not_make_a_picture(data: bytes) -> None:
    assert problem(data) == "broken"


def test_bytes_after_a_picture_do_not_change_its_type() -> None:
    assert check(plain("png") + b"PK\x03\x04<script>").type == "png"


@pytest.mark.parametrize(
    "data",
    [png_header(60000, 60000), png_header(5001, 5000), webp_canvas(16383, 16383), webp_canvas(12000, 12000)],
    ids=["3.6 gigapixels", "just over", "webp of 1 GB", "webp Pillow would open"],
)
def test_a_promise_of_too_many_pixels_costs_no_memory(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert problem(data) == "pixels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes


def test_a_promise_within_the_cap_is_held_to() -> None:
    assert problem(png_header(800, 600)) == "broken"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_broken(kind: str, part: float) -> None:
    whole = encoded(grain(128), kind)

    assert problem(whole[: int(len(whole) * part)]) == "broken"


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_the_frames_of_an_animation_are_counted(kind: str) -> None:
    assert check(moving(kind, frames=5)).frames == 5


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_an_animation_counts_with_the_pixels_of_all_its_frames(kind: str) -> None:
    data = moving(kind, frames=5, side=16)

    assert check(data, max_pixels=5 * 256).frames == 5
    assert problem(data, max_pixels=5 * 256 - 1) == "pixels"


def test_an_animation_that_breaks_off_is_broken() -> None:
    data = moving("png", frames=5)

    assert problem(data[: data.rindex(b"fcTL") - 4]) == "broken"


def test_junk_in_exif_is_no_reason_to_refuse() -> None:
    junk = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff<script>alert(1)</script>" + bytes(range(256))
    data = encoded(Image.new("RGB", (8, 8)), "jpeg", exif=junk)

    assert check(data).type == "jpeg"


def test_a_photo_with_a_second_view_is_a_jpeg() -> None:
    image = Image.new("RGB", (8, 8))
    data = encoded(image, "mpo", save_all=True, append_images=[image])

    assert (check(data).type, check(data).frames) == ("jpeg", 1)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_no_damage_escapes_as_another_error(kind: str) -> None:
    chance = random.Random(8)
    whole = encoded(grain(32), kind)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(12, len(damaged))] = chance.randrange(256)
        try:
            check(bytes(damaged), max_pixels=1_000_000)
        except BadPicture as exc:
            assert exc.problem in {"broken", "pixels"}  # noqa: PT017 - passing is fine too


def test_a_jpeg_with_too_many_scans_is_refused_before_it_is_decoded() -> None:
    assert problem(many_scans(5_000, side=4096)) == "scans"
    assert check(many_scans(MAX_SCANS - 10)).type == "jpeg"  # it has ten of its own


# --- reference pictures


def test_a_check_of_the_first_bytes_refuses_visible_faults() -> None:
    check_head(plain("webp")[:4096], max_pixels=1)
    check_head(claiming(plain("jpeg"), 8000, 6000), max_pixels=PHONE)
    refused = [
        (b"", "empty"),
        (SVG, "type"),
        (b"MZ\x90\x00", "type"),
        (png_header(12_000, 12_000), "pixels"),
        (claiming(plain("jpeg"), 12_000, 12_000), "pixels"),
        (webp_canvas(8000, 6000), "pixels"),  # which a WebP needs twice the memory for
        (moving("webp", frames=2), "animated"),
    ]
    for head, word in refused:
        with pytest.raises(BadPicture, match=word):
            check_head(head[:4096], max_pixels=PHONE)


def test_a_refusal_of_too_many_pixels_names_number_and_limit() -> None:
    with pytest.raises(BadPicture) as caught:
        check_reference(claiming(encoded(grain(64), "jpeg"), 12_000, 9_000), max_pixels=PHONE)

    assert (caught.value.width, caught.value.height, caught.value.limit) == (12_000, 9_000, PHONE)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_reference_is_read_to_its_end(kind: str) -> None:
    whole = encoded(grain(256), kind)

    assert check_reference(whole, max_pixels=PHONE) == Checked(kind, 256, 256, size=len(whole), frames=1)
    assert [reference_problem(whole[: int(len(whole) * part)]) for part in (0.3, 0.95)] == ["broken"] * 2


def test_of_animations_only_those_are_taken_that_every_reader_takes() -> None:
    assert check_reference(moving("png", frames=3), max_pixels=256).frames == 3
    assert reference_problem(moving("webp", frames=2)) == "animated"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_gps_data_in_a_reference_is_detected(kind: str) -> None:
    program = b"<x:xmpmeta exif:GPSLatitude='47,22.0N'/>"
    seen = [located(kind), encoded(grain(64), kind, **_xmp(kind, program)), encoded(grain(64), kind)]

    assert [check_reference(each, max_pixels=PHONE).has_location for each in seen] == [True, True, False]


def _xmp(kind: str, packet: bytes) -> dict[str, Any]:
    if kind != "png":
        return {"xmp": packet}
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    return {"pnginfo": info}

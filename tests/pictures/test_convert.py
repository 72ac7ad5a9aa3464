"""Conversion of reference pictures: what comes out, and that no file can harm the pool."""

import random
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from bot.core.errors import BadPicture
from bot.pictures.convert import CONVERTED_PIXELS, Converted, convert
from bot.pictures.guard import check_head, check_reference
from tests.pictures.make import (
    boxed,
    claiming,
    encoded,
    grain,
    grid,
    many_scans,
    moving,
    oriented,
    plain,
    png_header,
    quartered,
    webp_canvas,
)

PHONE = 51_000_000  # pixels
ROOM = 1_000_000  # bytes
STILL = ("png", "jpeg", "webp", "gif", "avif", "heif")
MOVING = ("gif", "png", "webp", "avif")


def converted(data: bytes, *, max_pixels: int = PHONE, max_bytes: int = ROOM) -> Converted:
    return convert(data, max_pixels=max_pixels, max_bytes=max_bytes)


def opened(result: Converted) -> Image.Image:
    image = Image.open(BytesIO(result.data))
    assert ((image.format or "").lower(), image.size) == (result.type, (result.width, result.height))
    return image


def problem(data: bytes, *, max_bytes: int = ROOM) -> str:
    with pytest.raises(BadPicture) as caught:
        converted(data, max_bytes=max_bytes)
    return caught.value.problem


def corners(image: Image.Image) -> list[str]:
    """The names of the colours in the four corners, row by row."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    near, far = (4, 4), (image.width - 5, image.height - 5)
    points = [near, (far[0], near[1]), (near[0], far[1]), far]
    pixels = image.convert("RGB")
    found = []
    for each in points:
        colour = pixels.getpixel(each)
        assert isinstance(colour, tuple)
        found.append(names[colour[0] // 128, colour[1] // 128, colour[2] // 128])
    return found


@pytest.mark.parametrize("kind", STILL)
def test_every_convertible_type_becomes_a_jpeg(kind: str) -> None:
    image = opened(converted(encoded(quartered(), kind)))

    assert (image.format, image.size) == ("JPEG", (64, 64))
    assert corners(image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "heif"])
def test_transparency_is_kept_as_png(kind: str) -> None:
    image = opened(converted(encoded(quartered(alpha=True), kind)))

    assert (image.format, image.mode) == ("PNG", "RGBA")
    low, high = image.getchannel("A").getextrema()
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert (low < 10, high > 245) == (True, True)


@pytest.mark.parametrize("kind", ["jpeg", "heif", "avif", "webp", "png"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (3, ["white", "blue", "green", "red"]),
        (5, ["red", "blue", "green", "white"]),
        (6, ["blue", "red", "white", "green"]),
    ],
)
def test_a_turned_picture_is_stored_upright_without_its_metadata(kind: str, orientation: int, seen: list[str]) -> None:
    data = oriented(quartered(), kind, orientation)

    image = opened(converted(data))

    assert corners(image) == seen
    assert dict(image.getexif()) == {}
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("kind", MOVING)
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    image = opened(converted(moving(kind, frames=3)))

    red = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(red, tuple)
    assert red[0] < 20  # the later frames have 40 and 80


def test_a_picture_is_reduced_to_the_pixels_that_a_model_accepts_in_its_own_shape() -> None:
    for kind in STILL:
        result = converted(encoded(grain(128).resize((160, 120)), kind), max_pixels=4_800)
        assert (result.width, result.height) == (80, 60)


def test_a_picture_is_reduced_until_its_bytes_fit() -> None:
    for image in (grain(512), grain(512, alpha=True)):
        result = converted(encoded(image, "webp", lossless=True), max_bytes=20_000)
        assert len(result.data) <= 20_000
        assert min(result.width, result.height) > 64
    assert problem(plain("webp"), max_bytes=100) == "heavy"


def test_a_photo_of_100_megapixels_is_reduced() -> None:
    data = encoded(Image.new("RGB", (10_000, 10_000), "teal"), "jpeg", quality=20)

    result = converted(data)

    assert result.width * result.height == CONVERTED_PIXELS


def test_the_colour_profile_is_applied_before_it_is_dropped() -> None:
    swapped = ImageCms.ImageCmsProfile(BytesIO(_with_red_and_green_swapped()))
    data = encoded(Image.new("RGB", (16, 16), (255, 0, 0)), "heif", quality=-1, icc_profile=swapped.tobytes())

    colour = opened(converted(data)).getpixel((8, 8))

    assert isinstance(colour, tuple)
    assert (colour[0] < 60, colour[1] > 200) == (True, True)


def _with_red_and_green_swapped() -> bytes:
    """The profile of sRGB with the names of two colours exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")


@pytest.mark.parametrize("kind", [each for each in STILL if each != "gif"])
def test_half_a_file_is_broken(kind: str) -> None:
    whole = encoded(grain(128), kind, **({"tile_size": 64} if kind == "heif" else {}))  # as phones do

    assert [problem(whole[: int(len(whole) * part)]) for part in (0.2, 0.6, 0.95)] == ["broken"] * 3


def test_a_heic_that_ends_before_its_pixels_is_broken_and_bytes_after_it_are_not_read() -> None:
    whole = encoded(grain(128), "heif", tile_size=64)

    assert problem(whole[: whole.index(b"mdat") - 4]) == "broken"
    assert converted(whole + b"\x00\x01SEFT and more").type == "jpeg"


@pytest.mark.parametrize(
    "data",
    [
        boxed(encoded(grain(128), "heif"), 60_000, 60_000),
        boxed(encoded(grain(128), "heif", tile_size=64), 8_000, 7_000),
        boxed(encoded(grain(128), "avif"), 16_000, 16_000),
        plain("gif")[:6] + b"\xff\xff\xff\xff" + plain("gif")[10:],
        claiming(plain("jpeg"), 12_000, 12_000),
        png_header(12_000, 12_000),
        webp_canvas(8_000, 7_000),
    ],
    ids=["heic", "heic of tiles", "avif", "gif", "jpeg", "png", "webp"],
)
def test_a_promise_of_too_many_pixels_is_refused_from_the_first_bytes(data: bytes) -> None:
    with pytest.raises(BadPicture, match="pixels"):
        check_head(data[:4096], max_pixels=PHONE, converts=True)
    assert problem(data) == "pixels"


@pytest.mark.parametrize(
    "data",
    [
        grid(encoded(grain(128), "heif", tile_size=64), 60_000),
        grid(boxed(encoded(grain(128), "heif", tile_size=64), 7_000, 7_000), 7_000),
        boxed(encoded(grain(128), "heif"), 7_000, 7_000),
    ],
    ids=["grid larger than its picture", "grid without its tiles", "larger than its pixels"],
)
def test_a_heic_whose_tiles_are_not_there_is_broken(data: bytes) -> None:
    assert problem(data) == "broken"


def test_scans_are_counted_before_a_jpeg_is_decoded() -> None:
    assert problem(many_scans(5_000, side=4_096)) == "scans"


@pytest.mark.parametrize("kind", ["gif", "avif", "heif"])
def test_no_damage_escapes_as_another_error(kind: str) -> None:
    chance = random.Random(8)
    whole = encoded(grain(32), kind)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(12, len(damaged))] = chance.randrange(256)
        try:
            converted(bytes(damaged))
        except BadPicture as exc:
            assert exc.problem in {"broken", "pixels"}  # noqa: PT017 - passing is fine too


def test_a_type_that_could_be_converted_is_told_from_others_where_it_is_not() -> None:
    refused = [
        (plain("gif"), "gif"),
        (plain("avif", size=(16, 16)), "avif"),
        (plain("heif", size=(64, 64)), "heic"),
        (moving("webp", frames=2), "animated"),
        (plain("bmp"), "type"),
    ]
    for data, word in refused:
        with pytest.raises(BadPicture, match=word):
            check_head(data[:4096], max_pixels=PHONE)
        with pytest.raises(BadPicture, match=word):
            check_reference(data, max_pixels=PHONE)


def test_a_check_tells_what_would_look_different_upright_or_still() -> None:
    turned = check_reference(oriented(quartered(), "jpeg", 6), max_pixels=PHONE)
    odd = check_reference(oriented(quartered(), "jpeg", 99), max_pixels=PHONE)
    animated = check_reference(moving("png", frames=3), max_pixels=PHONE)

    assert [(each.orientation, each.frames) for each in (turned, odd, animated)] == [(6, 1), (1, 1), (1, 3)]

import pytest
from PIL import Image

from bot.pictures.header import count_scans, is_animated_webp, size_of
from tests.pictures.make import encoded, grain, many_scans, moving, plain

FOUND = Image.effect_noise((31, 17), 40).convert("RGB")
CASES = {
    "png": encoded(FOUND, "png"),
    "jpeg": encoded(FOUND, "jpeg"),
    "progressive jpeg": encoded(FOUND, "jpeg", progressive=True, restart_marker_blocks=1),
    "jpeg behind a thumbnail": encoded(FOUND, "jpeg", exif=b"Exif\x00\x00" + plain("jpeg", size=(9, 9))),
    "lossy webp": encoded(FOUND, "webp"),
    "lossless webp": encoded(FOUND, "webp", lossless=True),
    "webp with more in it": encoded(FOUND, "webp", xmp=b"<x/>"),
}


@pytest.mark.parametrize("data", CASES.values(), ids=CASES.keys())
def test_the_size_is_read_from_the_first_bytes(data: bytes) -> None:
    kind = {0x89: "png", 0xFF: "jpeg", 0x52: "webp"}[data[0]]

    assert size_of(data[:4096], kind) == (31, 17)
    assert all(size_of(data[:end], kind) in (None, (31, 17)) for end in range(min(len(data), 900)))


def test_the_scans_of_a_jpeg_are_counted_up_to_a_limit() -> None:
    once, often = encoded(grain(64), "jpeg"), encoded(grain(64), "jpeg", progressive=True, restart_marker_blocks=1)
    view = encoded(FOUND, "mpo", save_all=True, append_images=[FOUND])

    assert [count_scans(each, limit=99) for each in (once, often, view, many_scans(200))] == [1, 10, 1, 100]
    assert [count_scans(each, limit=99) for each in (b"", once[:40], CASES["jpeg behind a thumbnail"])] == [0, 0, 1]


def test_an_animated_webp_is_detected_by_its_first_bytes() -> None:
    heads = [moving("webp", frames=2)[:21], CASES["webp with more in it"], CASES["lossy webp"], b""]

    assert [is_animated_webp(each) for each in heads] == [True, False, False, False]

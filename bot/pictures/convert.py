"""Converts a reference picture to PNG or JPEG, for providers that do not read its type or its size."""

import math
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from bot.core.errors import BadPicture
from bot.pictures.guard import HEAD_SIZE, open_checked, source_pixels
from bot.pictures.plain import plain, size_within
from bot.pictures.sniff import CONVERTIBLE, sniff

CONVERTED_PIXELS = 25_000_000  # of the result: more than any model draws, and quick to encode and to download
JPEG_SIDE = 65_500  # pixels; limit of the format
QUALITY = 92
MIN_SIDE = 64  # pixels of the longest side


@dataclass(frozen=True, slots=True)
class Converted:
    data: bytes
    type: str  # png, or jpeg where nothing is transparent
    width: int
    height: int


def convert(data: bytes, *, max_pixels: int, max_bytes: int) -> Converted:
    """Return the first frame, upright, in sRGB and without metadata, within the limits.

    Raises `BadPicture`: `empty`, `type`, `pixels` (limit: `source_pixels`), `scans`, `broken`, or `heavy` for a picture
    that does not fit into *max_bytes* bytes even if it is tiny.
    """
    head = data[:HEAD_SIZE]
    source = source_pixels(head, sniff(head) or "", max_pixels=max_pixels)
    picture = _decoded(data, source=source, max_pixels=min(max_pixels, CONVERTED_PIXELS))
    while True:
        encoded = _encoded(picture)
        if len(encoded) <= max_bytes:
            return Converted(encoded, "png" if picture.mode == "RGBA" else "jpeg", picture.width, picture.height)
        if max(picture.size) <= MIN_SIDE:
            raise BadPicture("heavy")
        fewer = min(0.75, 0.9 * max_bytes / len(encoded))  # bytes fall with the pixels, or faster
        size = size_within(
            picture.size, max_pixels=math.ceil(picture.width * picture.height * fewer), max_side=JPEG_SIDE
        )
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _decoded(data: bytes, *, source: int, max_pixels: int) -> Image.Image:
    """Decode to plain pixels; the decoder's memory is freed on return."""
    with open_checked(data, max_pixels=source, types=CONVERTIBLE) as (kind, image):
        size = size_within(image.size, max_pixels=max_pixels, max_side=JPEG_SIDE)
        if kind == "jpeg":
            image.draft(None, size)  # at a half, a quarter or an eighth, but not below *size*
        image.load()
        return plain(image, size=size)


def _encoded(picture: Image.Image) -> bytes:
    out = BytesIO()
    if picture.mode == "RGBA":
        picture.save(out, "png", compress_level=4)  # a third of the default's time, for 5 % more bytes
    else:
        picture.save(out, "jpeg", quality=QUALITY, subsampling=0)
    return out.getvalue()

"""Refuses bytes that are not the picture they claim to be, before they cost memory."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile

from bot.core.errors import BadPicture
from bot.pictures.header import is_animated_webp, scans_of, size_of
from bot.pictures.sniff import TAKEN, sniff

HEAD = 4096  # bytes
MOST_PIXELS = 25_000_000  # of a result: 4K at its widest, 12288 x 1536, has 18.9 million
WEBP_PIXELS = 25_000_000  # WebP takes 19 bytes of memory for each, twice as many as any other
MOST_SCANS = 64  # of a JPEG; cameras and programs write up to twenty
GPS = 0x8825  # where EXIF says where a photo was taken

# Pillow's readers have no base class of their own for "this file is damaged".
DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    Image.DecompressionBombError,  # of a size that the header did not tell
    struct.error,
    zlib.error,
)
# A photo with a depth map or a second view is an MPO to Pillow and a JPEG to everybody else.
_PILLOW = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class Checked:
    type: str
    width: int
    height: int
    size: int  # bytes
    frames: int
    has_location: bool = False  # whether a reference says where it was taken


def check_head(head: bytes, *, max_pixels: int) -> None:
    """`BadPicture` when the first bytes of a reference already say that we do not take it."""
    kind = _type(head)
    _limit(size_of(head, kind), kind, max_pixels=max_pixels)
    if kind == "webp" and is_animated_webp(head):  # decoders that know no animation refuse these as a whole
        raise BadPicture("animated")


def check(data: bytes, *, max_pixels: int = MOST_PIXELS) -> Checked:
    """Read the header, then decode every frame; `BadPicture` is `empty`, `type`, `pixels`, `scans` or `broken`.

    An animation counts with the pixels of all its frames. What follows the end of a picture is not looked at.
    """
    with opened(data, max_pixels=max_pixels) as (kind, image):
        width, height = image.size
        frames = 1 if kind == "jpeg" else int(getattr(image, "n_frames", 1))
        _limit((width, height * frames), kind, max_pixels=max_pixels)
        for frame in range(frames):
            image.seek(frame)
            _decode(kind, image)
        return Checked(type=kind, width=width, height=height, size=len(data), frames=frames)


def check_reference(data: bytes, *, max_pixels: int) -> Checked:
    """Like `check`, for what a host is to read: `animated` is a reason to refuse as well.

    Of an animated PNG the first picture is decoded, which is all that readers of plain PNG see.
    """
    check_head(data, max_pixels=max_pixels)
    with opened(data, max_pixels=max_pixels) as (kind, image):
        width, height = image.size
        _decode(kind, image)
        located = _has_location(image)
        return Checked(type=kind, width=width, height=height, size=len(data), frames=1, has_location=located)


@contextmanager
def opened(data: bytes, *, max_pixels: int = MOST_PIXELS) -> Iterator[tuple[str, ImageFile.ImageFile]]:
    """Type and header of a picture within the cap; nothing is decoded yet. Damage met inside is `broken`."""
    kind = _type(data[:HEAD])
    _limit(size_of(data, kind), kind, max_pixels=max_pixels)
    if kind == "jpeg" and scans_of(data, most=MOST_SCANS) > MOST_SCANS:
        raise BadPicture("scans")
    try:
        # Pillow warns of sizes that the cap judges, and of damage that either matters at decoding or never.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                if _PILLOW[image.format or ""] != kind:
                    raise BadPicture("type")
                _limit(image.size, kind, max_pixels=max_pixels)
                yield kind, image
    except DAMAGE as exc:
        raise BadPicture("broken") from exc


def _type(head: bytes) -> str:
    if not head:
        raise BadPicture("empty")
    kind = sniff(head[:HEAD])
    if kind not in TAKEN:
        raise BadPicture("type")
    return kind


def _limit(size: tuple[int, int] | None, kind: str, *, max_pixels: int) -> None:
    """`pixels` where *size* is known and over what may be."""
    most = min(max_pixels, WEBP_PIXELS) if kind == "webp" else max_pixels
    if size is not None and size[0] * size[1] > most:
        raise BadPicture("pixels", width=size[0], height=size[1], limit=most)


def _decode(kind: str, image: ImageFile.ImageFile) -> None:
    """Read all there is of a frame. A JPEG is read to its end, but only an eighth of its size is made of it."""
    if kind == "jpeg":
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
    image.load()


def _has_location(image: ImageFile.ImageFile) -> bool:
    try:
        return bool(image.getexif().get_ifd(GPS)) or b"GPSLatitude" in bytes(image.info.get("xmp") or b"")
    except DAMAGE:  # anything may stand in EXIF, and the picture is fine without it
        return False

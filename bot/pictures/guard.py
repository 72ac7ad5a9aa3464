"""Checks pictures before they are decoded: type, size, number of scans, damage. Raises `BadPicture`."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile

from bot.core.errors import BadPicture
from bot.pictures.header import count_scans, is_animated_webp, size_of
from bot.pictures.sniff import SUPPORTED, sniff

HEAD_SIZE = 4096  # bytes that hold every header
MAX_PIXELS = 25_000_000  # of a result; the widest 4K, 12288 x 1536, has 18.9 million
WEBP_PIXELS = 25_000_000  # WebP takes 19 bytes of memory per pixel, twice as many as any other format
MAX_SCANS = 64  # of a JPEG; cameras and programs write at most twenty
GPS = 0x8825  # EXIF tag of the location

# What Pillow's readers raise for a damaged file; they have no base class of their own.
DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    Image.DecompressionBombError,  # for a size that the header does not announce
    struct.error,
    zlib.error,
)
# Pillow reads a JPEG with a depth map or a second view as MPO; to all other programs it is a JPEG.
_PILLOW = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class Checked:
    type: str
    width: int
    height: int
    size: int  # bytes
    frames: int
    has_location: bool = False  # of references only: whether EXIF or XMP holds a location


def check_head(head: bytes, *, max_pixels: int) -> None:
    """Raise `BadPicture` if the first bytes of a reference show that it is not supported."""
    kind = _type(head)
    _check_pixels(size_of(head, kind), kind, max_pixels=max_pixels)
    if kind == "webp" and is_animated_webp(head):  # decoders without support for animation reject the whole file
        raise BadPicture("animated")


def check(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Checked:
    """Read the header, then decode every frame. Raises `BadPicture`: `empty`, `type`, `pixels`, `scans` or `broken`.

    For an animation, the pixels of all its frames count. Bytes after the end of the picture are ignored.
    """
    with open_checked(data, max_pixels=max_pixels) as (kind, image):
        width, height = image.size
        frames = 1 if kind == "jpeg" else int(getattr(image, "n_frames", 1))
        _check_pixels((width, height * frames), kind, max_pixels=max_pixels)
        for frame in range(frames):
            image.seek(frame)
            _decode(kind, image)
        return Checked(type=kind, width=width, height=height, size=len(data), frames=frames)


def check_reference(data: bytes, *, max_pixels: int) -> Checked:
    """Like `check`, for pictures that a provider will read; also raises `BadPicture` with `animated`.

    Of an animated PNG only the first frame is decoded, which is all that readers of plain PNG see.
    """
    check_head(data, max_pixels=max_pixels)
    with open_checked(data, max_pixels=max_pixels) as (kind, image):
        width, height = image.size
        _decode(kind, image)
        has_location = _has_location(image)
        return Checked(type=kind, width=width, height=height, size=len(data), frames=1, has_location=has_location)


@contextmanager
def open_checked(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[str, ImageFile.ImageFile]]:
    """Yield the type and the opened, undecoded picture. Errors of a damaged file in the block become `broken`."""
    kind = _type(data[:HEAD_SIZE])
    _check_pixels(size_of(data, kind), kind, max_pixels=max_pixels)
    if kind == "jpeg" and count_scans(data, limit=MAX_SCANS) > MAX_SCANS:
        raise BadPicture("scans")
    try:
        # Pillow warns of sizes, which are checked here, and of damage, which fails at decoding if it matters.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                if _PILLOW[image.format or ""] != kind:
                    raise BadPicture("type")
                _check_pixels(image.size, kind, max_pixels=max_pixels)
                yield kind, image
    except DAMAGE as exc:
        raise BadPicture("broken") from exc


def _type(head: bytes) -> str:
    if not head:
        raise BadPicture("empty")
    kind = sniff(head[:HEAD_SIZE])
    if kind not in SUPPORTED:
        raise BadPicture("type")
    return kind


def _check_pixels(size: tuple[int, int] | None, kind: str, *, max_pixels: int) -> None:
    """Raise `BadPicture` with `pixels` if *size* is known and exceeds the limit."""
    limit = min(max_pixels, WEBP_PIXELS) if kind == "webp" else max_pixels
    if size is not None and size[0] * size[1] > limit:
        raise BadPicture("pixels", width=size[0], height=size[1], limit=limit)


def _decode(kind: str, image: ImageFile.ImageFile) -> None:
    """Decode a frame completely. A JPEG is read to its end, but scaled down to an eighth to save memory."""
    if kind == "jpeg":
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
    image.load()


def _has_location(image: ImageFile.ImageFile) -> bool:
    try:
        return bool(image.getexif().get_ifd(GPS)) or b"GPSLatitude" in bytes(image.info.get("xmp") or b"")
    except DAMAGE:  # EXIF may hold anything; the picture does not depend on it
        return False

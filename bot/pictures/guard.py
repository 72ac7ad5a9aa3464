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
from bot.pictures.sniff import TAKEN, sniff

MOST_PIXELS = 80_000_000

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


def peek(head: bytes) -> None:
    """`BadPicture` when the first bytes of a file already say that we do not take it."""
    if not head:
        raise BadPicture("empty")
    if sniff(head) not in TAKEN:
        raise BadPicture("type")


def check(data: bytes, *, most_pixels: int = MOST_PIXELS) -> Checked:
    """Read the header, then decode every frame; `BadPicture` is `empty`, `type`, `pixels` or `broken`.

    An animation counts with the pixels of all its frames. What follows the end of a picture is not looked at.
    """
    with opened(data, most_pixels=most_pixels) as (kind, image):
        frames = frames_of(kind, image)
        for frame in range(frames):
            image.seek(frame)
            image.load()
        return Checked(type=kind, width=image.width, height=image.height, size=len(data), frames=frames)


@contextmanager
def opened(data: bytes, *, most_pixels: int = MOST_PIXELS) -> Iterator[tuple[str, ImageFile.ImageFile]]:
    """Type and header of a picture within the cap; nothing is decoded yet. Damage met inside is `broken`."""
    peek(data[:4096])
    try:
        # Pillow warns of sizes that the cap judges, and of damage that either matters at decoding or never.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                kind = _agreed(data, image)
                if image.width * image.height * frames_of(kind, image) > most_pixels:
                    raise BadPicture("pixels")
                yield kind, image
    except Image.DecompressionBombError as exc:
        raise BadPicture("pixels") from exc
    except DAMAGE as exc:
        raise BadPicture("broken") from exc


def frames_of(kind: str, image: ImageFile.ImageFile) -> int:
    return 1 if kind == "jpeg" else int(getattr(image, "n_frames", 1))


def _agreed(data: bytes, image: ImageFile.ImageFile) -> str:
    kind = _PILLOW[image.format or ""]
    if kind != sniff(data[:4096]):
        raise BadPicture("type")
    return kind

"""Checks pictures before they are decoded: type, size, number of scans, damage. Raises `BadPicture`."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile

from bot.core.errors import BadPicture
from bot.pictures.header import breaks_off, count_scans, is_animated_webp, is_light, size_of
from bot.pictures.sniff import CONVERTIBLE, SUPPORTED, sniff

HEAD_SIZE = 4096  # bytes that hold every header
MAX_PIXELS = 25_000_000  # of a result; the widest 4K, 12288 x 1536, has 18.9 million
WEBP_PIXELS = 25_000_000  # WebP takes 19 bytes of memory per pixel, twice as many as any other format
# Of a reference that is converted; a worker's memory allows no more (`make bench NAME=pictures`).
SOURCE_PIXELS, LIGHT_SOURCE_PIXELS = 51_000_000, 100_000_000
MAX_SCANS = 64  # of a JPEG; cameras and programs write at most twenty
GPS, ORIENTATION = 0x8825, 0x0112  # EXIF tags
UPRIGHT = 1  # value of the orientation

# What Pillow's readers raise for a damaged file; they have no base class of their own.
DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    Image.DecompressionBombError,  # for a size that the header does not announce
    struct.error,
    zlib.error,
)
# Type → Pillow's reader. It reads a JPEG with a depth map or a second view as MPO; to other programs it is a JPEG.
_PILLOW = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF", "avif": "AVIF", "heic": "HEIF"}


@dataclass(frozen=True, slots=True)
class Checked:
    type: str
    width: int
    height: int
    size: int  # bytes
    frames: int
    # Of references only: whether EXIF or XMP holds a location, and a JPEG's EXIF orientation.
    has_location: bool = False
    orientation: int = UPRIGHT


def check_head(head: bytes, *, max_pixels: int, converts: bool = False) -> None:
    """Raise `BadPicture` if the first bytes of a reference show that it is not supported.

    The problem of a picture that could be converted is `heic`, `avif`, `gif` or `animated` (a WebP). With *converts*
    those are accepted, and larger pictures.
    """
    kind = _type(head, CONVERTIBLE)
    if converts:
        _check_pixels(size_of(head, kind), kind, max_pixels=source_pixels(head, kind, max_pixels=max_pixels))
        return
    if kind not in SUPPORTED:
        raise BadPicture(kind)
    _check_pixels(size_of(head, kind), kind, max_pixels=max_pixels)
    if kind == "webp" and is_animated_webp(head):  # decoders without support for animation reject the whole file
        raise BadPicture("animated")


def source_pixels(head: bytes, kind: str, *, max_pixels: int) -> int:
    """How many pixels a reference may have that is converted, where *max_pixels* may be sent."""
    return max(max_pixels, LIGHT_SOURCE_PIXELS if is_light(head, kind) else SOURCE_PIXELS)


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

    Of an animated PNG only the first frame is decoded, which is all that readers of plain PNG see. A type that could
    be converted is the problem, as for `check_head`.
    """
    check_head(data, max_pixels=max_pixels)
    with open_checked(data, max_pixels=max_pixels) as (kind, image):
        width, height = image.size
        _decode(kind, image)
        return Checked(
            type=kind,
            width=width,
            height=height,
            size=len(data),
            frames=1 if kind == "jpeg" else int(getattr(image, "n_frames", 1)),
            has_location=_has_location(image),
            orientation=orientation_of(image) if kind == "jpeg" else UPRIGHT,
        )


@contextmanager
def open_checked(
    data: bytes, *, max_pixels: int = MAX_PIXELS, types: AbstractSet[str] = SUPPORTED
) -> Iterator[tuple[str, ImageFile.ImageFile]]:
    """Yield the type and the opened, undecoded picture. Errors of a damaged file in the block become `broken`."""
    kind = _type(data[:HEAD_SIZE], types)
    if kind == "heic":
        _register_heic()
    _check_pixels(size_of(data, kind), kind, max_pixels=max_pixels)
    if kind == "jpeg" and count_scans(data, limit=MAX_SCANS) > MAX_SCANS:
        raise BadPicture("scans")
    if kind in {"heic", "avif"} and breaks_off(data):  # the decoder of HEIC would leave out tiles that are not there
        raise BadPicture("broken")
    try:
        # Pillow warns of sizes, which are checked here, and of damage, which fails at decoding if it matters.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=[_PILLOW[kind]]) as image:
                _check_pixels(image.size, kind, max_pixels=max_pixels)
                yield kind, image
    except DAMAGE as exc:
        raise BadPicture("broken") from exc


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none."""
    try:
        value = image.getexif().get(ORIENTATION)
    except DAMAGE:  # EXIF may hold anything; the pixels do not depend on it
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _register_heic() -> None:
    """Let Pillow open HEIC. Called in a worker only: the decoder's library takes 30 MB."""
    import pillow_heif  # noqa: PLC0415 - see above

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _type(head: bytes, types: AbstractSet[str]) -> str:
    if not head:
        raise BadPicture("empty")
    kind = sniff(head[:HEAD_SIZE])
    if kind is None or kind not in types:
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

"""Makes a picture small enough to send, giving up as little of it as possible.

The steps: as it is; WebP 90; JPEG 92; WebP 80; then smaller and smaller WebP 80. Encoding a PNG
again as PNG costs six times the CPU of WebP and saves nothing, so it is not among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageCms

from bot.pictures.guard import DAMAGE, opened

SHRINK = 0.75
SMALLEST_SIDE = 512  # of the longest side
WEBP_SIDE = 16383  # the format's own limit
ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Note = Literal["same", "reencoded", "smaller"]


@dataclass(frozen=True, slots=True)
class Fitted:
    data: bytes
    type: str
    width: int
    height: int
    note: Note


def fit(data: bytes, *, max_bytes: int, xmp: bytes) -> Fitted | None:
    """The picture in at most *max_bytes* bytes, or None when 512 pixels are still too many.

    Untouched when it fits already. Otherwise its metadata gives way to *xmp*, turned photos are turned for good,
    colours become sRGB, and of an animation the first frame remains.
    """
    if len(data) <= max_bytes:
        with opened(data) as (kind, image):
            return Fitted(data, kind, image.width, image.height, "same")
    picture = _decoded(data)
    return _same_size(picture, max_bytes, xmp=xmp) or _smaller(picture, max_bytes, xmp=xmp)


def _decoded(data: bytes) -> Image.Image:
    """The pixels alone: what WebP's decoder holds, twice as much again, is free when this returns."""
    with opened(data) as (_, image):
        image.load()
        return _plain(image)


def _same_size(picture: Image.Image, max_bytes: int, *, xmp: bytes) -> Fitted | None:
    for kind, quality in (("webp", 90), ("jpeg", 92)):
        done = _encoded(picture, kind, quality=quality, note="reencoded", xmp=xmp)
        if done and len(done.data) <= max_bytes:
            return done
    return None


def _smaller(picture: Image.Image, max_bytes: int, *, xmp: bytes) -> Fitted | None:
    """WebP 80, downwards from the full size."""
    per_pixel = 0.0
    for size in _sizes(picture.size):
        # Bytes fall with the pixels, in noise up to four times faster: do not pay for a step that cannot do.
        if size[0] * size[1] * per_pixel > 4 * max_bytes and max(size) > SMALLEST_SIDE:
            continue
        note: Note = "reencoded" if size == picture.size else "smaller"
        shrunk = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        done = _encoded(shrunk, "webp", quality=80, note=note, xmp=xmp)
        if done and len(done.data) <= max_bytes:
            return done
        per_pixel = len(done.data) / (size[0] * size[1]) if done else 0.0
    return None


def _sizes(full: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The full size, then three quarters of the one before, until the longest side is 512."""
    longest = max(full)
    yield full
    side = float(longest)
    while side > SMALLEST_SIDE:
        side = max(side * SHRINK, SMALLEST_SIDE)
        yield max(1, round(full[0] * side / longest)), max(1, round(full[1] * side / longest))


def _encoded(picture: Image.Image, kind: str, *, quality: int, note: Note, xmp: bytes) -> Fitted | None:
    """None where the format cannot hold the picture: JPEG knows no alpha and no side above 65500, WebP none over 16383.

    Nor does WebP take noise without end at a high quality, or what it finds no memory for.
    """
    if (kind == "jpeg" and picture.mode == "RGBA") or (kind == "webp" and max(picture.size) > WEBP_SIDE):
        return None
    out = BytesIO()
    # Method 2 takes three quarters of the default's time for three per cent more bytes.
    try:
        picture.save(out, kind, quality=quality, xmp=xmp, **({"method": 2} if kind == "webp" else {}))
    except (OSError, ValueError, MemoryError):  # the first is JPEG's; nothing is written to a disk here
        return None
    return Fitted(out.getvalue(), kind, picture.width, picture.height, note)


def _plain(image: Image.Image) -> Image.Image:
    """RGB or RGBA, upright, in sRGB, with nothing attached."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    turn = _UPRIGHT.get(_orientation(image))
    picture = _in_srgb(image, mode)
    if mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")  # models like to send alpha that hides nothing
    if turn is not None:
        picture = picture.transpose(turn)
    picture.info = {}
    return picture


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ORIENTATION)
    except DAMAGE:  # anything may stand in EXIF, and the pixels are fine without it
        return 1
    return found if isinstance(found, int) else 1


def _in_srgb(image: Image.Image, mode: str) -> Image.Image:
    """Without its colour profile a picture looks different, so the profile is applied before it is dropped."""
    profile = image.info.get("icc_profile")
    if not profile:
        return _converted(image, mode)
    source = image if image.mode in {"RGB", "RGBA", "L", "CMYK"} else _converted(image, mode)
    try:
        into = ImageCms.createProfile("sRGB")
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        done = ImageCms.profileToProfile(source, given, into, outputMode=mode)
    except (ImageCms.PyCMSError, *DAMAGE):
        return _converted(image, mode)
    return done or _converted(image, mode)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greys: Pillow cuts them off at 255 instead of scaling
        image = image.point(lambda grey: grey / 256).convert("L")
    return image.convert(mode)

"""Reduces an opened picture to plain pixels: RGB or RGBA, upright, in sRGB, without metadata."""

import math
from io import BytesIO

from PIL import Image, ImageCms

from bot.pictures.guard import DAMAGE, orientation_of

DIRECT = frozenset({"RGB", "RGBA", "L", "CMYK"})  # modes that colour profiles and resizing apply to as they are
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def plain(image: Image.Image, *, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the picture as RGB or RGBA, upright, in sRGB, without metadata.

    With *size* (width and height before it is made upright) it is resized first, which saves memory.
    """
    mode = "RGBA" if image.has_transparency_data else "RGB"
    method = _TRANSPOSE.get(orientation_of(image))
    if size is not None and size != image.size:
        if image.mode not in DIRECT or (mode == "RGBA" and image.mode != mode):  # a transparent colour must not blend
            image = _converted(image, mode)
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    picture = _in_srgb(image, mode)
    if mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")  # models often send an alpha channel that is fully opaque
    if method is not None:
        picture = picture.transpose(method)
    picture.info = {}
    return picture


def size_within(size: tuple[int, int], *, max_pixels: int, max_side: int) -> tuple[int, int]:
    """Return the largest size of the same shape, at most *size*, with at most *max_pixels* pixels."""
    width, height = size
    factor = min(1.0, math.sqrt(max_pixels / (width * height)), max_side / max(size))
    return max(1, int(width * factor)), max(1, int(height * factor))


def _in_srgb(image: Image.Image, mode: str) -> Image.Image:
    """Convert to sRGB: the colour profile is applied before it is dropped, since colours shift without it."""
    profile = image.info.get("icc_profile")
    if not profile:
        return _converted(image, mode)
    source = image if image.mode in DIRECT else _converted(image, mode)
    try:
        srgb = ImageCms.createProfile("sRGB")
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(source, embedded, srgb, outputMode=mode)
    except (ImageCms.PyCMSError, *DAMAGE):
        return _converted(image, mode)
    return converted or _converted(image, mode)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale: Pillow clips it at 255 instead of scaling
        image = image.point(lambda grey: grey / 256).convert("L")
    return image.convert(mode)

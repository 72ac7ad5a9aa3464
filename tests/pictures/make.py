"""Pictures for these tests, honest and otherwise."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plain(kind: str = "png", *, size: tuple[int, int] = (1, 1), mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, size, "red"), kind)


def grain(side: int, *, alpha: bool = False) -> Image.Image:
    """Something like a photograph: a gradient under noise, with alpha that hides a part of it."""
    ground = Image.radial_gradient("L").resize((side, side))
    bands = [Image.blend(ground, Image.effect_noise((side, side), 40), 0.5) for _ in range(3)]
    image = Image.merge("RGB", bands)
    if alpha:
        image.putalpha(ground)
    return image


def moving(kind: str, *, frames: int, side: int = 16) -> bytes:
    images = [Image.new("RGB", (side, side), (each * 40, 90, 200)) for each in range(frames)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], duration=50)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises *width* times *height* pixels and holds almost none."""
    ihdr = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + _chunk(b"IDAT", zlib.compress(bytes(64))) + _chunk(b"IEND", b"")


def webp_canvas(width: int, height: int) -> bytes:
    """A sound animated WebP of small frames on a canvas as large as you like."""
    data = moving("webp", frames=2)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return data[:24] + size + data[30:]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def many_scans(count: int, *, side: int = 64) -> bytes:
    """A sound progressive JPEG whose last scan is there *count* times."""
    data = encoded(Image.new("RGB", (side, side), "teal"), "jpeg", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def claiming(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that says it has *width* times *height* pixels."""
    at = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def located(kind: str) -> bytes:
    """A picture that says where it was taken."""
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 1.0), 3: "E", 4: (8.0, 32.0, 1.0)})
    return encoded(grain(64), kind, exif=exif)


def credentialed(kind: str) -> bytes:
    """A picture with content credentials (C2PA) where its format keeps them, and with EXIF and XMP beside them."""
    claim = b"\x00\x00\x00\x1ejumb a claim that is signed."
    data = encoded(grain(64), kind, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")
    match kind:
        case "png":
            return data[:33] + _chunk(b"caBX", claim) + data[33:]
        case "jpeg":
            return data[:2] + b"\xff\xeb" + struct.pack(">H", len(claim) + 2) + claim + data[2:]
    body = data[8:] + b"C2PA" + struct.pack("<I", len(claim)) + claim
    return b"RIFF" + struct.pack("<I", len(body)) + body

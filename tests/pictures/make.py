"""Pictures for these tests, honest and otherwise."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()


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


def quartered(*, alpha: bool = False, side: int = 64) -> Image.Image:
    """Four colours, by which a turned or mirrored picture can be told: red, green, blue and white, row by row."""
    image = Image.new("RGBA" if alpha else "RGB", (side, side), "white")
    half = side // 2
    for colour, at in (("red", (0, 0)), ("lime", (half, 0)), ("blue", (0, half))):
        image.paste(colour, (*at, at[0] + half, at[1] + half))
    if alpha:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def oriented(image: Image.Image, kind: str, orientation: int, **options: Any) -> bytes:
    """*image* stored as it is, with metadata that say how to turn it, and where it was taken."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 1.0)})
    return encoded(image, kind, exif=exif.tobytes(), **options)  # as bytes, from which HEIC gets its own orientation


def boxed(data: bytes, width: int, height: int) -> bytes:
    """A HEIC or AVIF that says it has *width* times *height* pixels."""
    sizes = [each[:8] for each in data.split(b"ispe" + bytes(4))[1:]]
    largest = max(sizes, key=lambda size: int.from_bytes(size[:4]) * int.from_bytes(size[4:]))
    return data.replace(b"ispe" + bytes(4) + largest, b"ispe" + bytes(4) + struct.pack(">II", width, height))


def grid(data: bytes, side: int) -> bytes:
    """A HEIC of tiles whose arrangement says that they are 256 times 256 and cover *side* times *side* pixels."""
    at = data.index(b"idat") + 4
    return data[:at] + struct.pack(">BBBBHH", 0, 0, 255, 255, side, side) + data[at + 8 :]


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

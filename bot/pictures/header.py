"""Reads size, animation and number of scans from a file's header, without decoding the picture."""

import re

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
NOT_SIZES = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG and DAC: in the range of the SOF markers, but without a size
ANIMATED = 0x02  # flag of a WebP
PNG_WITHOUT_ALPHA = frozenset({0, 2})  # colour types: grey and RGB
# Inside a scan 0xff is followed by zero or a restart code; any other byte after it makes a marker.
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd8])", re.DOTALL)

# The box with a picture's size in HEIC and AVIF. The boxes of phones' photos take a few thousand bytes.
SPATIAL_EXTENTS = re.compile(rb"\x00\x00\x00\x14ispe\x00{4}(.{8})", re.DOTALL)
BOXES_SIZE = 64 * 1024


def size_of(head: bytes, kind: str) -> tuple[int, int] | None:
    """Return width and height of a picture; None if *head* ends before them.

    For HEIC and AVIF, which may consist of several pictures, those of the largest.
    """
    match kind:
        case "png":
            return _png_size(head)
        case "jpeg":
            return _jpeg_size(head)
        case "webp":
            return _webp_size(head)
        case "gif":
            return (int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")) if head[9:] else None
        case "heic" | "avif":
            return _boxed_size(head)
    return None


def is_animated_webp(head: bytes) -> bool:
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & ANIMATED)


def may_have_alpha(head: bytes, kind: str) -> bool:
    """Whether the picture may have transparent pixels, as far as its header says."""
    return kind == "webp" or (kind == "png" and len(head) > 25 and head[25] not in PNG_WITHOUT_ALPHA)


def is_light(head: bytes, kind: str) -> bool:
    """Whether the picture can be decoded with little memory: a JPEG at a part of its size, a PNG without alpha."""
    return kind == "jpeg" or (kind == "png" and not may_have_alpha(head, kind))


def count_scans(data: bytes, *, limit: int) -> int:
    """Count the scans of a JPEG, up to *limit* + 1; decoding each scan costs as much as the first.

    Further pictures in the same file, such as a depth map, are not counted.
    """
    scans = at = 0
    while scans <= limit and (found := MARKER.search(data, at)) and found[1][0] != END_OF_IMAGE:
        scans += found[1][0] == START_OF_SCAN
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return scans


def breaks_off(data: bytes) -> bool:
    """Whether a HEIC or AVIF ends within a box, or without one for the pixels. Bytes after the last box are ignored."""
    at, has_pixels = 0, False
    while at < len(data) and (box := data[at : at + 16])[4:8].isalnum():
        size, has_pixels = int.from_bytes(box[:4]), has_pixels or box[4:8] == b"mdat"
        if size == 0:  # to the end of the file
            break
        at += max(8, int.from_bytes(box[8:]) if size == 1 else size)
    return at > len(data) or not has_pixels


def _png_size(head: bytes) -> tuple[int, int] | None:
    if head[12:16] != b"IHDR" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 0
    while found := MARKER.search(head, at):
        marker, body = found[1][0], found.end()
        if 0xC0 <= marker <= 0xCF and marker not in NOT_SIZES:
            size = head[body + 3 : body + 7]
            return (int.from_bytes(size[2:]), int.from_bytes(size[:2])) if len(size) == 4 else None
        if marker == START_OF_SCAN:
            return None
        at = body + int.from_bytes(head[body : body + 2])
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _boxed_size(head: bytes) -> tuple[int, int] | None:
    found = SPATIAL_EXTENTS.findall(head[:BOXES_SIZE])
    sizes = [(int.from_bytes(each[:4]), int.from_bytes(each[4:])) for each in found]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)

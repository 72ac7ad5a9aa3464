"""Detects a file's type from its first bytes, ignoring its name."""

from collections.abc import Mapping

SUPPORTED = frozenset({"png", "jpeg", "webp"})  # what Discord shows in a card and both providers accept
CONVERTIBLE = frozenset({*SUPPORTED, "gif", "heic", "avif"})  # what a reference can be converted from

CONTENT_TYPE: Mapping[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "heic": "image/heic",
    "avif": "image/avif",
    "jxl": "image/jxl",
    "svg": "image/svg+xml",
    "html": "text/html",
    "pdf": "application/pdf",
    "mp4": "video/mp4",
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
    (b"BM", "bmp"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<iframe")
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})


def sniff(head: bytes) -> str | None:
    """Return a key of CONTENT_TYPE, or None if the type is unknown. The first 4096 bytes are enough."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _boxed(head)
    name = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    return name or _markup(head[:4096])


def _boxed(head: bytes) -> str:
    """Read the brands of an ISO media file. An AVIF also has the brand `mif1`, so it is tested first."""
    end = max(12, min(int.from_bytes(head[:4], "big"), 256))
    brands = {head[at : at + 4] for at in range(8, end, 4)}
    if brands & _AVIF:
        return "avif"
    return "heic" if brands & _HEIC else "mp4"


def _markup(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text.startswith(b"<"):
        return None
    if text.startswith(_HTML):
        return "html"
    if b"<svg" in text:
        return "svg"
    return "html" if b"<html" in text else None

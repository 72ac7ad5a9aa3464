import pytest

from bot.pictures.sniff import CONTENT_TYPE, SUPPORTED, sniff
from tests.pictures.make import plain

PDF = b"%PDF-1.7\n"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif"])
def test_a_file_type_is_detected_by_the_first_bytes(kind: str) -> None:
    assert sniff(plain(kind)[:4096]) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "heic"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "avif"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42", "mp4"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\xef\xbb\xbf <?xml version='1.0'?><!-- x --><svg/>", "svg"),
        (b"\n<!DOCTYPE HTML><svg/>", "html"),
        (b"<!-- hello --><HTML>", "html"),
        (b"<?xml version='1.0'?><feed/>", None),
        (b"\xff\x0a\xfa", "jxl"),
        (PDF + plain("jpeg"), "pdf"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", None),
        (b"just words", None),
        (b"", None),
    ],
)
def test_the_first_signature_decides(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


def test_everything_taken_has_a_content_type() -> None:
    assert {CONTENT_TYPE[kind] for kind in SUPPORTED} == {"image/png", "image/jpeg", "image/webp"}


def test_the_first_bytes_of_a_file_tell_its_kind_or_none() -> None:
    for kind, needs in (("png", 8), ("webp", 12), ("avif", 12)):
        whole = plain(kind)
        for end in range(64):
            assert (sniff(whole[:end]) == kind) is (end >= needs)

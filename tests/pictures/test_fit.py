from functools import cache
from io import BytesIO
from xml.etree import ElementTree as ET

import pytest
from PIL import Image, ImageCms

from bot.core.errors import BadPicture
from bot.pictures.fit import Fitted
from bot.pictures.fit import fit as fit_marked
from bot.pictures.guard import check
from bot.pictures.provenance import ai_mark
from tests.pictures.make import encoded, grain, plain

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MARK = ai_mark("Nano Banana 2", edited=False)


def fit(data: bytes, *, max_bytes: int) -> Fitted | None:
    return fit_marked(data, max_bytes=max_bytes, xmp=MARK)


@cache
def photo() -> bytes:
    return encoded(grain(1024), "png", compress_level=1)


def fitted(data: bytes, *, max_bytes: int) -> Fitted:
    done = fit(data, max_bytes=max_bytes)
    assert done is not None
    assert len(done.data) <= max_bytes
    seen = check(done.data)
    assert (seen.type, seen.width, seen.height) == (done.type, done.width, done.height)
    return done


def image_of(done: Fitted) -> Image.Image:
    with Image.open(BytesIO(done.data)) as image:
        image.load()
        return image


def mark_of(image: Image.Image) -> dict[str, str]:
    """The XMP properties of *image*, by their names."""
    (found,) = ET.fromstring(image.info["xmp"]).iter(f"{{{RDF}}}Description")  # noqa: S314 - our own
    return {name.partition("}")[2]: value for name, value in found.items()}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_that_fits_is_not_touched(kind: str) -> None:
    data = plain(kind, size=(30, 20))

    assert fit(data, max_bytes=len(data)) == Fitted(data, kind, 30, 20, "same")


def test_the_first_step_keeps_every_pixel() -> None:
    done = fitted(photo(), max_bytes=len(photo()) - 1)

    assert (done.type, done.width, done.height, done.note) == ("webp", 1024, 1024, "reencoded")


def test_size_goes_only_when_quality_is_not_enough() -> None:
    done = fitted(photo(), max_bytes=250_000)

    assert (done.type, done.width, done.note) == ("webp", 768, "smaller")


def test_it_ends_at_512_pixels_and_then_gives_up() -> None:
    assert fitted(photo(), max_bytes=60_000).width == 512
    assert fit(photo(), max_bytes=500) is None


def test_the_shape_stays_when_the_size_goes() -> None:
    data = encoded(grain(1600).crop((0, 0, 1600, 400)), "png")

    done = fitted(data, max_bytes=5_000)

    assert done.note == "smaller"
    assert done.width / done.height == pytest.approx(4, rel=0.01)


def test_a_small_picture_is_never_made_larger() -> None:
    data = encoded(grain(64), "png")

    done = fitted(data, max_bytes=len(data) // 2)

    assert (done.width, done.note) == (64, "reencoded")
    assert fit(data, max_bytes=10) is None


def test_alpha_is_kept() -> None:
    data = encoded(grain(768, alpha=True), "png")

    for max_bytes in (len(data) - 1, 100_000):
        done = fitted(data, max_bytes=max_bytes)
        assert (done.type, image_of(done).mode) == ("webp", "RGBA")


def test_alpha_that_hides_nothing_is_dropped() -> None:
    image = grain(256)
    image.putalpha(255)
    data = encoded(image, "png")

    assert image_of(fitted(data, max_bytes=len(data) - 1)).mode == "RGB"


def test_a_side_too_long_for_webp_becomes_jpeg() -> None:
    data = encoded(grain(512).resize((17000, 16)), "png", compress_level=0)

    done = fitted(data, max_bytes=len(data) - 1)

    assert (done.type, done.width) == ("jpeg", 17000)


def test_a_side_too_long_for_both_formats_is_shrunk_to_webps_limit() -> None:
    data = encoded(grain(512).resize((66000, 40)), "png", compress_level=0)

    done = fitted(data, max_bytes=len(data) - 1)

    assert (done.type, done.width, done.height, done.note) == ("webp", 15662, 9, "smaller")


def test_metadata_goes() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    image = grain(64)
    data = encoded(image, "jpeg", quality=100, exif=exif, comment=b"a comment", xmp=b"<x:xmpmeta/>")

    done = fitted(data, max_bytes=len(data) - 1)

    assert b"taken at home" in data
    assert not {"exif", "comment", "icc_profile"} & image_of(done).info.keys()
    assert b"taken at home" not in done.data
    assert image_of(done).info["xmp"] == MARK


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_re_encoded_picture_is_marked_as_ai_generated(kind: str) -> None:
    for given in (grain(256), grain(512).resize((17000, 16))):  # the second is too wide for WebP
        if max(given.size) > 16383 and kind == "webp":
            continue
        data = encoded(given, kind, **({"compress_level": 0} if kind == "png" else {"quality": 100}))
        image = image_of(fitted(data, max_bytes=len(data) - 1))
        told = mark_of(image)

        assert (image.format, image.width) == ("JPEG" if given.width > 16383 else "WEBP", given.width)
        assert told["CreatorTool"] == told["AISystemUsed"] == "Nano Banana 2"
        assert told["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_xmp_distinguishes_generated_from_edited_and_allows_any_name() -> None:
    data = encoded(grain(64), "png")
    done = fit_marked(data, max_bytes=len(data) - 1, xmp=ai_mark('A & "B" <c>', edited=True))
    assert done is not None
    told = mark_of(image_of(done))

    assert told["CreatorTool"] == 'A & "B" <c>'
    assert told["DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")


def test_a_photo_lying_on_its_side_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(grain(64).crop((0, 0, 64, 32)), "jpeg", quality=100, exif=exif)

    done = fitted(data, max_bytes=len(data) - 1)

    assert (done.width, done.height) == (32, 64)


def test_junk_in_exif_does_not_stop_it() -> None:
    junk = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff<script>" + bytes(range(256))
    data = encoded(grain(64), "jpeg", quality=100, exif=junk)

    assert b"<script>" not in fitted(data, max_bytes=len(data) - 1).data


@pytest.mark.parametrize("profile", [b"junk", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_a_useless_colour_profile_does_not_stop_it(profile: bytes) -> None:
    data = encoded(grain(64), "png", icc_profile=profile)

    assert fitted(data, max_bytes=len(data) - 1).note == "reencoded"


def test_a_colour_profile_is_applied_and_dropped() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(grain(64, alpha=True), "png", icc_profile=profile)

    image = image_of(fitted(data, max_bytes=len(data) - 1))

    assert image.mode == "RGBA"
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_every_kind_of_pixel_can_be_fitted(mode: str) -> None:
    data = encoded(grain(64).convert("L").convert(mode), "jpeg" if mode == "CMYK" else "png") + bytes(5_000)

    assert fitted(data, max_bytes=len(data) - 1).note == "reencoded"


def test_sixteen_bit_greys_keep_their_brightness() -> None:
    data = encoded(Image.new("I;16", (64, 64), 40_000), "png") + bytes(1_000)

    assert image_of(fitted(data, max_bytes=1_000)).getpixel((5, 5)) == pytest.approx((156, 156, 156), abs=3)


def test_a_file_that_is_no_picture_is_refused_as_such() -> None:
    with pytest.raises(BadPicture, match="type"):
        fit(b"<svg/>", max_bytes=1)
    with pytest.raises(BadPicture, match="broken"):
        fit(photo()[:2_000_000], max_bytes=1_000_000)

"""`darkroom doctor` on a bucket: one line that says whether pictures can be kept there."""

import re

import pytest

from bot.cli.doctor import Line, _bucket
from bot.settings.settings import Settings
from tests import s3


async def line_of(bucket: s3.Line, **changes: str) -> Line:
    given = {
        "URL": bucket.url,
        "S3_ENDPOINT": bucket.endpoint,
        "S3_REGION": s3.KEYS.region,
        "S3_ACCESS_KEY": s3.KEYS.access_key,
        "S3_SECRET_KEY": s3.KEYS.secret_key,
        **changes,
    }
    return await _bucket(Settings.load({f"DARKROOM_DATA__{key}": value for key, value in given.items()}))


async def test_a_good_bucket_is_left_as_it_was(bucket: s3.Line) -> None:
    assert str(await line_of(bucket)) == f"ok    pictures: {bucket.url} can be written, read and deleted from"
    assert await bucket.storage().list() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"S3_SECRET_KEY": "another-secret"},
            r"403 Forbidden \(SignatureDoesNotMatch\) - check DARKROOM_DATA__URL",
        ),
        ({"URL": "s3://nowhere"}, r"s3://nowhere: 404 Not Found \(NoSuchBucket\) - check DARKROOM_DATA__URL"),
        ({"S3_ENDPOINT": "http://127.0.0.1:1"}, "no connection - check DARKROOM_DATA__S3_ENDPOINT"),
        ({"S3_SECRET_KEY": ""}, "DARKROOM_DATA__S3_SECRET_KEY is not set"),
    ],
)
async def test_a_bucket_that_cannot_be_used_says_why(bucket: s3.Line, changes: dict[str, str], expected: str) -> None:
    line = await line_of(bucket, **changes)

    assert line.good is False
    assert line.what.startswith("pictures: ")
    assert re.search(expected, str(line))

"""The settings of a bucket: what is accepted, and that keys are never shown."""

import pytest

from bot import app
from bot.files.folder import FolderStorage
from bot.files.object_storage import ObjectStorage
from bot.settings.settings import Settings
from bot.settings.sources import BadSettings

KEYS = {"DARKROOM_DATA__S3_ACCESS_KEY": "AKIACANARY", "DARKROOM_DATA__S3_SECRET_KEY": "canary-secret"}


@pytest.mark.parametrize("url", ["s3://pictures", "s3://pictures/", "s3://my.pictures-1/darkroom/a_b/"])
def test_pictures_are_in_the_bucket_of_the_url(url: str) -> None:
    storage = app.storage(Settings.load({"DARKROOM_DATA__URL": url, **KEYS}))

    assert isinstance(storage, ObjectStorage)
    assert storage.location == url.rstrip("/")
    assert isinstance(app.storage(Settings.load({})), FolderStorage)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("URL", "pictures"),
        ("URL", "https://pictures.s3.amazonaws.com"),
        ("URL", "s3://"),
        ("URL", "s3://Pictures"),
        ("URL", "s3://key:secret@pictures"),
        ("URL", "s3://pictures/../others"),
        ("URL", "s3://pictures?region=x"),
        ("S3_ENDPOINT", "http://s3.example.com"),
        ("S3_ENDPOINT", "s3.example.com"),
        ("S3_REGION", "eu central"),
        ("S3_SECRET_KEY", "short"),
    ],
)
def test_a_wrong_value_names_its_setting(key: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"DARKROOM_DATA__{key}"):
        Settings.load({f"DARKROOM_DATA__{key}": value})


def test_one_key_without_the_other_is_an_error() -> None:
    for given, missing in ((0, "SECRET_KEY"), (1, "ACCESS_KEY")):
        with pytest.raises(BadSettings, match=f"DARKROOM_DATA__S3_{missing} is not set"):
            app.storage(Settings.load({"DARKROOM_DATA__URL": "s3://pictures", **dict([list(KEYS.items())[given]])}))


def test_keys_are_secrets() -> None:
    settings = Settings.load({"DARKROOM_DATA__URL": "s3://pictures", **KEYS})

    assert set(KEYS.values()) <= set(settings.secrets())
    assert not any(each in repr(settings) + repr(app.storage(settings)) for each in KEYS.values())

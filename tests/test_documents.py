"""Commands and settings in the documentation are accepted by the program."""

import re
import shutil
import sqlite3
import subprocess
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.jobs import Verb
from bot.settings.settings import SHIPPED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "providers.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EXAMPLES: list[dict[str, Any]] = [
    tomllib.loads(each)["models"]
    for each in re.findall(r"<!-- example: model -->\n```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
]


def with_example(models: dict[str, Any]) -> Catalog:
    shipped = tomllib.loads((SHIPPED.parent / "models.toml").read_text())
    return Catalog.model_validate({**shipped, "models": {**shipped["models"], **models}})


@pytest.mark.parametrize("models", EXAMPLES, ids=["-".join(each) for each in EXAMPLES])
def test_a_model_of_the_documentation_can_stand_in_the_catalogue(models: dict[str, Any]) -> None:
    (key,) = models
    request = with_example(models).request(key, Verb.IMAGINE, prompt="x", asked=RequestedOptions(), drawn_seed=1)

    assert with_example(models).routes_for(request)


def test_a_model_of_two_providers_is_routed_as_documented() -> None:
    catalog = with_example(next(each for each in EXAMPLES if "pencil" in each))

    def routed(**asked: Any) -> tuple[list[str], int]:
        request = catalog.request("pencil", Verb.IMAGINE, prompt="x", asked=RequestedOptions(**asked), drawn_seed=1)
        return [each.provider for each in catalog.routes_for(request)], catalog.quote(request).micro_usd

    assert routed() == (["runcomfy", "runflow"], 40_000)
    assert routed(count=4) == (["runflow"], 45_000)
    assert routed(thinking="high") == (["runflow"], 47_000)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(each.relative_to(ROOT)) for each in PAGES])
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = [each for each in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in each]

    def leads_nowhere(link: str) -> bool:
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        return not target.exists() or (anchor != "" and anchor not in anchors(target))

    assert [each for each in links if leads_nowhere(each)] == []


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the commands are those of SQLite's own shell")
def test_backups_made_as_written_are_whole_and_their_owners_alone(tmp_path: Path) -> None:
    text = PAGE.with_name("operations.md").read_text()
    commands = [each for each in text.splitlines() if each.startswith("(umask") and "sqlite3" in each]
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "darkroom.db")) as database:
        database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE jobs (id TEXT); INSERT INTO jobs VALUES ('a')")
        for each in commands:
            subprocess.run(["/bin/sh", "-c", each], cwd=tmp_path, umask=0o022, check=True)  # noqa: S603 - our own page

    made = sorted(tmp_path.glob("*.db"))
    assert [each.stat().st_mode & 0o777 for each in made] == [0o600] * len(commands) == [0o600, 0o600]
    for backup in made:
        with closing(sqlite3.connect(backup)) as copy:
            assert copy.execute("SELECT id FROM jobs").fetchall() == [("a",)]

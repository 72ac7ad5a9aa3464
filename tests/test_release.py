"""The release script, on repositories made for each test."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GIT = shutil.which("git") or ""
pytestmark = pytest.mark.skipif(not GIT, reason="there is no git")

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- A lamp.

### Fixed

- The door shuts.

## [0.1.0] - 2026-01-02

- The room.
"""
PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "darkroom"
dynamic = ["version"]
requires-python = ">=3.11"
[tool.hatch.version]
path = "bot/__init__.py"
[tool.hatch.build.targets.wheel]
packages = ["bot"]
"""
NEWS = "### Added\n\n- A lamp.\n\n### Fixed\n\n- The door shuts."


def git(folder: Path, *arguments: str) -> str:
    return subprocess.check_output((GIT, *arguments), cwd=folder, text=True).strip()  # noqa: S603 - ours


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository on main whose version 0.1.0 was released."""
    for name, text in {
        "CHANGELOG.md": CHANGELOG,
        "pyproject.toml": PYPROJECT,
        "bot/__init__.py": '__version__ = "0.1.0"\n',
        ".gitignore": "dist/\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    for setting in ("user.name=Somebody", "user.email=somebody@example.org", "commit.gpgsign=false"):
        git(tmp_path, "config", *setting.split("="))
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    git(tmp_path, "tag", "v0.1.0")
    return tmp_path


def release(checkout: Path, *version: str) -> tuple[int, str]:
    command = (sys.executable, str(ROOT / "scripts" / "release.py"), *version)
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.returncode, done.stdout + done.stderr


def test_a_release_dates_the_changelog_sets_the_version_and_tags_with_its_section(checkout: Path) -> None:
    code, output = release(checkout, "0.2.0")

    assert code == 0, output
    changelog = (checkout / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]\n\n## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n", changelog, re.MULTILINE)
    assert re.sub(r"\n## \[0\.2\.0\].*\n", "", changelog, count=1) == CHANGELOG
    assert (checkout / "bot/__init__.py").read_text() == '__version__ = "0.2.0"\n'
    assert git(checkout, "log", "--format=%s") == "Release 0.2.0\nBegin"
    assert git(checkout, "tag", "--list", "--format=%(contents)", "v0.2.0") == f"Darkroom 0.2.0\n\n{NEWS}"
    assert git(checkout, "rev-parse", "v0.2.0^{commit}") == git(checkout, "rev-parse", "HEAD")
    assert git(checkout, "status", "--porcelain") == ""
    assert [each.name for each in (checkout / "dist").iterdir()] == ["darkroom-0.2.0-py3-none-any.whl"]
    assert release(checkout, "0.3.0") == (1, "CHANGELOG.md has nothing under [Unreleased].\n")


def test_the_version_that_was_never_tagged_can_be_the_first_release(checkout: Path) -> None:
    git(checkout, "tag", "--delete", "v0.1.0")

    assert release(checkout, "0.1.0")[0] == 0


def dirty(checkout: Path) -> None:
    (checkout / "new.txt").touch()


def elsewhere(checkout: Path) -> None:
    git(checkout, "switch", "--quiet", "--create", "other")


def tagged(checkout: Path) -> None:
    git(checkout, "tag", "v0.2.0")


def unchanged(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "version", "says"),
    [
        (unchanged, "0.2", "A version is three numbers, such as 1.2.3, not '0.2'."),
        (unchanged, "v0.2.0", "A version is three numbers, such as 1.2.3, not 'v0.2.0'."),
        (unchanged, "0.0.9", "0.0.9 is not newer than 0.1.0."),
        (unchanged, "0.1.0", "0.1.0 is not newer than 0.1.0."),
        (dirty, "0.2.0", "There are changes that are not committed: commit or remove them first."),
        (elsewhere, "0.2.0", "Releases are made on main, and this is other."),
        (tagged, "0.2.0", "There is a tag v0.2.0 already."),
    ],
)
def test_a_release_that_is_not_possible_is_refused_in_one_sentence(
    checkout: Path, prepare: Callable[[Path], None], version: str, says: str
) -> None:
    prepare(checkout)
    before = git(checkout, "rev-parse", "HEAD"), git(checkout, "status", "--porcelain"), git(checkout, "tag")

    assert release(checkout, version) == (1, f"{says}\n")

    assert before == (git(checkout, "rev-parse", "HEAD"), git(checkout, "status", "--porcelain"), git(checkout, "tag"))


def test_a_release_whose_wheel_cannot_be_built_leaves_the_checkout_as_it_was(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text("[project]\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "Break the build")

    code, output = release(checkout, "0.2.0")

    assert code == 1
    assert output.endswith("Darkroom 0.2.0 was not released: the lines above say why.\n")
    assert git(checkout, "log", "-1", "--format=%s") == "Break the build"
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "tag") == "v0.1.0"

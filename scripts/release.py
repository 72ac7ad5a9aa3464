"""Releases the checkout as a version: changelog, version, wheel, commit and tag. Pushes nothing."""

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
VERSION = Path("bot/__init__.py")
FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
HEADING = "## [Unreleased]\n"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()  # noqa: S603 - ours


def number(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split("."))


def unreleased(changelog: str) -> str:
    """What stands under [Unreleased]; empty where nothing does."""
    return changelog.partition(HEADING)[2].partition("\n## [")[0].strip()


def release(version: str, today: date) -> None:
    """Exits with one sentence, and nothing changed, when this checkout cannot become *version*."""
    if not FORM.fullmatch(version):
        sys.exit(f"A version is three numbers, such as 1.2.3, not {version!r}.")
    if run("git", "status", "--porcelain"):
        sys.exit("There are changes that are not committed: commit or remove them first.")
    if (branch := run("git", "branch", "--show-current")) != "main":
        sys.exit(f"Releases are made on main, and this is {branch or 'no branch'}.")
    code, changelog = VERSION.read_text(encoding="utf-8"), CHANGELOG.read_text(encoding="utf-8")
    current = code.split('"')[1]
    tags = run("git", "tag", "--list", "v*").split()
    if number(version) < number(current) or (version == current and f"v{version}" in tags):
        sys.exit(f"{version} is not newer than {current}.")
    if f"v{version}" in tags:
        sys.exit(f"There is a tag v{version} already.")
    if not (news := unreleased(changelog)):
        sys.exit("CHANGELOG.md has nothing under [Unreleased].")

    CHANGELOG.write_text(changelog.replace(HEADING, f"{HEADING}\n## [{version}] - {today}\n", 1), encoding="utf-8")
    VERSION.write_text(code.replace(f'"{current}"', f'"{version}"', 1), encoding="utf-8")
    try:
        run(sys.executable, "-m", "hatchling", "build", "--clean", "-t", "wheel")
        run("git", "commit", "--quiet", "--all", "--message", f"Release {version}")
    except (subprocess.CalledProcessError, KeyboardInterrupt):
        run("git", "reset", "--quiet", "--hard")  # the checkout was clean
        sys.exit(f"Darkroom {version} was not released: the lines above say why.")
    # Headings begin with what git takes for a comment, hence the cleanup.
    run("git", "tag", "--annotate", f"v{version}", "--cleanup=whitespace", "--message", f"Darkroom {version}\n\n{news}")
    print(f"dist/ has the wheel. Publish with: git push origin main v{version}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Which version? make release VERSION=1.2.3")
    release(sys.argv[1], datetime.now(UTC).date())

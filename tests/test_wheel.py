"""The wheel that `make wheel` builds is complete, and runs in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot import __version__

ROOT = Path(__file__).parents[1]


def ran(*arguments: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own program
        arguments,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, without the libraries, which are those of the tests."""
    built, folder = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("installed")
    ran(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built), folder=ROOT)
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps")
    ran(*pip, "--target", str(folder), str(wheel), folder=built)
    return folder


def test_everything_in_the_package_but_bytecode_is_in_the_wheel(installed: Path) -> None:
    def files(package: Path) -> set[Path]:
        return {
            each.relative_to(package)
            for each in package.rglob("*")
            if each.is_file() and "__pycache__" not in each.parts
        }

    assert files(installed / "bot") == files(ROOT / "bot")
    assert {Path("py.typed"), Path("config/darkroom.toml"), Path("config/locales/en.toml")} <= files(installed / "bot")


def test_the_installed_command_prints_its_version_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    printed = ran(str(installed / "bin" / "darkroom"), "--version", folder=tmp_path, PYTHONPATH=str(installed))

    assert printed == f"darkroom {__version__}\n"


@pytest.mark.prove
def test_the_demo_plays_from_the_installed_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    command = (str(installed / "bin" / "darkroom"), "demo", "--once", "--port", "0", "--seconds", "0")

    printed = ran(*command, folder=tmp_path, PYTHONPATH=str(installed))

    assert "All were delivered." in printed
    assert [each.name for each in tmp_path.iterdir()] == ["demo-pictures"]

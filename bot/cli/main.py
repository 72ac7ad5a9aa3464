"""The command line: `darkroom run | demo | sandbox | doctor | sync | migrate | jobs | quota | ledger`."""

import argparse
import asyncio
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bot import __version__, app
from bot.cli import doctor, jobs, ledger, quota
from bot.cli.arguments import Parser
from bot.cli.output import CannotRun, NotDone
from bot.observability.logging import Redactor, printable, setup
from bot.settings.settings import Settings
from bot.settings.sources import BadSettings
from bot.store.connect import open_database
from bot.store.database import DATABASE_ERRORS, StoreBusy, StoreTooNew, StoreUnusable
from bot.ui.transport.gateway import DiscordUnreachable, FatalGatewayError

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 it failed, 2 it cannot start as configured."""
    for each in (sys.stdout, sys.stderr):
        if isinstance(each, io.TextIOWrapper):  # whatever the terminal has no letters for
            each.reconfigure(errors="backslashreplace")
    try:
        chosen = _parser().parse_args(arguments)
        code = int(chosen.run(chosen))
        print(end="", flush=True)  # an error of writing is met here, and not when the interpreter ends
    except BrokenPipeError:  # whoever read our words has seen enough, as `head` does
        _let_go_of_the_rest()
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as exc:  # noqa: BLE001 - around the whole program: nobody is left who could tell of it
        sentence, code = _ending(exc)
        told = " ".join(sentence.split())
        if not isinstance(exc, BadSettings):  # which quotes no values, but forms that work, such as user:password@host
            told = Redactor(_secrets()).clean(told)
        print(f"darkroom: {printable(told)}", file=sys.stderr)
        try:
            print(end="", flush=True)
        except OSError:  # a full disk, which has been told
            _let_go_of_the_rest()
    return code


def _let_go_of_the_rest() -> None:
    """What could not be printed is not an error once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ending(exc: Exception) -> tuple[str, int]:
    """What to tell of *exc*, and the exit code; a defect of ours leaves its traceback in the log."""
    match exc:
        case BadSettings() | CannotRun() | FatalGatewayError() | StoreBusy() | StoreTooNew() | StoreUnusable():
            return str(exc), 2
        case NotDone() | DiscordUnreachable():
            return str(exc), 1
        case PermissionError():
            return f"{exc.filename or 'a file'} cannot be opened: give it to the user that runs Darkroom", 2
        case _ if isinstance(exc, DATABASE_ERRORS):
            why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            return f"the disk, the database or the network failed ({why}): try again when it works", 1
    setup("ERROR", secrets=_secrets())
    log.error("Darkroom ended by a defect of its own", exc_info=exc, extra={"event": "defect"})
    return f"this is a defect ({type(exc).__name__}): please report the lines above", 1


def _secrets() -> Sequence[str]:
    try:
        return Settings.load().secrets()
    except BadSettings:
        return ()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="darkroom", description="A Discord bot that makes and edits pictures.")
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="run the bot")
    run.set_defaults(run=_run)

    demo = commands.add_parser("demo", help="run the real bot against a local Discord and a local image service")
    demo.add_argument("--port", type=int, default=8765, help="port of the page (default 8765; 0 takes any)")
    demo.add_argument("--seconds", type=float, default=6.0, help="how long a picture takes (default 6)")
    demo.add_argument("--once", action="store_true", help="stop after one /imagine and one /edit")
    demo.add_argument("--data", type=Path, default=Path("demo-pictures"), help="where pictures and database go")
    demo.set_defaults(run=_demo)

    sandbox = commands.add_parser("sandbox", help="run the local image service alone")
    sandbox.add_argument("--port", type=int, default=8766)
    sandbox.add_argument("--token", help="the only token it accepts (default: any)")
    sandbox.add_argument("--faults", type=Path, help="a JSON or TOML file of faults, read again when it changes")
    sandbox.set_defaults(run=_sandbox)

    check = commands.add_parser("doctor", help="check everything the bot needs, one line each")
    check.set_defaults(run=_doctor)

    sync = commands.add_parser("sync", help="send the commands to Discord, changed or not")
    sync.set_defaults(run=_sync)

    migrate = commands.add_parser("migrate", help="bring the database up to date and stop")
    migrate.set_defaults(run=_migrate)

    jobs.add_to(commands)
    quota.add_to(commands)
    ledger.add_to(commands)
    return parser


def _settings(*, secrets: bool, level: str | None = None) -> Settings:
    settings = Settings.load()
    if secrets:
        settings.require_secrets()
    setup(level or settings.log.level, secrets=settings.secrets())
    return settings


def _run(_: argparse.Namespace) -> int:
    asyncio.run(app.run(_settings(secrets=True)))
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    try:
        from bot.sandbox import demo  # noqa: PLC0415 - its local Discord is left out of requirements.lock
    except ModuleNotFoundError as exc:
        raise BadSettings(
            f"the demo needs the package {exc.name}: install it, or run `make demo` in a checkout"
        ) from exc

    once = chosen.once or not sys.stdin.isatty()
    return asyncio.run(demo.play(folder=chosen.data, port=chosen.port, once=once, seconds=chosen.seconds))


def _sandbox(chosen: argparse.Namespace) -> int:
    from bot.sandbox.service import serve  # noqa: PLC0415 - as above: only this command needs it

    asyncio.run(serve(chosen.port, faults_file=chosen.faults, token=chosen.token))
    return 0


def _doctor(_: argparse.Namespace) -> int:
    return asyncio.run(doctor.examine(_settings(secrets=False, level="ERROR")))


def _sync(_: argparse.Namespace) -> int:
    asyncio.run(app.sync_commands(_settings(secrets=True)))
    print("The commands are with Discord.")
    return 0


def _migrate(_: argparse.Namespace) -> int:
    settings = Settings.load()

    async def migrate() -> None:
        database = await open_database(settings.database.url.get_secret_value())
        await database.aclose()

    asyncio.run(migrate())
    print(f"{settings.database.shown} is up to date.")
    return 0

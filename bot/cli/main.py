"""The command line: `darkroom run | demo | sandbox | doctor | sync | migrate | processes | jobs | quota | ledger`."""

import argparse
import asyncio
import gc
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bot import __version__, app
from bot.cli import doctor, jobs, ledger, processes, quota
from bot.cli.arguments import Parser
from bot.cli.output import CannotRun, NotDone
from bot.observability.logging import Redactor, printable, setup
from bot.settings.settings import Settings
from bot.settings.sources import BadSettings
from bot.store.connect import open_database
from bot.store.database import DATABASE_ERRORS, StoreBusy, StoreTooNew, StoreUnusable
from bot.ui.transport.gateway import DiscordUnreachable, FatalGatewayError

log = logging.getLogger(__name__)

COLLECT_AFTER = 10_000  # new objects, until garbage is collected; Python has 700


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 success, 1 failure, 2 wrong usage or configuration."""
    for each in (sys.stdout, sys.stderr):
        if isinstance(each, io.TextIOWrapper):  # for characters that the terminal's encoding lacks
            each.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        code = int(options.run(options))
        print(end="", flush=True)  # raises write errors here and not at interpreter exit
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _discard_output()
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as exc:  # noqa: BLE001 - top level: every error is reported here
        sentence, code = _describe_error(exc)
        message = " ".join(sentence.split())
        if not isinstance(exc, BadSettings):  # quotes no values, but examples such as user:password@host
            message = Redactor(_secrets()).clean(message)
        print(f"darkroom: {printable(message)}", file=sys.stderr)
        try:
            print(end="", flush=True)
        except OSError:  # a full disk, which has been reported
            _discard_output()
    return code


def _discard_output() -> None:
    """Redirect standard output to /dev/null, so that flushing it at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe_error(exc: Exception) -> tuple[str, int]:
    """Return a message about *exc* and the exit code. The traceback of a defect is logged."""
    match exc:
        case BadSettings() | CannotRun() | FatalGatewayError() | StoreBusy() | StoreTooNew() | StoreUnusable():
            return str(exc), 2
        case NotDone() | DiscordUnreachable():
            return str(exc), 1
        case PermissionError():
            return f"{exc.filename or 'a file'} cannot be opened: make its owner the user that runs Darkroom", 2
        case _ if isinstance(exc, DATABASE_ERRORS):
            why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            return f"the disk, the database or the network failed ({why}): try again later", 1
    setup("ERROR", secrets=_secrets())
    log.error("Darkroom ended because of a defect", exc_info=exc, extra={"event": "defect"})
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
    run.add_argument("--role", metavar="ROLES", help="what this process does: any of gateway,worker,web,keeper")
    run.set_defaults(run=_run)

    demo = commands.add_parser("demo", help="run the real bot against a local Discord and a local image service")
    demo.add_argument("--port", type=int, default=8765, help="port of the page (default 8765; 0: any free port)")
    demo.add_argument("--seconds", type=float, default=6.0, help="how long a picture takes (default 6)")
    demo.add_argument("--once", action="store_true", help="stop after the first pictures")
    demo.add_argument("--data", type=Path, default=Path("demo-pictures"), help="folder for pictures and database")
    demo.set_defaults(run=_demo)

    sandbox = commands.add_parser("sandbox", help="run the local image service alone")
    sandbox.add_argument("--port", type=int, default=8766)
    sandbox.add_argument("--token", help="the only token it accepts (default: any)")
    sandbox.add_argument("--faults", type=Path, help="a JSON or TOML file of faults, read again when it changes")
    sandbox.set_defaults(run=_sandbox)

    check = commands.add_parser("doctor", help="check everything the bot needs, one line each")
    check.set_defaults(run=_doctor)

    sync = commands.add_parser("sync", help="register the commands with Discord, even if unchanged")
    sync.set_defaults(run=_sync)

    migrate = commands.add_parser("migrate", help="update the database schema and exit")
    migrate.set_defaults(run=_migrate)

    processes.add_to(commands)
    jobs.add_to(commands)
    quota.add_to(commands)
    ledger.add_to(commands)
    return parser


def _settings(*, secrets: bool, level: str | None = None, roles: str | None = None) -> Settings:
    environment = dict(os.environ)
    if roles is not None:
        environment["DARKROOM_PROCESS__ROLES"] = json.dumps([each.strip() for each in roles.split(",")])
    settings = Settings.load(environment)
    if secrets:
        settings.require_secrets()
    setup(level or settings.log.level, secrets=settings.secrets())
    return settings


def _run(options: argparse.Namespace) -> int:
    _collect_garbage_less()
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(app.run(_settings(secrets=True, roles=options.role)))
    return 0


def _collect_garbage_less() -> None:
    """Spare the event loop pauses: in a burst of commands, collections took a sixth of the time, 60 ms at once."""
    gc.freeze()  # what was imported stays for as long as the process: no collection goes through it
    gc.set_threshold(COLLECT_AFTER)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of the extra `speed`, where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _demo(options: argparse.Namespace) -> int:
    try:
        from bot.sandbox import demo  # noqa: PLC0415 - its local Discord is left out of requirements.lock
    except ModuleNotFoundError as exc:
        raise BadSettings(
            f"the demo needs the package {exc.name}: install it, or run `make demo` in a checkout"
        ) from exc

    return asyncio.run(demo.play(folder=options.data, port=options.port, once=options.once, seconds=options.seconds))


def _sandbox(options: argparse.Namespace) -> int:
    from bot.sandbox.service import serve  # noqa: PLC0415 - as above: only this command needs it

    asyncio.run(serve(options.port, faults_file=options.faults, token=options.token))
    return 0


def _doctor(_: argparse.Namespace) -> int:
    return asyncio.run(doctor.examine(_settings(secrets=False, level="ERROR")))


def _sync(_: argparse.Namespace) -> int:
    asyncio.run(app.sync_commands(_settings(secrets=True)))
    print("The commands are registered with Discord.")
    return 0


def _migrate(_: argparse.Namespace) -> int:
    settings = Settings.load()

    async def migrate() -> None:
        database = await open_database(settings.database.direct)
        await database.aclose()

    asyncio.run(migrate())
    print(f"{settings.database.shown} is up to date.")
    return 0

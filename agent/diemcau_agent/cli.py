"""``diemcau-agent``: run the agent, or ask the one that runs here.

Exit codes: 0 ready, passed or done; 1 not; 2 wrong usage; 3 no agent is running here.

Each command imports what it needs when it runs: ``run`` is the daemon, and carries neither rich
nor the schemas in its memory. People at a terminal get colour and a live screen, pipes get plain text.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .arguments import add_output, number
from .audit.arguments import add_parser as add_audit
from .exits import NOT, OK, USAGE
from .line.arguments import add_parser as add_probe

if TYPE_CHECKING:
    from .config import Settings

RUNTIME_DIR = "/run/diemcau"
RUNTIME_DIR_VARIABLE = "DIEMCAU_RUNTIME_DIR"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except BrokenPipeError:  # `| head` has seen enough; Python must not write to it again when it leaves
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="diemcau-agent",
        description="Watches, tests and reports one conference room.",
        epilog="Exit codes: 0 ready, passed or done; 1 not; 2 wrong usage; 3 no agent is running here.",
    )
    whole.add_argument("--version", action="version", version=f"diemcau-agent {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run the agent in the foreground")
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings, TOML")

    status = commands.add_parser("status", help="how the room is now")
    selftest = commands.add_parser("selftest", help="run a self-test and show its report")
    selftest.add_argument("--scope", choices=("quick", "full"), default="full", help="default: full")
    press = commands.add_parser("press", help="as if the room's button were pressed")
    press.add_argument(
        "--hold",
        type=number(float, 0, 60, "seconds"),
        default=0.0,
        metavar="SECONDS",
        help="hold it down (cancels, or calls for help)",
    )
    watch = commands.add_parser("watch", help="a live screen of the room")
    line = commands.add_parser("line", help="the line to the centre: now, its path, the last 24 hours")
    baseline = commands.add_parser("baseline", help="record how the room is today as what is good")
    for command in (status, selftest, press, watch, line, baseline):
        add_output(command, "the settings', then LANG's")
        where = command.add_mutually_exclusive_group()
        where.add_argument(
            "--runtime-dir",
            type=Path,
            metavar="DIR",
            help=f"where the agent's socket is; default: ${RUNTIME_DIR_VARIABLE}, then {RUNTIME_DIR}",
        )
        where.add_argument("--config", type=Path, metavar="FILE", help="the settings of the agent to ask")

    add_probe(commands)
    add_audit(commands)
    reboot = commands.add_parser(
        "reboot-helper", help="restart the machine for whom it may (by systemd only)"
    )
    reboot.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings, root's own")
    reboot.add_argument("--user", default="diemcau", metavar="NAME", help="the agent's; default: diemcau")

    updater = commands.add_parser("update-helper", help="install what is signed (by systemd only)")
    updater.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the settings, root's own"
    )
    updater.add_argument("--user", default="diemcau", metavar="NAME", help="the agent's; default: diemcau")
    updater.add_argument(
        "--finish", action="store_true", help="an update that the power has cut short, and leave"
    )

    enrol = commands.add_parser("enrol", help="get or renew this kit's certificate (EST, RFC 7030)")
    enrol.add_argument("--renew", action="store_true", help="now; default: at two thirds of its life")
    set_clock = commands.add_parser(
        "set-clock", help="set a clock that nothing keeps forward to where this kit's certificate begins"
    )
    for command in (enrol, set_clock):
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings, TOML")
        add_output(command, "the settings'")

    check = commands.add_parser("check-config", help="check a settings file, telling every error")
    check.add_argument("file", type=Path, metavar="FILE")
    schema = commands.add_parser(
        "schema", help="print the JSON Schemas and the AsyncAPI description of the wire"
    )
    schema.add_argument("--out", type=Path, metavar="DIR", help="write them there, one file each")
    return whole


def _load(path: Path) -> Settings | None:
    """None, and every error told on stderr, where the file is not good."""
    from .config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        for line in error.errors:
            print(line, file=sys.stderr)
        return None


def _run(arguments: argparse.Namespace) -> int:
    settings = _load(arguments.config)
    if settings is None:
        return USAGE  # whoever supervises need not try again
    from . import app

    return app.main(settings)


def _enrol(arguments: argparse.Namespace) -> int:
    settings = _load(arguments.config)
    if settings is None:
        return USAGE
    from .enrolment import command

    language = arguments.language or settings.language
    if arguments.command == "set-clock":
        return command.set_clock(settings, as_json=arguments.json, language=language)
    return command.enrol(settings, renew=arguments.renew, as_json=arguments.json, language=language)


def _check_config(arguments: argparse.Namespace) -> int:
    settings = _load(arguments.file)
    if settings is None:
        return NOT
    print(f"{arguments.file}: ok, point {settings.point}")
    return OK


def _reboot_helper(arguments: argparse.Namespace) -> int:
    from .reboot import serve

    folders = {name: os.environ.get(name) for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY")}
    state, runtime = folders.values()
    if not state or not runtime:
        print(f"got {folders}, expected both: see diemcau-reboot.service", file=sys.stderr)
        return USAGE
    return serve.main(arguments.config, Path(state), Path(runtime), arguments.user)


def _update_helper(arguments: argparse.Namespace) -> int:
    from .update import serve

    state = os.environ.get("STATE_DIRECTORY")
    if not state:
        print("got no STATE_DIRECTORY, expected one: see diemcau-update.service", file=sys.stderr)
        return USAGE
    control = socket_path(None, os.environ)
    if arguments.finish:
        return serve.after_a_cut(Path(state), control)
    return serve.main(arguments.config, Path(state), control, arguments.user)


def _schema(arguments: argparse.Namespace) -> int:
    from . import schema

    if arguments.out is None:
        print(schema.as_text())
    else:
        try:
            written = schema.write(arguments.out)
        except OSError as error:
            print(f"{arguments.out}: cannot be written: {error.strerror or error}", file=sys.stderr)
            return NOT
        for path in written:
            print(path)
    return OK


def _probe(arguments: argparse.Namespace) -> int:
    from .line import probe

    host, port = arguments.target
    wanted = probe.Wanted(
        host=host,
        port=port,
        count=arguments.count,
        interval_ms=arguments.interval_ms,
        size_bytes=arguments.size,
        dscp=arguments.dscp,
    )
    language = arguments.language or system_language(os.environ)
    return probe.probe(wanted, as_json=arguments.json, language=language)


def _audit(arguments: argparse.Namespace) -> int:
    from .audit import page

    place = _place(arguments, "state_dir")
    return USAGE if place is None else page.run(arguments, *place)


def _ask(arguments: argparse.Namespace) -> int:
    """The commands that go to the running agent."""
    from .asking import Asking

    place = _place(arguments, "runtime_dir")
    if place is None:
        return USAGE
    directory, language = place
    asking = Asking(
        socket=socket_path(directory, os.environ),
        language=language,
        as_json=arguments.json,
        attended=sys.stdout.isatty(),
    )
    match arguments.command:
        case "selftest":
            return asking.selftest(arguments.scope)
        case "press":
            return asking.press(arguments.hold)
        case "watch":
            return asking.watch()
        case "baseline":
            return asking.baseline()
        case "line":
            return asking.line()
        case _:
            return asking.status()


def _place(arguments: argparse.Namespace, directory: str) -> tuple[Any, str] | None:
    """``directory`` and the language: as they were given, else of the settings' file; None where that is not
    good."""
    place, language = getattr(arguments, directory), arguments.language
    if arguments.config is not None:
        settings = _load(arguments.config)
        if settings is None:
            return None
        place, language = Path(getattr(settings, directory)), language or settings.language
    return place, language or system_language(os.environ)


def socket_path(directory: Path | None, environment: Mapping[str, str]) -> Path:
    """The control socket: in ``directory``, else where the environment says, else of the installed agent."""
    return (directory or Path(environment.get(RUNTIME_DIR_VARIABLE) or RUNTIME_DIR)) / "control.sock"


def system_language(environment: Mapping[str, str]) -> str:
    """ "vi" or "en", by the first of LC_ALL, LC_MESSAGES and LANG that is set (locale(7))."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return "vi" if environment[name].lower().startswith("vi") else "en"
    return "en"


_COMMANDS = {
    "run": _run,
    "status": _ask,
    "selftest": _ask,
    "press": _ask,
    "watch": _ask,
    "baseline": _ask,
    "line": _ask,
    "probe": _probe,
    "audit": _audit,
    "enrol": _enrol,
    "set-clock": _enrol,
    "check-config": _check_config,
    "schema": _schema,
    "reboot-helper": _reboot_helper,
    "update-helper": _update_helper,
}

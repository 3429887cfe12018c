"""``diemcau-sim``: run a room, and act on it while it runs.

Exit codes: 0 done, 1 the room or the request failed, 2 usage (no such code, no or several rooms).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from diemcau_drivers.contract import BadRequest, DeviceError

from .client import WorldClient
from .faults import FAULTS
from .rooms import SOCKET_NAME, answers, rooms_directory, running
from .world import HOLDABLE

DONE, FAILED, USAGE = 0, 1, 2
FOLLOW_S = 0.2


class UsageError(Exception):
    """One line for people; exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        code = options.act(options)
        sys.stdout.flush()
        return code
    except (UsageError, BadRequest) as error:
        print(f"diemcau-sim: {error}", file=sys.stderr)
        return USAGE
    except DeviceError as error:
        print(f"diemcau-sim: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # whoever read the list has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diemcau-sim", description="A simulated conference room.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    room = commands.add_parser("room", help="run a room and the agent in it, in the foreground")
    room.add_argument("--point", required=True, metavar="ID")
    room.add_argument(
        "--broker",
        required=True,
        metavar="URL",
        help="such as mqtt://127.0.0.1:1883; with mqtts its certificate names 127.0.0.1 too, where the "
        "room's line is",
    )
    room.add_argument(
        "--config", type=Path, metavar="FILE", help="settings of the agent, over the room's own"
    )
    room.add_argument("--scene", type=Path, metavar="FILE|DIR", help="what the camera looks at")
    room.add_argument("--ambient", type=Path, metavar="FILE.wav", help="what the room sounds like")
    room.add_argument("--sound", choices=("world", "pipewire"), default="world")
    room.add_argument("--verbose", action="store_true", help="show the agent's log on stderr")
    room.set_defaults(act=_room)

    fault = commands.add_parser("fault", help="break or mend something; alone: what there is and what is on")
    fault.add_argument("code", nargs="?", metavar="CODE")
    fault.add_argument("switch", nargs="?", choices=("on", "off"), default="on")
    fault.set_defaults(act=_fault)

    press = commands.add_parser("press", help="press the button")
    press.add_argument("--hold", type=float, default=0.2, metavar="S", help="how long (0.2)")
    press.set_defaults(act=_press)

    hold = commands.add_parser("hold", help="another program takes a device, or gives it back")
    hold.add_argument("device", choices=HOLDABLE)
    hold.add_argument("switch", choices=("on", "off"))
    hold.add_argument("--by", default="codec", metavar="NAME", help="the program's name (codec)")
    hold.set_defaults(act=_hold)

    reboot = commands.add_parser("reboot", help="start the simulated Pi again")
    reboot.set_defaults(act=_reboot)

    demo = commands.add_parser("demo", help="a broker, a room and the agent in it, on one live screen")
    demo.add_argument("--once", action="store_true", help="no screen: one self-test and its report")
    demo.add_argument("--picture", type=Path, metavar="FILE.svg", help="no screen: draw it into a file")
    demo.add_argument(
        "--sound", choices=("pipewire", "world"), help="default: pipewire where it is installed"
    )
    demo.add_argument("--language", choices=("vi", "en"), help="default: LANG's")
    demo.set_defaults(act=_demo)

    for command in (room, fault, press, hold, reboot):
        command.add_argument("--room", type=Path, metavar="DIR", help="the room's directory")
    return parser


def _room(options: argparse.Namespace) -> int:
    from .room import Room, RoomError

    directory = options.room or rooms_directory() / options.point
    stop = threading.Event()

    def ended(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ended)
    try:
        room = Room(
            options.point,
            options.broker,
            directory,
            sound=options.sound,
            scene=options.scene,
            ambient=options.ambient,
            extra_config=_config(options.config),
        )
        with room:
            print(f"room {options.point} in {directory}; Ctrl-C ends it", flush=True)
            print(f"  diemcau-sim fault camera_absent on --room {directory}", flush=True)
            with room.log_path.open(encoding="utf-8", errors="replace") as log:
                while not stop.wait(FOLLOW_S) and not room.wait(0):
                    if options.verbose:
                        _show(log)
                if options.verbose or room.refused:
                    _show(log)
    except RoomError as error:
        raise UsageError(str(error)) from error
    if room.refused:
        print("diemcau-sim: the agent refused its settings", file=sys.stderr)
        return FAILED
    return DONE


def _demo(options: argparse.Namespace) -> int:
    from .demo import run

    return run(options)


def _show(log: TextIO) -> None:
    sys.stderr.write(log.read())
    sys.stderr.flush()


def _config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error


def _fault(options: argparse.Namespace) -> int:
    if options.code is None:
        return _catalogue(options)
    if options.code not in FAULTS:
        raise UsageError(f"no fault {options.code!r}; `diemcau-sim fault` lists them")
    faults = _ask(options, "fault", code=options.code, on=options.switch == "on")["faults"]
    print(f"on: {', '.join(faults) or 'nothing'}")
    return DONE


def _catalogue(options: argparse.Namespace) -> int:
    """Also without a room: then nothing is on."""
    broken: list[str] = []
    if options.room is not None or running():
        broken = _ask(options, "state")["faults"]
    device = ""
    for fault in FAULTS.values():
        if fault.device != device:
            device = fault.device
            print(f"{device}:")
        print(f"  {'ON ' if fault.name in broken else '   '} {fault.name:<20} {fault.effect}")
    return DONE


def _press(options: argparse.Namespace) -> int:
    _ask(options, "press", hold_s=options.hold)
    return DONE


def _hold(options: argparse.Namespace) -> int:
    _ask(options, "hold", device=options.device, by=options.by if options.switch == "on" else None)
    return DONE


def _reboot(options: argparse.Namespace) -> int:
    _ask(options, "reboot")
    return DONE


def _ask(options: argparse.Namespace, do: str, **args: Any) -> dict[str, Any]:
    client = WorldClient(_directory(options) / SOCKET_NAME)
    try:
        return client.ask(do, **args)
    finally:
        client.close()


def _directory(options: argparse.Namespace) -> Path:
    """The running room's. Raises UsageError where none or several run."""
    if options.room is not None:
        if not answers(options.room):
            raise UsageError(f"no room runs in {options.room}")
        return options.room
    found = running()
    if not found:
        raise UsageError("no room runs; start one with `diemcau-sim room`, or name its directory with --room")
    if len(found) > 1:
        names = ", ".join(str(directory) for directory in found)
        raise UsageError(f"several rooms run, name one with --room: {names}")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())

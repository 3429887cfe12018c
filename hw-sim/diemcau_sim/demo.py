"""``diemcau-sim demo``: a private broker, a simulated room, the real agent in it, and one live screen.

What is pressed and broken here is pressed and broken in the simulated world; what is restarted is ordered
over MQTT as a centre would; what is shown is what the agent tells on its control socket.
Exit codes: 0 ready (``--once``) or left, 1 not ready or the room could not be, 2 usage.
"""

from __future__ import annotations

import argparse
import ctypes.util
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from diemcau_agent import marks, wording
from diemcau_agent.cli import system_language
from diemcau_agent.codes import CODES
from diemcau_agent.control_client import ControlClient, ControlError, NoAgent
from diemcau_agent.live import Key, LiveScreen
from diemcau_agent.plain import report_lines
from diemcau_agent.screen import Hint, render
from diemcau_agent.wording import Say

from . import soundserver
from .centre import Centre, CentreError
from .faults import FAULTS
from .mosquitto import BrokerError, PrivateMosquitto
from .room import Room, RoomError, Sound
from .rooms import rooms_directory

POINT = "xp-0417"
PLACE = {"name": "Hội trường UBND xã", "place": ["Đồng Nai", "Xã Tân Phú"], "level": "xã"}
ON_KEYS = (
    "camera_hung",
    "frame_covered",
    "microphone_muted",
    "speaker_silent",
    "audio_hung",
    "display_standby",
    "panel_absent",
    "too_hot",
    "cable",
)
"""One telling fault of each part, on the keys 1 to 9."""
PICTURE_FAULT = "frame_covered"
PICTURE_SIZE = (100, 32)
READY_S = 20.0
KNOWN_S = 40.0
SELFTEST_S = 25.0
WIRE_S = 10.0
PRESS_S = 0.2
HOLD_S = 3.0
_POLL_S = 0.25
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SOUND_PROGRAMS = ("pipewire", "wireplumber", "pipewire-pulse", "pactl", "parec", "pacat", "dbus-daemon")


class DemoError(Exception):
    """The demo cannot go on. One line, for people."""


def run(options: argparse.Namespace) -> int:
    language = options.language or system_language(os.environ)
    if not (options.once or options.picture or (sys.stdin.isatty() and sys.stdout.isatty())):
        print("diemcau-sim demo: no terminal here; --once needs none", file=sys.stderr)
        return 2
    try:
        with opened(options.sound or _sound(), language) as demo:
            if options.once:
                return 0 if demo.once() else 1
            if options.picture:
                demo.picture(options.picture)
            else:
                demo.live()
    except KeyboardInterrupt:
        return 1 if options.once or options.picture else 0
    except (
        BrokerError,
        RoomError,
        soundserver.SoundServerFailed,
        DemoError,
        CentreError,
        ControlError,
    ) as error:
        print(f"diemcau-sim demo: {error}", file=sys.stderr)
        return 1
    return 0


def _sound() -> Sound:
    """PipeWire with real PortAudio where it is installed, else the world's own samples, said so."""
    missing = [name for name in _SOUND_PROGRAMS if shutil.which(name, path=soundserver.SEARCH_PATH) is None]
    if ctypes.util.find_library("portaudio") is None:
        missing.append("libportaudio2")
    if missing:
        print(f"sound: the room's own samples, as PipeWire is not whole here ({', '.join(missing)} missing)")
        return "world"
    return "pipewire"


@contextmanager
def opened(sound: Sound, language: str) -> Generator[Demo]:
    """Broker and room, up and ready; afterwards nothing of them is left, however it ends."""
    directory = rooms_directory() / f"demo-{os.getpid()}"
    with ExitStack() as stack:
        for number in _ENDING:
            stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, signal.default_int_handler)
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        broker = PrivateMosquitto()
        stack.callback(broker.close)
        broker.start()
        room = Room(POINT, broker.url, directory, sound=sound, extra_config={**PLACE, "language": language})
        stack.callback(room.stop)
        for number in _ENDING:  # taking down ends in time by itself: nothing must cut it short
            stack.callback(signal.signal, number, signal.SIG_IGN)
        print(f"broker {broker.url}, room {directory}, sound: {sound}", flush=True)
        room.start()
        if not room.wait_ready(READY_S):
            last = room.log_path.read_text("utf-8", "replace").strip().split("\n")[-5:]
            raise DemoError("the agent is not ready in time; its last words:\n" + "\n".join(last))
        yield Demo(room, broker.url, language)


class Demo:
    """What can be done in a running room."""

    def __init__(self, room: Room, broker_url: str, language: str) -> None:
        self.room = room
        self._url = broker_url
        self._language = language
        self._socket = room.runtime_dir / "control.sock"
        self._tell: Callable[[str], None] = print

    def once(self) -> bool:
        """One self-test and its report in plain text; whether it passed and the room is ready."""
        say = wording.speaking(self._language)
        self._await("known", KNOWN_S, _known)
        report = self._selftest()
        for text, _ in report_lines(report, self._language):
            print(wording.printable(text))
        health = self._wire_health()
        mark = marks.READINESS[health["readiness"]]
        reasons = "".join(f" {code}" for code in health["reasons"])
        print(f"{say('On the wire')}: {mark.symbol} {say(mark.word)} ({health['readiness']}{reasons})")
        return report["result"] == "passed" and health["readiness"] == "ready"

    def picture(self, file: Path) -> None:
        """A passed self-test, then one thing broken, drawn as the live screen shows it."""
        self._await("known", KNOWN_S, _known)
        self._selftest()
        self.room.world.set_fault(PICTURE_FAULT, True)
        self._await(PICTURE_FAULT, KNOWN_S, lambda status: PICTURE_FAULT in wording.reasons(status))
        width, height = PICTURE_SIZE
        console = Console(
            width=width, record=True, file=StringIO(), force_terminal=True, color_system="truecolor"
        )
        hints = LiveScreen(self._socket, self._language, self.keys).hints()
        console.print(render(self._status(), width, self._language, hints, height=height))
        console.print()  # rich cuts the feet off the last line
        file.write_text(without_links(console.export_svg(title="make demo")), encoding="utf-8")
        print(file)

    def live(self) -> None:
        """The screen, until someone leaves it."""
        screen = LiveScreen(self._socket, self._language, self.keys)
        self._tell = screen.tell
        screen.run()

    def keys(self, say: Say) -> Sequence[Key | Hint]:
        on = self.room.world.faults
        program = _program()
        return [
            Key(Hint("t/enter", say("press the button")), lambda: self._press(PRESS_S, say)),
            Key(Hint("h", say("hold it")), lambda: self._press(HOLD_S, say)),
            Key(
                Hint("r", say("restart the camera")),
                lambda: self._restart("camera", say("restart the camera"), say),
            ),
            Key(
                Hint("a", say("restart the agent")),
                lambda: self._restart("agent", say("restart the agent"), say),
            ),
            *(
                Key(Hint(str(number), code, on=code in on), lambda code=code: self._toggle(code, say))
                for number, code in enumerate(ON_KEYS, 1)
            ),
            Hint(
                "", say("in a second terminal: {command}").format(command=f"{program} fault camera_hung on")
            ),
            Hint(
                "", say("broker {url}, room {directory}").format(url=self._url, directory=self.room.directory)
            ),
        ]

    def _press(self, hold_s: float, say: Say) -> str:
        self.room.world.press(hold_s)
        if any(FAULTS[code].device == "panel" for code in self.room.world.faults):
            return say("The panel is broken: nobody feels the button.")
        return say("The button was held.") if hold_s >= HOLD_S else say("The button was pressed.")

    def _toggle(self, code: str, say: Say) -> str:
        on = code not in self.room.world.faults
        self.room.world.set_fault(code, on)
        if on and CODES[code].bound == "selftest":
            return f"{code}: " + say("only a self-test finds this: press the button")
        return f"{code}: " + (say("broken") if on else say("mended"))

    def _restart(self, target: str, title: str, say: Say) -> str:
        """Over MQTT, as a centre does it; the answer comes later as a line of news."""

        def order() -> None:
            try:
                with Centre(self._url) as centre:
                    answer = centre.command(POINT, "restart", {"target": target})
            except CentreError as error:
                self._tell(f"{title}: {error}")
                return
            proof: dict[str, Any] = answer.get("result") or {}
            told = ", ".join(f"{name} {value}" for name, value in proof.items() if value is not None)
            more = answer.get("detail") or told
            self._tell(f"{title}: {wording.value(answer['state'], say)}  {more}")

        threading.Thread(target=order, name=f"restart {target}", daemon=True).start()
        return f"{title}: …"

    def _status(self) -> dict[str, Any]:
        with ControlClient(self._socket) as client:
            return client.call("status", timeout_s=WIRE_S)

    def _selftest(self) -> dict[str, Any]:
        with ControlClient(self._socket) as client:
            return client.call("selftest", scope="quick", timeout_s=SELFTEST_S)

    def _wire_health(self) -> dict[str, Any]:
        """The retained health, once it says what the agent itself does."""
        with Centre(self._url) as centre:
            deadline = time.monotonic() + WIRE_S
            while True:
                told = centre.retained(POINT, "health")
                if told["reasons"] == list(wording.reasons(self._status())) or time.monotonic() > deadline:
                    return told
                time.sleep(_POLL_S)

    def _await(self, what: str, timeout_s: float, there: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + timeout_s
        status: dict[str, Any] = {}
        while not there(status):
            if time.monotonic() > deadline:
                told = f"{wording.readiness(status)} {' '.join(wording.reasons(status))}".strip()
                raise DemoError(f"after {timeout_s:.0f} s the room is not {what}, but {told}")
            time.sleep(_POLL_S)
            try:
                status = self._status()
            except NoAgent:
                pass  # not listening yet, or starting again


def _known(status: dict[str, Any]) -> bool:
    """Every part has been looked at, and the broker knows of it."""
    return wording.readiness(status) != "unknown" and wording.connection(status) == marks.ONLINE


def without_links(svg: str) -> str:
    """rich names fonts on other people's servers; a reader's own monospace does as well."""
    return re.sub(r"@font-face\s*\{[^}]*\}|<!--.*?-->", "", svg, flags=re.DOTALL)


def _program() -> str:
    """This program as it is called in a second terminal opened in the same place."""
    called = Path(sys.argv[0])
    if called.name != "diemcau-sim":
        return "diemcau-sim"
    relative = os.path.relpath(called)
    return relative if len(relative) < len(str(called)) else str(called)

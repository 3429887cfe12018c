"""The screen: hot-plug and EDID from the kernel, power and input by HDMI-CEC, words by the framebuffer.

CEC goes through the kernel's CEC framework and ``cec-ctl`` (v4l-utils). Each call is a process with a
deadline, so that a bus that hangs hangs nothing here. Who does not answer is "unknown", never "off":
many screens have CEC switched off in a menu. Raises Unsupported (no CEC, no framebuffer), Busy, Broken.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diemcau_drivers.contract import Broken, Unsupported

from . import connectors, holders
from .brightness import Brightness
from .screen import Screen

CALL_DEADLINE_S = 3.0
"""cec-ctl itself waits 1 s for an answer; claiming an address may take another."""
OSD_NAME = "diemcau"
"""What the screen calls this input; at most 14 characters (HDMI 1.4b, CEC 13.15)."""
POWER = {"on": "on", "to-on": "on", "standby": "standby", "to-standby": "standby"}
"""cec-ctl's words for <Report Power Status>."""
NOT_PLUGGED = "f.f.f.f"

ADDRESS = re.compile(r"^\s*Physical Address\s*:\s*(\S+)", re.MULTILINE)
LOGICAL_MASK = re.compile(r"^\s*Logical Address Mask\s*:\s*0x([0-9a-fA-F]+)", re.MULTILINE)
POWER_STATE = re.compile(r"^\s*pwr-state:\s*(\S+)", re.MULTILINE)
ACTIVE_SOURCE = re.compile(r"ACTIVE_SOURCE \(0x82\):?\s+phys-addr:\s*(\S+)")

Run = Callable[[Sequence[str], float], "str | None"]
"""(command, deadline) -> standard output; None where it could not be run, failed or took too long."""


def run(command: Sequence[str], deadline_s: float) -> str | None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


class CecDisplay:
    def __init__(self, options: Mapping[str, Any], *, root: Path = Path("/"), run: Run = run) -> None:
        self._wanted: str | None = options.get("connector")
        self._cec = str(options.get("cec_device", "/dev/cec0"))
        self._run = run
        self._root = root
        self._sys = root / "sys"
        self._screen = Screen(self._sys, root / "dev")
        self._brightness = Brightness(self._sys, run)

    def identity(self) -> Mapping[str, str]:
        found = connectors.connector(self._wanted, self._sys)
        return {} if found is None else found.identity

    def capabilities(self) -> Sequence[str]:
        cec = ("power", "input") if self._has_cec() else ()
        brightness = ("brightness",) if self._brightness.available else ()
        return (*cec, *brightness, *(("message", "card") if self._screen.available else ()))

    def connected(self) -> bool:
        found = connectors.connector(self._wanted, self._sys)
        return found is not None and found.connected is True

    def size_px(self) -> tuple[int, int] | None:
        found = connectors.connector(self._wanted, self._sys)
        return None if found is None or found.edid is None else found.edid.preferred_px

    def power(self) -> str:
        answer = self._ask("--to", "0", "--give-device-power-status")
        state = POWER_STATE.search(answer or "")
        return "unknown" if state is None else POWER.get(state[1], "unknown")

    def active_input(self) -> bool | None:
        """None as well where we are the active source ourselves and no one else says so: nobody answers."""
        answer = self._ask("--request-active-source")
        active = ACTIVE_SOURCE.search(answer or "")
        return None if active is None else active[1] == self._address()

    def set_power(self, on: bool) -> None:
        self._tell("--to", "0", "--image-view-on" if on else "--standby")

    def set_input(self, name: str) -> None:
        address = self._address() if name == "kit" else name
        if name == "kit":
            self._tell("--to", "0", "--image-view-on")
        self._tell("--active-source", f"phys-addr={address}")

    def brightness_percent(self) -> float | None:
        return self._brightness.percent()

    def set_brightness(self, percent: float) -> None:
        self._brightness.set(percent)

    def show(self, *, message: str | None, card: str | None) -> Mapping[str, Any]:
        holders.refuse_if_drawn(self._root / "dev/dri", self._root / "proc")
        return self._screen.show(message=message, card=card)

    def close(self) -> None:
        """Nothing is held open."""

    def _has_cec(self) -> bool:
        return (self._root / self._cec.lstrip("/")).exists()

    def _address(self) -> str | None:
        """This kit's physical address, having made sure that it has a logical one; None without either."""
        told = self._run(("cec-ctl", "-d", self._cec), CALL_DEADLINE_S)
        mask = LOGICAL_MASK.search(told or "")
        if mask is not None and int(mask[1], 16) == 0:
            claim = ("cec-ctl", "-d", self._cec, "--playback", "--osd-name", OSD_NAME)
            told = self._run(claim, CALL_DEADLINE_S)
        address = ADDRESS.search(told or "")
        return None if address is None or address[1] == NOT_PLUGGED else address[1]

    def _ask(self, *message: str) -> str | None:
        """What cec-ctl prints of sending ``message``; None where nothing could be sent."""
        if not self._has_cec() or self._address() is None:
            return None
        return self._run(("cec-ctl", "-d", self._cec, "--skip-info", *message), CALL_DEADLINE_S)

    def _tell(self, *message: str) -> None:
        if not self._has_cec():
            raise Unsupported(f"no CEC adapter at {self._cec}")
        if self._ask(*message) is None:
            raise Broken("the message could not be sent by CEC: no cec-ctl, no cable, or a bus that hangs")

"""Every backend there is, and what it stands on when the contract suite runs it on this machine.

A row whose ``node`` is set needs a device: it runs where one exists, and where none does the row is named as
not run, at the end of the run's output. The virtual kit (a machine whose kernel plays the room) runs those.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """``ground``: what the backend talks to. ``node``: a pattern below /dev that must exist for it.

    ``kit_only``: it drives wires that on another machine may lead anywhere, so the machine has to say
    that it is a kit (DIEMCAU_KIT=1).
    """

    process: str
    backend: str
    ground: str
    node: str | None = None
    kit_only: bool = False

    @property
    def id(self) -> str:
        return f"{self.backend}-{self.ground.replace(' ', '_')}"

    @property
    def not_run(self) -> str | None:
        """Why this row does not run on this machine; None where it does."""
        if self.node is None:
            return None
        if not any(Path("/dev").glob(self.node)):
            why = f"no /dev/{self.node} on this machine"
        elif self.kit_only and os.environ.get("DIEMCAU_KIT") != "1":
            why = "DIEMCAU_KIT=1 is not set, and it would drive this machine's wires"
        else:
            return None
        return f"{self.process} {self.backend}: {why}; the virtual kit runs it"


ROOM = "simulated room"
DEVICE = "real device"

ROWS = (
    Row("camera", "sim", ROOM),
    Row("camera", "v4l2", "driver below linuxpy"),
    Row("camera", "v4l2", DEVICE, node="v4l/by-id/*"),
    Row("camera", "picamera2", "class with real signatures"),
    Row("camera", "picamera2", DEVICE, node="v4l-subdev*"),
    Row("audio", "sim", ROOM),
    Row("audio", "sounddevice", "PipeWire"),
    Row("audio", "sounddevice", DEVICE, node="snd/pcm*c"),
    Row("audio", "pyaudio", "PipeWire"),
    Row("audio", "pyaudio", DEVICE, node="snd/pcm*c"),
    Row("display", "sim", ROOM),
    Row("display", "cec", "television below cec-ctl"),
    Row("display", "cec", DEVICE, node="cec*"),
    Row("panel", "sim", ROOM),
    Row("panel", "gpio", "mock pins"),
    Row("panel", "gpio", DEVICE, node="gpiochip*", kit_only=True),
    Row("presence", "sim", ROOM),
    Row("presence", "sysfs", "made sysfs"),
    Row("presence", "sysfs", "this machine"),
    Row("host", "sim", ROOM),
)


def rows(process: str) -> list[Row]:
    """Those that run on this machine."""
    return [row for row in ROWS if row.process == process and row.not_run is None]


def arranged(process: str) -> list[Row]:
    """Those whose surroundings a test can change: unplug it, hold it, press it."""
    return [row for row in rows(process) if row.ground not in (DEVICE, "this machine")]

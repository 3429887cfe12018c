"""What the devices of the room answer, under the faults that are on. One method a request.

Two faults are no answers::

    Hang    the device's driver never answers
    Crash   the library takes the process that called it down
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from diemcau_drivers.arguments import Arguments
from diemcau_drivers.contract import DEVICES, PROCESS_OF, TEST_CARDS, Absent, BadRequest, Busy

from .answer import Answer
from .people import people
from .world import HOLDABLE, World

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples

    from .acoustics import Acoustics
    from .scene import Scene

MAX_FRAMES = 300
MAX_SECONDS = 120.0
MAX_ZOOM = 10.0
IDENTITIES: dict[str, dict[str, str]] = {
    "camera": {"vendor": "diemcau", "product": "simulated camera", "serial": "sim-camera-1"},
    "microphone": {"vendor": "diemcau", "product": "simulated microphone", "serial": "sim-microphone-1"},
    "speaker": {"vendor": "diemcau", "product": "simulated speaker", "serial": "sim-speaker-1"},
    "display": {"connector": "HDMI-A-1", "edid_name": "SIM SCREEN"},
    "panel": {"product": "simulated panel"},
}
SCREEN_SIZE_PX = (1920, 1080)


class Hang(Exception):
    """The world does not answer."""


class Crash(Exception):
    """The caller's process is to die."""


class Devices:
    """The devices of ``world``. ``scene`` and ``acoustics`` are made when first needed."""

    def __init__(self, world: World, scene: Callable[[], Scene], acoustics: Callable[[], Acoustics]) -> None:
        self._world = world
        self._scene = scene
        self._acoustics = acoustics
        self._answers: dict[str, Callable[[Mapping[str, Any], bytes], Answer]] = {
            "identity": self._identity,
            "holder": self._holder,
            "camera.open": self._camera_open,
            "camera.grab": self._camera_grab,
            "camera.jpeg": self._camera_jpeg,
            "camera.state": self._camera_state,
            "camera.set": self._camera_set,
            "audio.record": self._audio_record,
            "audio.play": self._audio_play,
            "audio.loop": self._audio_loop,
            "audio.mixer": self._audio_mixer,
            "audio.set": self._audio_set,
            "display.state": self._display_state,
            "display.set": self._display_set,
            "panel.pressed": self._panel_pressed,
            "panel.light": self._panel_light,
            "presence": self._presence,
            "host": self._host,
            "interface": self._interface,
            "path": self._path,
            **people(world),
        }

    def answer(self, do: str, args: Mapping[str, Any], payload: bytes) -> Answer:
        """Raises DeviceError, Hang, Crash."""
        method = self._answers.get(do)
        if method is None:
            raise BadRequest(f"do: got {do[:60]!r}, expected one of {', '.join(self._answers)}")
        return method(args, payload)

    def touch(self, device: str) -> None:
        """Whatever reaches the device itself goes through here. Raises Hang, Crash, Absent."""
        faults = self._world.faults
        process = PROCESS_OF[device]
        if f"{process}_hung" in faults:
            raise Hang
        if f"{process}_crashed" in faults:
            raise Crash
        if f"{device}_absent" in faults:
            raise Absent(f"the {device} is not there")

    def _use(self, device: str) -> None:
        self.touch(device)
        holder = self._world.holder(device)
        if holder is not None:
            raise Busy(f"{holder} holds the {device}", in_use_by=holder)

    # --- Any device

    def _identity(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        device = Arguments(args, "device").choice("device", DEVICES)
        if f"{device}_absent" not in self._world.faults:
            return Answer(IDENTITIES[device])
        if device == "display":  # the connector stays where it is
            return Answer({"connector": IDENTITIES["display"]["connector"]})
        raise Absent(f"the {device} is not there")

    def _holder(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        return Answer({"by": self._world.holder(Arguments(args, "device").choice("device", HOLDABLE))})

    # --- Camera

    def _camera_open(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        """As of a V4L2 node: it opens and moves while another program streams, but gives no picture."""
        self.touch("camera")
        return Answer()

    def _camera_grab(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        count = int(Arguments(args, "count").number("count", 1, MAX_FRAMES))
        self._use("camera")
        frames, fps = self._scene().grab(count)
        height_px, width_px = frames[0].shape
        return Answer(
            {"count": count, "width_px": width_px, "height_px": height_px, "fps": fps},
            b"".join(frame.tobytes() for frame in frames),
        )

    def _camera_jpeg(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "quality", "max_width_px")
        quality = int(asked.number("quality", 1, 100))
        max_width_px = int(asked.number("max_width_px", 16, 8192))
        self._use("camera")
        jpeg, width_px, height_px = self._scene().jpeg(quality, max_width_px)
        return Answer({"width_px": width_px, "height_px": height_px}, jpeg)

    def _camera_state(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        self.touch("camera")
        camera = self._world.camera
        return Answer({"power": camera.power, "zoom": camera.zoom, "preset": camera.preset})

    def _camera_set(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "power", "zoom", "preset", "centre_x", "centre_y")
        values: dict[str, Any] = {}
        if asked.has("power"):
            values["power"] = asked.flag("power", True)
        if asked.has("zoom"):
            values |= {"zoom": float(asked.number("zoom", 1.0, MAX_ZOOM)), "preset": None}
        for name in ("centre_x", "centre_y"):
            if asked.has(name):
                values[name] = float(asked.number(name, 0.0, 1.0))
        if asked.has("preset"):
            values["preset"] = asked.text("preset", 64)
        self.touch("camera")
        self._world.set_camera(**values)
        return Answer()

    # --- Microphone and speaker

    def _audio_record(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        seconds = Arguments(args, "seconds").number("seconds", 0.0, MAX_SECONDS)
        self._use("microphone")
        return Answer({}, self._acoustics().record(seconds).tobytes())

    def _audio_play(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        self._use("speaker")
        self._acoustics().play(_sound(payload))
        return Answer()

    def _audio_loop(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        seconds = Arguments(args, "seconds").number("seconds", 0.0, MAX_SECONDS)
        self._use("microphone")
        self._use("speaker")
        heard = self._acoustics().play_and_record(_sound(payload), seconds)
        return Answer({}, heard.tobytes())

    def _audio_mixer(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        device = Arguments(args, "device").choice("device", ("microphone", "speaker"))
        self.touch(device)
        return Answer(self._world.snapshot()[device])

    def _audio_set(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "device", "muted", "gain_db", "volume_percent")
        device = asked.choice("device", ("microphone", "speaker"))
        values: dict[str, Any] = {}
        if asked.has("muted"):
            values["muted"] = asked.flag("muted", False)
        if asked.has("gain_db") and device == "microphone":
            values["gain_db"] = float(asked.number("gain_db", -60.0, 40.0))
        if asked.has("volume_percent") and device == "speaker":
            values["volume_percent"] = float(asked.number("volume_percent", 0.0, 100.0))
        self.touch(device)
        if device == "microphone":
            self._world.set_microphone(**values)
        else:
            self._world.set_speaker(**values)
        return Answer()

    # --- Display

    def _display_state(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        try:
            self.touch("display")
        except Absent:  # hot-plug is what tells, so it is an answer and no error
            return Answer({"connected": False, "size_px": None, "power": "unknown", "active_input": None})
        screen = self._world.screen
        told = "display_no_cec" not in self._world.faults
        return Answer(
            {
                "connected": True,
                "size_px": SCREEN_SIZE_PX,
                "power": screen.power if told else "unknown",
                "active_input": screen.input == "kit" if told else None,
                "brightness_percent": screen.brightness_percent,
                "message": screen.message,
                "card": screen.card,
            }
        )

    def _display_set(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "power", "input", "brightness_percent", "message", "card")
        values: dict[str, Any] = {}
        if asked.has("brightness_percent"):
            values["brightness_percent"] = float(asked.number("brightness_percent", 0.0, 100.0))
        if asked.has("message"):
            values["message"] = asked.text("message", 1000)
        if asked.has("card"):
            values["card"] = asked.choice("card", TEST_CARDS)
        over_cec: dict[str, Any] = {}
        if asked.has("power"):
            over_cec["power"] = "on" if asked.flag("power", True) else "standby"
        if asked.has("input"):
            over_cec["input"] = asked.text("input", 32)
        self.touch("display")
        if "display_no_cec" not in self._world.faults:  # else nobody hears it, and nobody says so
            values |= over_cec
        self._world.set_screen(**values)
        return Answer()

    # --- Panel

    def _panel_pressed(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        self.touch("panel")
        return Answer({"pressed": self._world.pressed})

    def _panel_light(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "red", "green", "blue")
        red, green, blue = (float(asked.number(name, 0.0, 1.0)) for name in ("red", "green", "blue"))
        self.touch("panel")
        self._world.set_light((red, green, blue))
        return Answer()

    # --- Presence and host: they open nothing

    def _presence(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        faults = self._world.faults
        return Answer({device: f"{device}_absent" not in faults for device in DEVICES})

    def _host(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        return Answer(self._world.host())

    def _interface(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        readings = self._world.interface()
        name = args.get("name")
        if name not in (None, readings["interface"]):
            raise Absent(f"no network interface {name!r}")
        return Answer(readings)

    def _path(self, args: Mapping[str, Any], payload: bytes) -> Answer:
        return Answer(self._world.path(near_only=bool(args.get("near_only"))))


def _sound(payload: bytes) -> Samples:
    if len(payload) % 4:
        raise BadRequest(f"sound: got {len(payload)} bytes, expected float32 samples")
    return np.nan_to_num(np.frombuffer(payload, np.float32))

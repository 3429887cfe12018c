"""The drivers' backends on the simulated world: ``backends = "sim"``, ``backend_options = {socket = ...}``.

Device logic, processes, kills and everything above are production code. Only camera and sound
import numpy, and only when used: panel, display, presence and host stay light.

Options: ``socket``, the world's path; ``realtime = "yes"``, a recording takes as long as it would in
a real room (else it returns at once, with samples as if the time had passed).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diemcau_drivers.contract import BadRequest, Broken
from diemcau_drivers.interfaces import PanelListener

from .client import WorldClient

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Luma, Samples

SAMPLE_RATE_HZ = 48_000


def _client(options: Mapping[str, Any]) -> WorldClient:
    path = options.get("socket")
    if not isinstance(path, str) or not path:
        raise BadRequest(f"backend_options.socket: got {path!r}, expected the path of the simulated world")
    return WorldClient(path)


class SimCamera:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._world = _client(options)
        self._presets: Mapping[str, Sequence[float]] = options.get("presets", {})
        self._realtime = options.get("realtime") == "yes"
        self._open = False

    def identity(self) -> Mapping[str, str]:
        return self._world.ask("identity", device="camera")

    def holder(self) -> str | None:
        return self._world.ask("holder", device="camera")["by"]

    def open(self) -> None:
        self._world.ask("camera.open")
        self._open = True

    def close(self) -> None:
        self._open = False
        self._world.close()

    def capabilities(self) -> Sequence[str]:
        return ("power", "zoom", *(("preset",) if self._presets else ()), "snapshot")

    def grab(self, count: int) -> tuple[Sequence[Luma], float]:
        import numpy as np

        self._needs_open()
        got, data = self._world.ask_bytes("camera.grab", count=count)
        frames = np.frombuffer(data, np.uint8).reshape(count, got["height_px"], got["width_px"])
        if self._realtime:
            time.sleep(count / got["fps"])
        return list(frames), got["fps"]

    def jpeg(self, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
        self._needs_open()
        got, data = self._world.ask_bytes("camera.jpeg", quality=quality, max_width_px=max_width_px)
        return data, got["width_px"], got["height_px"]

    def state(self) -> Mapping[str, Any]:
        self._needs_open()
        return self._world.ask("camera.state")

    def set_power(self, on: bool) -> None:
        self._needs_open()
        self._world.ask("camera.set", power=on)

    def set_zoom(self, ratio: float) -> None:
        self._needs_open()
        self._world.ask("camera.set", zoom=ratio)

    def set_preset(self, name: str) -> None:
        self._needs_open()
        place = self._presets.get(name)
        if place is None:
            raise BadRequest(f"preset: got {name!r}, expected one of {', '.join(self._presets) or 'none'}")
        zoom, centre_x, centre_y = place
        self._world.ask("camera.set", zoom=zoom, centre_x=centre_x, centre_y=centre_y, preset=name)

    def _needs_open(self) -> None:
        if not self._open:
            raise Broken("the camera is not open")


class SimAudio:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._world = _client(options)
        self._realtime = options.get("realtime") == "yes"

    def microphone(self) -> Mapping[str, str]:
        return self._world.ask("identity", device="microphone")

    def speaker(self) -> Mapping[str, str]:
        return self._world.ask("identity", device="speaker")

    def holder(self, device: str) -> str | None:
        return self._world.ask("holder", device=device)["by"]

    def shares(self) -> bool:
        """Who holds the world's card holds it alone."""
        return False

    def record(self, seconds: float) -> Samples:
        _, data = self._world.ask_bytes("audio.record", seconds=seconds)
        self._pass(seconds)
        return self._samples(data)

    def play(self, samples: Samples) -> None:
        self._world.ask("audio.play", self._bytes(samples))
        self._pass(len(samples) / SAMPLE_RATE_HZ)

    def play_and_record(self, samples: Samples, seconds: float) -> Samples:
        _, data = self._world.ask_bytes("audio.loop", self._bytes(samples), seconds=seconds)
        self._pass(seconds)
        return self._samples(data)

    def mixer(self, device: str) -> Mapping[str, Any]:
        return self._world.ask("audio.mixer", device=device)

    def set_mixer(self, device: str, **values: Any) -> None:
        self._world.ask("audio.set", device=device, **values)

    def close(self) -> None:
        self._world.close()

    def _pass(self, seconds: float) -> None:
        if self._realtime:
            time.sleep(seconds)

    @staticmethod
    def _bytes(samples: Samples) -> bytes:
        import numpy as np

        return np.ascontiguousarray(samples, np.float32).tobytes()

    @staticmethod
    def _samples(data: bytes) -> Samples:
        import numpy as np

        return np.frombuffer(data, np.float32)


class SimDisplay:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._world = _client(options)

    def identity(self) -> Mapping[str, str]:
        return self._world.ask("identity", device="display")

    def capabilities(self) -> Sequence[str]:
        return ("power", "input", "brightness", "message", "card")

    def connected(self) -> bool:
        return self._world.ask("display.state")["connected"]

    def size_px(self) -> tuple[int, int] | None:
        size_px = self._world.ask("display.state")["size_px"]
        return None if size_px is None else (size_px[0], size_px[1])

    def power(self) -> str:
        return self._world.ask("display.state")["power"]

    def active_input(self) -> bool | None:
        return self._world.ask("display.state")["active_input"]

    def set_power(self, on: bool) -> None:
        self._world.ask("display.set", power=on)

    def set_input(self, name: str) -> None:
        self._world.ask("display.set", input=name)

    def brightness_percent(self) -> float | None:
        return self._world.ask("display.state").get("brightness_percent")

    def set_brightness(self, percent: float) -> None:
        self._world.ask("display.set", brightness_percent=percent)

    def show(self, *, message: str | None, card: str | None) -> Mapping[str, Any]:
        self._world.ask("display.set", message=message, card=card)
        shown = self._world.ask("display.state")
        return {"message": shown.get("message", ""), "card": shown.get("card", "off")}

    def close(self) -> None:
        self._world.close()


class SimPanel:
    """Listens on a connection of its own, since the world tells the button's moves unasked."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._world = _client(options)
        self._events = _client(options)
        self._listening: threading.Thread | None = None

    def start(self, tell: PanelListener) -> None:
        self._events.ask("panel.listen")
        self._listening = threading.Thread(
            target=self._listen, args=(tell,), name="panel-listens", daemon=True
        )
        self._listening.start()

    def pressed(self) -> bool:
        return self._world.ask("panel.pressed")["pressed"]

    def light(self, red: float, green: float, blue: float) -> None:
        self._world.ask("panel.light", red=red, green=green, blue=blue)

    def identity(self) -> Mapping[str, str]:
        return self._world.ask("identity", device="panel")

    def close(self) -> None:
        self._events.close()
        self._world.close()
        if self._listening is not None:
            self._listening.join(1.0)

    def _listen(self, tell: PanelListener) -> None:
        while True:
            try:
                message, _ = self._events.receive()
            except (OSError, ValueError):
                return  # closed, or the room is gone
            tell(bool(message.get("pressed")))


class SimPresence:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._world = _client(options)

    def present(self) -> Mapping[str, bool | None]:
        return self._world.ask("presence")

    def close(self) -> None:
        self._world.close()


class SimHost:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._world = _client(options)

    def probe(self) -> Mapping[str, Any]:
        return self._world.ask("host")

    def interface(self, name: str | None) -> Mapping[str, Any]:
        return self._world.ask("interface", name=name)

    def path(self, near_only: bool) -> Mapping[str, Any]:
        return self._world.ask("path", near_only=near_only)

    def close(self) -> None:
        self._world.close()


BACKENDS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "camera": SimCamera,
    "audio": SimAudio,
    "display": SimDisplay,
    "panel": SimPanel,
    "presence": SimPresence,
    "host": SimHost,
}

"""The display's device logic: looks and settings over a DisplayBackend.

Every setting is answered with what was read back, "unknown" where the screen does not tell. Raises
Unsupported (the screen or the kit cannot), BadRequest (arguments), what the backend raises.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from .arguments import Answer, Arguments, Asked
from .contract import TEST_CARDS, BadRequest, DeviceError, Look, Unsupported
from .interfaces import DisplayBackend

Tell = Callable[[str, Mapping[str, Any]], None]

KEYS = ("power", "input", "brightness_percent", "message", "card")
CAPABILITY_OF = {
    "power": "power",
    "input": "input",
    "brightness_percent": "brightness",
    "message": "message",
    "card": "card",
}
MAX_MESSAGE = 300
"""Characters; more cannot be read from the back of a hall."""
HDMI_ADDRESS = re.compile(r"[0-9a-f](\.[0-9a-f]){3}")
"""A physical address as in HDMI 1.4b, 8.7: "2.0.0.0" is the screen's second input."""
SETTLE_S = 3.0
"""How long a screen is given to show what it was told, before what it says now is the answer."""
ASK_AGAIN_S = 0.5


def open_device(backend: DisplayBackend, options: Mapping[str, Any], tell: Tell) -> Display:
    return Display(backend)


class Display(Asked):
    def __init__(
        self,
        backend: DisplayBackend,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._monotonic = monotonic
        self._sleep = sleep
        self._verbs: Mapping[str, Answer] = {
            "probe": self._probe,
            "set": self._set,
        }

    def close(self) -> None:
        self._backend.close()

    def _probe(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        passive = Arguments(args, "passive").flag("passive", False)
        try:
            return self._look(passive).to_dict()
        except DeviceError as error:
            return Look(error=error).to_dict()

    def _look(self, passive: bool) -> Look:
        """A passive one says what hot-plug and EDID tell, and sends nothing to the screen."""
        backend = self._backend
        readings: dict[str, Any] = {"connected": backend.connected()}
        size_px = backend.size_px()
        if size_px is not None:
            readings["width_px"], readings["height_px"] = size_px
        if readings["connected"] and not passive:
            power = backend.power()
            readings |= {"power": power, "cec": power != "unknown"}
            # Whom nobody answers is not asked again: each unanswered question costs a second.
            readings["active_input"] = backend.active_input() if power != "unknown" else None
        return Look(
            readings=readings,
            passive=passive,
            identity=backend.identity(),
            capabilities=backend.capabilities(),
        )

    def _set(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, *KEYS, "force")
        asked.flag("force", False)  # a screen is not held; the argument is the same for every device
        wanted: dict[str, Any] = {}
        if asked.has("power"):
            wanted["power"] = asked.flag("power", True)
        if asked.has("input"):
            wanted["input"] = _input(asked.text("input", 16))
        if asked.has("brightness_percent"):
            wanted["brightness_percent"] = asked.number("brightness_percent", 0, 100)
        if asked.has("message"):
            wanted["message"] = asked.text("message", MAX_MESSAGE)
        if asked.has("card"):
            wanted["card"] = asked.choice("card", TEST_CARDS)
        if not wanted:
            raise BadRequest(f"set: got nothing, expected any of {', '.join(KEYS)}")
        capabilities = self._backend.capabilities()
        for name in wanted:
            if CAPABILITY_OF[name] not in capabilities:
                raise Unsupported(f"{name}: this display cannot be set so")
        return self._apply(wanted)

    def _apply(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        backend = self._backend
        read: dict[str, Any] = {}
        if "power" in wanted:
            backend.set_power(wanted["power"])
            power = self._settled(backend.power, "on" if wanted["power"] else "standby")
            read["power"] = {"on": True, "standby": False}.get(power, "unknown")
        if "input" in wanted:
            backend.set_input(wanted["input"])
            ours = self._settled(backend.active_input, wanted["input"] == "kit")
            read["input"] = {True: "kit", False: wanted["input"]}.get(ours, "unknown")
            if ours is False and wanted["input"] == "kit":
                read["input"] = "other"
        if "brightness_percent" in wanted:
            backend.set_brightness(wanted["brightness_percent"])
            percent = backend.brightness_percent()
            read["brightness_percent"] = "unknown" if percent is None else percent
        if "message" in wanted or "card" in wanted:
            shown = backend.show(message=wanted.get("message"), card=wanted.get("card"))
            read |= {name: shown.get(name, "unknown") for name in ("message", "card") if name in wanted}
        return read

    def _settled(self, read: Callable[[], Any], wanted: Any) -> Any:
        """What the screen says once it says ``wanted`` or nothing, or at the end of SETTLE_S."""
        end_s = self._monotonic() + SETTLE_S
        while True:
            value = read()
            if value in (wanted, "unknown", None) or self._monotonic() >= end_s:
                return value
            self._sleep(ASK_AGAIN_S)


def _input(name: str) -> str:
    if name != "kit" and not HDMI_ADDRESS.fullmatch(name):
        raise BadRequest(f'input: got {name!r}, expected "kit" or an HDMI address such as "2.0.0.0"')
    return name

"""What people do in the room: break and mend things, press the button, take a device, pull the plug."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diemcau_drivers.arguments import Arguments

from .answer import Answer
from .faults import FAULTS
from .world import HOLDABLE, World


def people(world: World) -> dict[str, Callable[[Mapping[str, Any], bytes], Answer]]:
    """The requests, each by its name."""

    def state(args: Mapping[str, Any], payload: bytes) -> Answer:
        return Answer(world.snapshot())

    def fault(args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "code", "on")
        code = asked.choice("code", FAULTS)
        world.set_fault(code, asked.flag("on", True))
        return Answer({"faults": sorted(world.faults)})

    def press(args: Mapping[str, Any], payload: bytes) -> Answer:
        world.press(Arguments(args, "hold_s").number("hold_s", 0.0, 120.0, 0.2))
        return Answer()

    def hold(args: Mapping[str, Any], payload: bytes) -> Answer:
        asked = Arguments(args, "device", "by")
        device = asked.choice("device", HOLDABLE)
        world.hold(device, asked.text("by", 64) if asked.has("by") else None)
        return Answer()

    def reboot(args: Mapping[str, Any], payload: bytes) -> Answer:
        world.reboot()
        return Answer({"boots": world.boots})

    return {"state": state, "fault": fault, "press": press, "hold": hold, "reboot": reboot}

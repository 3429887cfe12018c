"""A command that passed every check, and whose a failure of it is."""

from __future__ import annotations

from typing import Any

import msgspec

from diemcau_agent.judges import failure_code
from diemcau_drivers.contract import DEVICES, DeviceError

from .outcome import CommandError, Failed, Refused
from .verb import Args, Call, Verb


class Order(msgspec.Struct, frozen=True):
    """What it needs is held for it, but while ``delay_s`` passes."""

    verb: Verb[Any]
    call: Call
    args: Args
    delay_s: float

    @property
    def device(self) -> str | None:
        """What a failure is of; None where it is of the whole room."""
        held = self.verb.holds(self.args)
        if set(held) >= set(DEVICES):
            return None
        return next((part for part in held if part in (*DEVICES, "host", "line")), None)

    def failed(self, error: DeviceError) -> CommandError:
        """A device's own word as the command's end."""
        if error.kind == "busy":
            return Refused("busy", f"in use by {error.in_use_by}: {error.detail}")
        if error.kind == "forbidden":
            return Refused("not_permitted", error.detail)
        if error.kind == "bad_request":
            return Refused("bad_args", error.detail)
        code = None if self.device is None else failure_code(self.device, error.kind)
        return Failed(code or error.kind, error.detail)

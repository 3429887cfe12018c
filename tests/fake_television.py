"""A television on a CEC bus as ``cec-ctl`` (v4l-utils 1.22 to 1.32) prints it, and ``ddcutil --brief``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class FakeTelevision:
    """Used as the backend's ``run``. ``answers``: whether it speaks CEC at all."""

    answers: bool = True
    power: str = "on"
    active: str | None = "1.0.0.0"
    address: str = "1.0.0.0"
    configured: bool = False
    installed: bool = True
    brightness: int | None = None
    calls: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    deadlines_s: list[float] = field(default_factory=list[float])

    def __call__(self, command: Sequence[str], deadline_s: float) -> str | None:
        self.calls.append(tuple(command))
        self.deadlines_s.append(deadline_s)
        if not self.installed:
            return None
        if command[0].endswith("ddcutil"):
            return self._ddcutil(command[1:])
        assert command[:2] == ("cec-ctl", "-d")
        words = list(command[3:])
        if "--playback" in words:
            self.configured = True
        if "--skip-info" not in words:
            return self._info()
        return self._sent(words)

    def _info(self) -> str:
        mask = 0x0010 if self.configured and self.address != "f.f.f.f" else 0
        return (
            "Driver Info:\n\tDriver Name                : vc4_hdmi\n"
            f"\tPhysical Address           : {self.address}\n"
            f"\tLogical Address Mask       : 0x{mask:04x}\n"
            "\tCEC Version                : 2.0\n"
        )

    def _sent(self, words: list[str]) -> str:
        assert self.configured, "nothing can be sent without a logical address"
        if "--give-device-power-status" in words:
            return self._reply(
                "GIVE_DEVICE_POWER_STATUS (0x8f)",
                f"REPORT_POWER_STATUS (0x90):\n\tpwr-state: {self.power} (0x00)",
            )
        if "--request-active-source" in words:
            # The active source answers; where that is the kit itself, nobody does.
            heard = self.active is not None and self.active != self.address
            reply = f"ACTIVE_SOURCE (0x82):\n\tphys-addr: {self.active}"
            return self._reply("REQUEST_ACTIVE_SOURCE (0x85)", reply, heard)
        if self.answers and "--standby" in words:
            self.power = "to-standby"
        if self.answers and "--image-view-on" in words:
            self.power = "to-on"
        if self.answers and "--active-source" in words:
            self.active = words[-1].removeprefix("phys-addr=")
        return "\nTransmit from Playback Device 1 to TV (4 to 0):\n\tSequence: 9 Tx Timestamp: 1.000s\n"

    def _reply(self, question: str, reply: str, heard: bool = True) -> str:
        sent = f"\nTransmit from Playback Device 1 to TV (4 to 0):\n{question}\n"
        if not self.answers or not heard:
            return f"{sent}\tSequence: 3 Tx Timestamp: 12.500s\n\tTx, Not Acknowledged (4), Max Retries\n"
        received = f"    Received from TV (0):\n    {reply}\n"
        return f"{sent}{received}\tSequence: 3 Tx Timestamp: 12.500s Rx Timestamp: 12.6s\n"

    def _ddcutil(self, words: Sequence[str]) -> str | None:
        if self.brightness is None:
            return None
        if words[0] == "setvcp":
            self.brightness = int(words[2])
            return ""
        return f"VCP 10 C {self.brightness} 100\n"

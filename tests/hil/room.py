"""The room that the virtual kit stands in: its technician, and the hands that press, unplug and look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from centre import POINT, Centre
from virtual_kit import VirtualKit
from witness import Witness

AGENT = "diemcau-agent.service"
PYTHON = ("sh", "-c", 'exec "$(readlink -f /opt/diemcau/bin)/python" "$@"', "python")
"""The agent's own: the link that leads to its folder is none of a virtual environment's."""
ONLINE_S = 90.0
SETTINGS = """
[update]
ca_file = "/etc/diemcau/ca.pem"
[backends]
camera = "v4l2"
[camera]
identity = "vivid"
[audio]
microphone = "RoomMic"
speaker = "RoomSpeaker"
[display]
cec_device = "/dev/cec1"
[line]
reflector = "10.0.3.2:{reflector_port}"
[probe]
period_s = 60.0
deadline_s = 30.0 # every instruction is emulated
"""
LIGHTS = {"red": 22, "green": 27, "blue": 23}
BUTTON = 17


class Room:
    def __init__(self, kit: VirtualKit, centre: Centre, witness: Witness) -> None:
        self.kit, self.centre, self.witness = kit, centre, witness

    def install(self, package: Path) -> str:
        """Without any network. What the package's scripts printed."""
        self.kit.copy(package, "/root/diemcau.deb")
        return self.kit.run("unshare", "--net", "dpkg", "--install", "/root/diemcau.deb", timeout_s=400)

    def enrol(self) -> None:
        """docs/identity.md, step by step."""
        settings = self.centre.folder / "agent.toml"
        given = (self.centre.stick / "agent.toml").read_text()
        first = f'language = "en"\nrelease_keys = ["{self.centre.release_key}"]\n'
        settings.write_text(first + given + SETTINGS.format(reflector_port=self.centre.reflector_port))
        self.kit.copy(settings, "/root/agent.toml")
        for name in ("ca.pem", "token"):
            self.kit.copy(self.centre.stick / name, f"/root/{name}")
        self.kit.run("install", "-m", "640", "-g", "diemcau", "/root/agent.toml", "/etc/diemcau/agent.toml")
        self.kit.run("install", "-m", "644", "/root/ca.pem", "/etc/diemcau/ca.pem")
        self.kit.run("install", "-m", "600", "/root/token", "/etc/diemcau/token")
        self.kit.run("systemctl", "start", "diemcau-enrol", timeout_s=150)
        self.kit.run("systemctl", "restart", AGENT, timeout_s=120)
        self.online()

    def online(self, within_s: float = ONLINE_S) -> None:
        def status() -> bool:
            return self.witness.statuses.get(POINT, {}).get("status") == "online"

        if not self.witness.until(status, within_s):
            raise AssertionError(f"not online within {within_s:.0f} s: {self.kit.journal(AGENT)}")

    def health(self) -> dict[str, Any]:
        """As the agent tells it on its socket, now."""
        told = self.kit.run("/opt/diemcau/bin/diemcau-agent", "status", "--json", check=False)
        document: dict[str, Any] = json.loads(told)
        return document

    def until_code(self, device: str, code: str | None, within_s: float) -> dict[str, Any]:
        """Waits until health on the wire says ``code`` of the device (None: nothing is amiss)."""

        def found() -> bool:
            told = self.witness.health.get(POINT, {}).get("devices", {}).get(device)
            return told is not None and told["code"] == code and (code is not None or told["state"] == "ok")

        if not self.witness.until(found, within_s):
            raise AssertionError(
                f"{device}: {code} expected within {within_s:.0f} s: {self.witness.health.get(POINT)}"
            )
        device_health: dict[str, Any] = self.witness.health[POINT]["devices"][device]
        return device_health

    def press(self, seconds: float = 0.3) -> int:
        """The button, as a finger moves its line. How many self-tests were told of before."""
        pull = f"/run/kit-gpio/sim_gpio{BUTTON}/pull"
        before = len(self.witness.kinds(POINT, "selftest"))
        self.kit.shell(f"echo pull-down >{pull}; sleep {seconds}; echo pull-up >{pull}")
        return before

    def lights(self, looks: int = 40) -> dict[str, float]:
        """Each colour's share of the time that it was lit, as the lines' levels show it."""
        lines = " ".join(f"/run/kit-gpio/sim_gpio{number}/value" for number in LIGHTS.values())
        seen = self.kit.shell(
            f"for look in $(seq {looks}); do cat {lines} | tr '\\n' ' '; echo; sleep 0.05; done"
        )
        rows = [[int(value) for value in line.split()] for line in seen.splitlines() if line.strip()]
        return {colour: sum(row[place] for row in rows) / len(rows) for place, colour in enumerate(LIGHTS)}

    def selftest(self, before: int, within_s: float) -> dict[str, Any]:
        """The event of the self-test that came after those ``before``."""
        if not self.witness.until(lambda: len(self.witness.kinds(POINT, "selftest")) > before, within_s):
            raise AssertionError(f"no self-test ended within {within_s:.0f} s: {self.kit.journal(AGENT)}")
        return self.witness.kinds(POINT, "selftest")[before]

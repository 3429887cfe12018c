"""What hangs is restarted by whoever watches it; the machine itself by its operator, and by nobody else."""

from __future__ import annotations

import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import signing
from centre import OPERATOR, POINT
from room import AGENT, PYTHON, Room

pytestmark = [pytest.mark.hil, pytest.mark.timeout(900)]

WATCHDOG = Path(__file__).parents[2] / "provisioning/image/files/etc/systemd/system.conf.d/50-diemcau.conf"
ASK = """
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/diemcau-reboot.sock")
connection.sendall(sys.argv[1].encode() + b"\\n")
print(connection.makefile().readline())
"""


def test_a_stopped_daemon_is_restarted_by_the_watchdog(room: Room) -> None:
    room.online()
    before = room.witness.statuses[POINT]["session"]
    restarts = int(room.kit.unit_property(AGENT, "NRestarts"))
    stopped_s = room.kit.uptime_s()
    room.kit.run("kill", "-STOP", room.kit.unit_property(AGENT, "MainPID"))
    room.kit.until(lambda: int(room.kit.unit_property(AGENT, "NRestarts")) > restarts, 90, "a restart")
    assert room.kit.uptime_s() - stopped_s < 60
    assert room.witness.until(lambda: room.witness.statuses[POINT]["session"] > before, 90)
    room.online()


def test_a_hung_device_process_is_killed_and_made_anew_by_the_agent(room: Room) -> None:
    room.until_code("panel", None, 240)
    before = len(room.witness.events)

    def told_of(code: str) -> bool:
        return any(event.get("code") == code for event in room.witness.events[before:])

    old = room.kit.run("pgrep", "-f", "[d]iemcau_drivers panel").split()[0]
    room.kit.run("kill", "-STOP", old)
    assert room.witness.until(lambda: told_of("panel_hung"), 180), room.kit.journal(AGENT)
    room.until_code("panel", None, 180)
    assert room.kit.run("pgrep", "-f", "[d]iemcau_drivers panel").split()[0] != old


def test_a_kernel_that_hangs_is_reset_by_the_hardware_watchdog(room: Room) -> None:
    """By i6300esb here, under the settings that a card brings (provisioning/image)."""
    room.kit.run("mkdir", "-p", "/etc/systemd/system.conf.d")
    room.kit.copy(WATCHDOG, "/etc/systemd/system.conf.d/")
    room.kit.shell("modprobe i6300esb; systemctl daemon-reexec", timeout_s=180)
    watchdog = "/sys/class/watchdog/watchdog0"
    room.kit.until(lambda: room.kit.run("cat", f"{watchdog}/state") == "active\n", 60, "who feeds it")
    assert room.kit.run("cat", f"{watchdog}/timeout") == "14\n"
    before = room.kit.run("cat", "/proc/sys/kernel/random/boot_id")
    room.kit.run("systemd-run", "--quiet", "sh", "-c", "sleep 1; echo c >/proc/sysrq-trigger")
    room.kit.up()
    assert room.kit.run("cat", "/proc/sys/kernel/random/boot_id") != before
    room.online()


def forged(room: Room, by: str) -> str:
    """A restart of the host with everything right but its signature."""
    status, now_s = room.witness.statuses[POINT], int(time.time())
    claims: dict[str, Any] = {
        "id": str(uuid.uuid4()), "aud": f"point/{POINT}", "verb": "restart", "iss": OPERATOR, "iat": now_s,
        "exp": now_s + 100, "nonce": status["nonce"],
        "args": {"target": "host", "reboot_nonce": status["reboot_nonce"]},
    }  # fmt: skip
    return signing.signed(claims, by).decode()


def test_a_forged_restart_is_not_obeyed_not_even_of_the_daemons_own_user(room: Room) -> None:
    room.witness.until(lambda: room.witness.statuses[POINT].get("reboot_nonce") is not None, 120)
    boot = room.kit.run("cat", "/proc/sys/kernel/random/boot_id")
    asked = json.dumps({"do": "reboot", "command": forged(room, "mallory")})
    told = room.kit.run(
        "setpriv", "--reuid=diemcau", "--regid=diemcau", "--clear-groups", *PYTHON, "-c", ASK, asked
    )
    assert json.loads(told)["error"]["code"] == "bad_signature", told
    assert room.kit.run("cat", "/proc/sys/kernel/random/boot_id") == boot
    assert room.kit.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")


def test_restart_host_reboots_the_machine_and_is_proved_from_the_new_boot(room: Room) -> None:
    room.witness.until(lambda: room.witness.statuses[POINT].get("reboot_nonce") is not None, 120)
    before = room.kit.run("cat", "/proc/sys/kernel/random/boot_id").strip()
    replies: list[dict[str, Any]] = []
    asking = threading.Thread(
        target=lambda: replies.extend(room.centre.command("restart", "target=host", wait_s=240))
    )
    asking.start()
    room.kit.up()
    asking.join(300)
    after = room.kit.run("cat", "/proc/sys/kernel/random/boot_id").strip()
    assert after != before
    assert replies, "no reply"
    assert replies[-1]["state"] == "done", replies
    assert after.replace("-", "") in replies[-1]["rest"].replace("-", ""), replies
    # Whether its drivers were there before the agent or came after it.
    for device in ("panel", "camera", "display"):
        room.until_code(device, None, 240)

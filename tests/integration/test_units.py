"""The units as they are, run by a real systemd: what they take away leaves the programs all they need; and
the one restart of a machine that is no play."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from machine import POINT, Machine

# A whole system boots, on two busy cores.
pytestmark = [pytest.mark.machine, pytest.mark.timeout(90)]

LISTEN = """
import json, sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
def take(client, data, message):
    print(message.payload.decode())
    client.disconnect()
client.on_message = take
client.connect("127.0.0.1")
client.subscribe(sys.argv[1])
client.loop_forever()
"""
ASK = """
import json, socket, sys, time
import signing
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/diemcau-reboot.sock")
answers = connection.makefile("rb")
def ask(**request):
    connection.sendall(json.dumps(request).encode() + b"\\n")
    return json.loads(answers.readline())
def command(by, **args):
    now_s = int(time.time())
    claims = {"id": "command-1", "aud": "point/xp-0417", "verb": "restart", "iss": "op-1", "iat": now_s,
              "exp": now_s + 60, "args": {"target": "host", **args}}
    return signing.signed(claims, by).decode()
"""


TRY_TO_WRITE = """
import errno, json, os
def refusal(path):
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError as error:
        return errno.errorcode[error.errno]
    try:
        os.write(file, b"x")
    except OSError as error:
        return "write: " + errno.errorcode[error.errno]
told = {name: refusal("/sys/class/net/lo/" + name) for name in ("ifalias", "mtu")}
places = ("/sys/class", "/sys/bus", "/sys/kernel", "/sys/fs", "/proc/sys")
told["else"] = [place for place in places if not os.statvfs(place).f_flag & os.ST_RDONLY]
print("told:", json.dumps(told), flush=True)
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def room(machine: Machine) -> Machine:
    """A simulated room in it, its agent ready."""
    machine.run("systemd-run", "--quiet", "--unit=world", "/opt/diemcau/bin/python", "/opt/diemcau/world.py")
    # With no file of its own: what /etc/mosquitto of this machine says is none of the test's.
    machine.run("systemd-run", "--quiet", "--unit=broker", "/usr/sbin/mosquitto", "-p", "1883")
    machine.run("systemctl", "start", "diemcau-reboot.socket")
    until(lambda: "world.sock" in machine.run("ls", "/run/world"), machine)
    machine.run("systemctl", "start", "diemcau-agent")
    return machine


def until(true: Callable[[], bool], machine: Machine, within_s: float = 40.0) -> None:
    ends_s = time.monotonic() + within_s
    while True:
        try:
            if true():
                return
        except AssertionError:
            if time.monotonic() > ends_s:
                raise
        assert time.monotonic() < ends_s, machine.run("journalctl", "--no-pager", "-n", "60")
        time.sleep(0.2)


def status(machine: Machine, topic: str = "status") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        machine.python(LISTEN, f"diemcau/v1/point/{POINT}/{topic}").splitlines()[-1]  # two may come at once
    )
    return document


def confinement(machine: Machine, unit: str) -> dict[str, str]:
    """Of the unit's main process, as the kernel says."""
    text = machine.run("cat", f"/proc/{machine.property(unit, 'MainPID')}/status")
    wanted = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    return {name: value for line in text.splitlines() if (name := line.split(":")[0]) in wanted
            for value in [line.split()[1]]}  # fmt: skip


NOTHING = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}


def test_a_room_is_ready_under_the_agents_unit_and_tells_the_nonce_of_the_reboot_helper(
    room: Machine,
) -> None:
    until(lambda: room.property("diemcau-agent", "StatusText") == "ready", room)
    assert confinement(room, "diemcau-agent") == NOTHING
    until(lambda: status(room)["reboot_nonce"] is not None, room)
    assert confinement(room, "diemcau-reboot") == NOTHING
    asked = room.python(ASK + "print(json.dumps(ask(do='nonce')))", user="diemcau")
    assert json.loads(asked)["ok"]["reboot_nonce"] == status(room)["reboot_nonce"]
    devices = status(room, "health")["devices"]
    assert {name: device["readings"]["confined"] for name, device in devices.items()} == dict.fromkeys(
        ("camera", "microphone", "speaker", "display", "panel"), True
    ), "the unit lets a device's process shut itself in"
    for module in ("videodev", "mc", "snd", "cec", "drm"):  # this kernel has none of them, perhaps
        assert room.property(f"modprobe@{module}", "LoadState") == "loaded"
        assert room.property(f"modprobe@{module}", "Result") == "success"
        assert int(room.property(f"modprobe@{module}", "ExecMainStartTimestampMonotonic")) > 0, "it has run"
    assert room.property("diemcau-agent", "NRestarts") == "0"
    assert "SIGSYS" not in room.journal("diemcau-agent")


WRITE = (
    "import os, sys; new, text = sys.argv[1:]; open(new + '-', 'w').write(text); os.replace(new + '-', new)"
)
LOOK = "from diemcau_agent.update.system import System as S; print(S(Path('/run'), Path(sys.argv[1])).look())"


def test_wrong_settings_are_told_once_and_mended_ones_bring_the_agent_back(room: Machine) -> None:
    settings = "/etc/diemcau/agent.toml"
    right = room.run("cat", settings)

    def states() -> tuple[str, str]:
        units = ("diemcau-agent.service", "diemcau-settings.path")
        agent, path = (room.property(unit, "SubState") for unit in units)
        return agent, path

    until(lambda: room.property("diemcau-agent", "StatusText") == "ready", room)
    assert states() == ("running", "dead")
    room.python(WRITE, settings, right.replace("point =", "poin ="))
    assert states() == ("running", "dead"), "one that runs has read them"
    with pytest.raises(AssertionError, match="failed"):
        room.run("systemctl", "restart", "diemcau-agent")
    assert states() == ("failed", "waiting"), "and not about to be started again"
    assert room.journal("diemcau-agent").count("poin: unknown key") == 1
    # What the updater asks: it takes a version back that does not run.
    assert (
        room.python(f"import sys; from pathlib import Path; {LOOK}", "/run/diemcau/control.sock") == "None\n"
    )

    room.python(WRITE, settings, "not even TOML")
    until(lambda: "agent.toml: not TOML" in room.journal("diemcau-agent"), room)
    until(lambda: states() == ("failed", "waiting"), room)
    room.python(WRITE, settings, right)
    until(lambda: room.property("diemcau-agent", "StatusText") == "ready", room)
    assert states() == ("running", "dead")

    # It has to be started by whoever stops it, and is by systemd where it dies.
    room.run("systemctl", "kill", "--signal=KILL", "diemcau-agent")
    until(lambda: room.property("diemcau-agent", "NRestarts") == "1", room)
    until(lambda: states() == ("running", "dead"), room)


def test_the_machine_restarts_for_an_operator_and_for_nobody_else(room: Machine) -> None:
    until(lambda: status(room)["reboot_nonce"] is not None, room)
    nonce = status(room)["reboot_nonce"]
    refused = room.python(
        ASK
        + f"""
print(json.dumps([
    ask(do="reboot", command=command("op-1", reboot_nonce="{nonce}")),
    ask(do="keys", list=signing.key_list(signing.key("op-1")).decode()),
    ask(do="reboot", command=command("mallory", reboot_nonce="{nonce}")),
    ask(do="reboot", command=command("op-1", reboot_nonce="00")),
]))""",
        user="diemcau",
    )
    codes = [answer.get("error", {}).get("code") for answer in json.loads(refused)]
    assert codes == ["unknown_key", None, "bad_signature", "bad_nonce"]
    order = f'print(json.dumps(ask(do="reboot", command=command("op-1", reboot_nonce="{nonce}"))))'
    other = json.loads(room.python(ASK + "print(answers.readline().decode())", user="nobody"))
    assert other["error"]["code"] == "not_permitted"
    assert not room.ended
    with pytest.raises(AssertionError, match="Permission denied"):  # where the socket's own mode stands
        room.run(
            "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
            "/opt/diemcau/bin/python", "-c", ASK,
        )  # fmt: skip
    assert json.loads(room.python(ASK + order, user="diemcau")) == {"ok": {"restarting": True}}
    ends_s = time.monotonic() + 40
    while not room.ended:
        assert time.monotonic() < ends_s, room.log
        time.sleep(0.1)


def test_the_agent_may_write_what_udev_gives_it_of_a_device_and_nothing_else_in_sys(machine: Machine) -> None:
    """As a panel's brightness. No machine here has a panel: it is tried on this one's loopback, whose
    ``ifalias`` the kernel refuses to whoever has no CAP_NET_ADMIN, but only once it could be opened."""
    machine.run("chgrp", "video", "/sys/class/net/lo/ifalias")
    machine.run("chmod", "g+w", "/sys/class/net/lo/ifalias")
    machine.python(WRITE, "/opt/diemcau/writes.py", TRY_TO_WRITE)
    drop_ins = "/etc/systemd/system/diemcau-agent.service.d"
    program = "Type=exec\nRestart=no\nExecStart=\nExecStart=/opt/diemcau/bin/python /opt/diemcau/writes.py\n"
    machine.python(WRITE, f"{drop_ins}/writes.conf", f"[Service]\nWatchdogSec=0\n{program}")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "diemcau-agent")
    until(lambda: "told: " in machine.journal("diemcau-agent"), machine)
    told = machine.journal("diemcau-agent").partition("told: ")[2].splitlines()[0]
    assert json.loads(told) == {"ifalias": "write: EPERM", "mtu": "EACCES", "else": []}


def test_the_reflector_answers_under_its_unit(machine: Machine) -> None:
    machine.run("systemctl", "start", "diemcau-reflector")
    until(lambda: "862" in machine.run("ss", "-lnu"), machine)
    said = machine.run("/opt/diemcau/bin/diemcau-agent", "probe", "127.0.0.1", "--count", "20", "--json")
    assert json.loads(said)["loss_percent"] == 0
    bind_only = {**NOTHING, "CapEff": f"{1 << 10:016x}", "CapBnd": f"{1 << 10:016x}"}
    assert confinement(machine, "diemcau-reflector") == bind_only


def test_whether_the_clock_is_synced_is_known_where_the_kernel_may_not_be_asked(machine: Machine) -> None:
    asked = "from diemcau_agent.clock import kernel_clock_synced as synced; print(synced())"
    protected = (
        "systemd-run", "--quiet", "--wait", "--pipe", "--property=ProtectClock=yes",
        "/opt/diemcau/bin/python", "-c", asked,
    )  # fmt: skip
    machine.run("mkdir", "-p", "/run/systemd/timesync")
    assert machine.run(*protected) == "False\n"
    machine.run("touch", "/run/systemd/timesync/synchronized")
    assert machine.run(*protected) == "True\n"


def test_the_collector_hears_rooms_under_its_unit(room: Machine) -> None:
    """Its hardening, but without TLS: the certificates are another test's."""
    room.run("mkdir", "-p", "/etc/systemd/system/diemcau-collector.service.d")
    room.python(
        "import sys; open(sys.argv[1], 'w').write(sys.argv[2])",
        "/etc/systemd/system/diemcau-collector.service.d/plain.conf",
        "[Service]\nLoadCredential=\nExecStart=\nExecStart=/opt/diemcau/bin/diemcau-fleet collect "
        "--broker mqtt://127.0.0.1:1883 --db ${STATE_DIRECTORY}/collector.sqlite3\n",
    )
    room.run("systemctl", "daemon-reload")
    room.run("systemctl", "start", "diemcau-collector")
    count = (
        "import sqlite3; print(sqlite3.connect('file:/var/lib/private/diemcau-collector/collector.sqlite3"
        "?mode=ro', uri=True).execute('SELECT count(*) FROM held').fetchone()[0])"
    )
    until(lambda: int(room.python(count)) > 0, room)
    assert confinement(room, "diemcau-collector") == NOTHING

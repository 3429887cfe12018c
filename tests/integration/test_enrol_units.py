"""A first boot in 1970 with the units as they are, under a real systemd: the enrolment, which speaks to the
fleet's own EST server and may not set a clock, and the unit that sets it and speaks to nobody.

Their clock is libfaketime's. The kernel's own is nobody's to set from here: what would set it is stopped on
its way, and in a user namespace the kernel refuses it as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit_in_1970 import FAKETIME
from machine import POINT, Machine

# A whole system boots, on two busy cores.
pytestmark = [pytest.mark.machine, pytest.mark.timeout(90)]

# Whether *this* machine's clock is kept plays no part: adjtimex is refused, and timesyncd does not run.
DROP_IN = f"""
[Service]
Environment=LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE=/run/faketime/at FAKETIME_NO_CACHE=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 TZ=UTC
SystemCallFilter=~adjtimex clock_adjtime
PrivateUsers=yes
ReadWritePaths=/run/faketime
"""
# Python imports it first. The kernel looks at the time before it looks at who asks: of one before 1970 it
# says EINVAL where the unit's filter lets the call through, and EPERM comes from the filter.
SITECUSTOMIZE = """
import errno, json, os, select, socket, time
if "FAKETIME_TIMESTAMP_FILE" in os.environ:
    really = time.clock_settime
    def refusal(call, *arguments):
        try:
            call(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno]
    def clock_settime(clock, wall_s):
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        told = {name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
        kinds = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        told["sockets"] = [refusal(socket.socket, kind) for kind in kinds]
        told["filter"] = refusal(really, clock, -1)
        told["writes"] = refusal(open, "/var/lib/diemcau/identity/identity.pem", "a")
        told["wall_s"] = wall_s
        with open("/run/faketime/told", "a") as file:
            file.write(json.dumps(told) + "\\n")
        with open("/run/faketime/at", "w") as file:
            file.write(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wall_s)))
    time.clock_settime = clock_settime
    # libfaketime makes years of an absolute time to wake up at, also of the clock that it leaves alone.
    time.sleep = lambda seconds: select.select((), (), (), seconds)
"""
WRITE = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
BEGINS = """
from cryptography import x509
pem = open("/var/lib/diemcau/identity/identity.pem", "rb").read()
print(x509.load_pem_x509_certificate(pem).not_valid_before_utc.timestamp())
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def kit(machine: Machine) -> Machine:
    """The technician has copied the three files; the office's server runs; it is a minute after 1970."""

    def fleet(*arguments: str) -> None:
        machine.run("/opt/diemcau/bin/diemcau-fleet", *arguments, "--dir", "/var/lib/diemcau-fleet")

    fleet("ca", "init")
    fleet("ca", "server", "est", "--san", "localhost", "--out", "/etc/diemcau/est")
    fleet(
        "kit", "add", POINT, "--est-url", "https://localhost:8443", "--broker-url", "mqtts://broker.example",
        "--out", "/run/given",
    )  # fmt: skip
    machine.run("install", "-m", "644", "/run/given/agent.toml", "/run/given/ca.pem", "/etc/diemcau/")
    machine.run("install", "-m", "600", "/run/given/token", "/etc/diemcau/")
    machine.run("systemctl", "start", "diemcau-est")
    for unit in ("diemcau-enrol", "diemcau-clock"):
        machine.run("mkdir", f"/etc/systemd/system/{unit}.service.d")
        machine.python(WRITE, f"/etc/systemd/system/{unit}.service.d/in-1970.conf", DROP_IN)
    machine.python(WRITE, "/opt/diemcau/lib/sitecustomize.py", SITECUSTOMIZE)
    machine.run("install", "-d", "-o", "diemcau", "-g", "diemcau", "/run/faketime")
    in_1970(machine)
    machine.run("systemctl", "daemon-reload")
    return machine


def in_1970(machine: Machine) -> None:
    machine.python(WRITE, "/run/faketime/at", "1970-01-01 00:01:00")
    machine.run("chown", "diemcau:", "/run/faketime/at")


def enrol(machine: Machine) -> None:
    try:
        machine.run("systemctl", "start", "diemcau-enrol")
    except AssertionError as error:
        raise AssertionError(machine.run("journalctl", "--no-pager", "-n", "60")) from error


def test_a_first_boot_in_1970_enrols_and_what_speaks_to_the_network_sets_no_clock(kit: Machine) -> None:
    kernel_s = time.time() - time.monotonic()
    enrol(kit)
    said = kit.journal("diemcau-enrol")
    assert f"{POINT}, đến" in said
    assert "Đã chỉnh đồng hồ tới trước." in said
    begins_s = float(kit.python(BEGINS))
    assert begins_s == pytest.approx(time.time(), abs=120)
    (told,) = [json.loads(line) for line in kit.run("cat", "/run/faketime/told").splitlines()]
    assert told == {
        "CapEff": f"{1 << 25:016x}", "CapBnd": f"{1 << 25:016x}", "NoNewPrivs": "1", "Seccomp": "2",
        "sockets": ["EAFNOSUPPORT"] * 3, "filter": "EINVAL", "writes": "EROFS", "wall_s": begins_s,
    }  # fmt: skip
    for name in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert kit.property("diemcau-enrol", name) == ""
    assert kit.property("diemcau-clock.path", "Result") == "success"
    assert "token" not in kit.run("ls", "/etc/diemcau")

    in_1970(kit)  # the next boot
    enrol(kit)
    (_, told) = [json.loads(line) for line in kit.run("cat", "/run/faketime/told").splitlines()]
    assert told["wall_s"] == begins_s
    said = kit.journal("diemcau-enrol")
    assert "Không cần làm gì" in said
    assert said.count("Đã chỉnh đồng hồ tới trước.") == 1, "this time the clock was there first"
    assert time.time() - time.monotonic() == pytest.approx(kernel_s, abs=1.0), (
        "this machine's own was left alone"
    )

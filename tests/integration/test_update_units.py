"""An update under a real systemd, by the units as they are: what they take away leaves dpkg and its scripts
all they need, and the updater nothing more than to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machine import Machine
from test_units import confinement, until

pytestmark = [pytest.mark.machine, pytest.mark.timeout(200)]

# As a package's: it starts the agent of its own version, and what systemd has to know again is told.
BUILD = """
import subprocess, sys
from pathlib import Path
version, folder = sys.argv[1], Path("/root/build") / sys.argv[1]
module = folder / "opt/diemcau/lib/diemcau_agent/__init__.py"
for place in (module.parent, folder / "DEBIAN", folder / "usr/lib/systemd/system"):
    place.mkdir(parents=True)
module.write_text(f'__version__ = "{version}"\\n')
arch = subprocess.check_output(("dpkg", "--print-architecture"), text=True).strip()
(folder / "usr/lib/systemd/system/diemcau-extra.service").write_text("[Service]\\nExecStart=/bin/true\\n")
(folder / "DEBIAN/control").write_text(
    f"Package: diemcau\\nVersion: {version}\\nArchitecture: {arch}\\nMaintainer: n <n@e>\\nDescription: d\\n")
script = folder / "DEBIAN/postinst"
script.write_text("#!/bin/sh\\nset -e\\nsystemd-sysusers diemcau.conf\\n"
    "chown root:diemcau /etc/diemcau/agent.toml\\nrm -rf /opt/diemcau/lib/diemcau_agent/__pycache__\\n"
    "systemctl daemon-reload\\nsystemctl restart diemcau-agent || true\\n")
script.chmod(0o755)
built = f"/tmp/{version}.deb"
subprocess.run(("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(folder), built), check=True)
Path(built).chmod(0o644)
print(arch)
"""
ASK = """
import hashlib, json, socket, sys, time
import signing
from diemcau_agent.update import release
def ask(file=None, **request):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/diemcau-update.sock")
        if file is not None:
            socket.send_fds(connection, [b" "], [file.fileno()])
        connection.sendall(json.dumps(request).encode() + b"\\n")
        return json.loads(connection.makefile("rb").readline())
def install(version, arch):
    with open(f"/tmp/{version}.deb", "rb") as file:
        data = file.read()
        sha256, now_s = hashlib.sha256(data).hexdigest(), int(time.time())
        args = {"version": version, "url": "https://updates.example/d.deb", "sha256": sha256}
        claims = {"id": "command-1", "aud": "point/xp-0417", "verb": "update", "iss": "op-1", "iat": now_s,
                  "exp": now_s + 60, "args": args}
        signed = release.Release(version=version, arch=arch, sha256=sha256, size=len(data), serial=1)
        return ask(file, do="install", command=signing.signed(claims, "op-1").decode(),
                   release=release.sign(signed, signing.seed("release-1")).decode())
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A room whose agent is of the package 0.1.0, and ready."""
    with Machine(tmp_path) as made:
        made.run("systemd-run", "--quiet", "--unit=world", "/opt/diemcau/bin/python", "/opt/diemcau/world.py")
        made.run("systemd-run", "--quiet", "--unit=broker", "/usr/sbin/mosquitto", "-p", "1883")
        until(lambda: "world.sock" in made.run("ls", "/run/world"), made)
        made.python(BUILD, "0.1.0")
        made.run("dpkg", "--install", "/tmp/0.1.0.deb")
        made.run("systemctl", "start", "diemcau-update.socket")
        until(lambda: made.property("diemcau-agent", "StatusText") == "ready", made)
        yield made


def test_a_kit_is_updated_and_what_was_cut_short_is_ended_under_the_units(machine: Machine) -> None:
    arch = machine.python(BUILD, "0.2.0").strip().split("\n")[-1]
    keys = "print(json.dumps(ask(do='keys', list=signing.key_list(signing.key('op-1')).decode())))"
    assert json.loads(machine.python(ASK + keys, user="diemcau")) == {"ok": {"revision": 1}}
    found = confinement(machine, "diemcau-update")
    assert found == {"CapEff": "0" * 15 + "2", "CapBnd": "0" * 15 + "2", "NoNewPrivs": "1", "Seccomp": "2"}
    order = f"print(json.dumps(install('0.2.0', '{arch}')))"
    assert json.loads(machine.python(ASK + order, user="diemcau")) == {"ok": {"installing": True}}

    def pending() -> dict[str, Any]:
        record: dict[str, Any] = json.loads(machine.run("cat", "/var/lib/diemcau-update/record.json"))
        return record["pending"]

    until(lambda: pending()["step"] == "watching", machine)
    assert pending()["look"]["version"] == "0.1.0"  # the agent's socket is its own: root's process may ask
    machine.run("systemctl", "kill", "--signal=KILL", "diemcau-update")
    # There is no venv here: the link that the updater has made leads to this Python.
    machine.run("ln", "-sfn", "/opt/diemcau", "/var/lib/diemcau-update/before")
    machine.run("systemctl", "start", "diemcau-update-finish")
    until(lambda: machine.property("diemcau-update-finish", "ActiveState") == "inactive", machine, 90)
    assert machine.property("diemcau-update-finish", "Result") == "success"
    ending = "print(json.dumps(ask(do='ending', id='command-1')))"
    answer = json.loads(machine.python(ASK + ending, user="diemcau"))
    log = machine.run("journalctl", "--no-pager", "-n", "80")
    assert answer == {"ok": {"state": "installed", "before": "0.1.0", "to": "0.2.0", "reason": ""}}, log
    assert machine.run("dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", "diemcau") == "ii 0.2.0"
    assert machine.property("diemcau-agent", "StatusText") == "ready"
    assert "SIGSYS" not in log
    packed = machine.run("dpkg-deb", "--field", "/var/lib/diemcau-update/before.deb", "Version")
    assert packed.strip() == "0.1.0"

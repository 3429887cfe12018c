"""The read-only root under a real systemd, from its boot on: the agent gets on in it; nobody else writes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from diemcau_fleet.card import contents
from machine import Machine

# A whole system boots, on two busy cores.
pytestmark = [pytest.mark.machine, pytest.mark.timeout(90)]
WALLED = """
[Service]
Type=oneshot
PrivateDevices=yes
ProtectHome=yes
RestrictNamespaces=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
ExecStart=/usr/local/sbin/diemcau-root hold dpkg
ExecStart=/bin/sh -euc '/usr/local/sbin/diemcau-root rw 2>/dev/null || echo walled >/usr/%i'
ExecStart=/usr/local/sbin/diemcau-root release dpkg
"""


class CardMachine(Machine):
    """A machine whose card `diemcau-fleet card` has prepared, after its first boot."""

    def _lay_out(self, kit: Path) -> None:
        super()._lay_out(kit)
        shutil.copytree(contents.image_files() / "files", kit, dirs_exist_ok=True)
        (kit / "etc/systemd/system/diemcau-update-dpkg@.service").write_text(WALLED)
        wants = kit / "etc/systemd/system/local-fs.target.wants"
        wants.mkdir()
        (wants / "diemcau-root.service").symlink_to("/etc/systemd/system/diemcau-root.service")


def test_the_agent_is_ready_on_a_root_that_nobody_else_can_write_to(tmp_path: Path) -> None:
    with CardMachine(tmp_path) as machine:
        for unit in ("diemcau-root.service", "local-fs.target"):
            assert machine.run("systemctl", "is-active", unit).strip() == "active"
        assert "ro" in machine.run("findmnt", "--noheadings", "--output", "VFS-OPTIONS", "/").strip().split(
            ","
        )
        for closed in ("/usr/new", "/etc/new", "/root/new", "/opt/diemcau/new"):
            with pytest.raises(AssertionError, match="Read-only file system"):
                machine.run("touch", closed)
        machine.run("touch", "/var/lib/new", "/etc/diemcau/new")
        machine.run(
            "systemd-run", "--quiet", "--unit=world", "/opt/diemcau/bin/python", "/opt/diemcau/world.py"
        )
        machine.run("systemd-run", "--quiet", "--unit=broker", "/usr/sbin/mosquitto", "-p", "1883")
        machine.run("systemctl", "start", "diemcau-agent")  # Type=notify: back when it is READY
        ends_s = time.monotonic() + 40
        while True:
            files = machine.run("ls", "/var/lib/diemcau")
            if "spool" in files:
                break
            assert time.monotonic() < ends_s, files
            time.sleep(0.2)
        assert machine.run("systemctl", "is-active", "diemcau-agent").strip() == "active"


def test_an_update_opens_the_root_around_a_dpkg_that_may_not_mount(tmp_path: Path) -> None:
    """The walls are those of diemcau-update-dpkg@.service, the drop-in is the card's."""
    with CardMachine(tmp_path) as machine:
        machine.run("systemctl", "start", "diemcau-update-dpkg@new")
        assert machine.run("cat", "/usr/new").strip() == "walled"
        until_closed(machine)


def until_closed(machine: Machine) -> None:
    """systemd stops what nobody needs any more by itself, soon."""
    ends_s = time.monotonic() + 20
    while "ro" not in machine.run("findmnt", "--noheadings", "--output", "VFS-OPTIONS", "/").strip().split(
        ","
    ):
        assert time.monotonic() < ends_s
        time.sleep(0.2)
    with pytest.raises(AssertionError, match="Read-only file system"):
        machine.run("touch", "/usr/after")

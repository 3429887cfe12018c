"""From a bare Debian to a room that is watched, as a technician does it, offline until it enrols."""

from __future__ import annotations

import json

import pytest

from room import AGENT, Room

pytestmark = [pytest.mark.hil, pytest.mark.quick, pytest.mark.timeout(900)]


def test_the_package_is_installed_whole_and_its_units_run(room: Room) -> None:
    state = room.kit.run("dpkg-query", "--show", "--showformat", "${db:Status-Status}", "diemcau")
    assert state == "installed"
    assert room.kit.unit_property(AGENT, "ActiveState") == "active"
    assert room.kit.unit_property("diemcau-reboot.socket", "ActiveState") == "active"
    assert room.kit.run("systemctl", "--failed", "--plain", "--no-legend") == ""


def test_the_kit_enrolled_itself_and_its_token_is_gone(room: Room) -> None:
    listed = room.kit.run("stat", "-c", "%U %a", "/var/lib/diemcau/identity/identity.pem")
    assert listed.split() == ["diemcau", "600"]
    room.kit.run("test", "!", "-e", "/etc/diemcau/token")


def test_the_agent_says_on_the_wire_what_it_stands_on(room: Room) -> None:
    """Through the broker's real rules: TLS of both sides, the certificate's name as the client's."""

    room.online()
    # Commands are signed: no JSON.
    assert [topic for topic in room.witness.strange if "/command/" not in topic] == []
    replies = room.centre.command("ping")
    assert replies[-1]["state"] == "done", replies


def test_the_simulator_is_not_in_the_package(room: Room) -> None:
    found = room.kit.shell("find /opt/diemcau/ /usr/share/diemcau/ -iname '*diemcau_sim*'")
    assert found == ""


def test_the_agents_memory_and_processes_are_told(room: Room) -> None:
    """The daemon alone, in MB; the devices' processes come and go."""
    pid = room.kit.unit_property(AGENT, "MainPID")
    resident = room.kit.shell(f"sed -n 's/^VmRSS:[^0-9]*//p' /proc/{pid}/status")
    assert int(resident.split()[0]) < 60 * 1024, resident
    assert json.loads(room.kit.run("/opt/diemcau/bin/diemcau-agent", "status", "--json", check=False))

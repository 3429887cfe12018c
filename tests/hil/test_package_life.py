"""Upgrade, a broken upgrade, downgrade and purge on the kit itself: what a room has learnt stays, until it is
to go. Each but the purge by a signed order, over the wire, to root's updater."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from centre import POINT
from made import made
from room import AGENT, Room
from updates import sick
from virtual_kit import VirtualKit

pytestmark = [pytest.mark.hil, pytest.mark.timeout(2400)]

NEXT, SICK = "99.0.0", "99.1.0"
UPDATE_S = 900
"""Two packages made and installed by emulated instructions, and three minutes to look at each."""
KEPT = "cat /etc/diemcau/agent.toml /var/lib/diemcau/identity/identity.pem | sha256sum"


@pytest.fixture(scope="session")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package, of a later version."""
    return made("provisioning/package/build.sh", VERSION=NEXT, OUT=str(tmp_path_factory.mktemp("upgrade")))


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    healthy = made("provisioning/package/build.sh", VERSION=SICK, OUT=str(folder / "healthy"))
    return sick(healthy, folder)


@pytest.fixture
def bare(image: Path, tmp_path: Path) -> Iterator[VirtualKit]:
    with VirtualKit(image, tmp_path) as kit:
        yield kit


def test_upgrade_broken_upgrade_and_downgrade_keep_settings_identity_and_spool(
    room: Room, package: Path, upgrade: Path, broken: Path
) -> None:
    room.online()
    for device in ("panel", "camera", "display"):
        room.until_code(device, None, 240)
    first = installed(room)
    kept, spools = room.kit.shell(KEPT), {name[1] for name in room.witness.of(POINT)}

    reply = room.centre.update(upgrade, wait_s=UPDATE_S)
    assert reply["state"] == "done", (reply, room.kit.journal("diemcau-update"))
    assert installed(room) == NEXT

    reply = room.centre.update(broken, wait_s=UPDATE_S)
    assert (reply["state"], "rolled_back" in reply["rest"]) == ("failed", True), reply
    assert installed(room) == NEXT
    told = room.witness.kinds(POINT, "update")[-1]
    assert (told["code"], told["data"]["state"]) == ("rolled_back", "rolled_back"), told
    assert "not READY" in told["data"]["reason"], told

    reply = room.centre.update(package, "--downgrade", wait_s=UPDATE_S)
    assert reply["state"] == "done", (reply, room.kit.journal("diemcau-update"))
    assert installed(room) == first

    assert room.kit.shell(KEPT) == kept
    assert {name[1] for name in room.witness.of(POINT)} == spools
    assert len(spools) == 1


def installed(room: Room) -> str:
    """The version that dpkg, the program and the wire agree on, of an agent that runs."""
    room.online()
    version = room.kit.run("dpkg-query", "--show", "--showformat", "${Version}", "diemcau")
    assert room.kit.run("/opt/diemcau/bin/diemcau-agent", "--version").split()[-1] == version
    assert room.health()["birth"]["software"]["version"] == version
    assert room.kit.unit_property(AGENT, "ActiveState") == "active"
    return version


def test_a_purge_leaves_nothing_of_the_room(bare: VirtualKit, package: Path) -> None:
    bare.copy(package, "/root/diemcau.deb")
    bare.run("dpkg", "--install", "/root/diemcau.deb", timeout_s=400)
    bare.shell("mkdir -p /var/lib/diemcau/identity; echo secret >/var/lib/diemcau/identity/identity.pem")
    bare.run("dpkg", "--remove", "diemcau", timeout_s=120)
    assert bare.shell("ls /var/lib/diemcau/identity") == "identity.pem\n"
    bare.run("dpkg", "--purge", "diemcau", timeout_s=120)
    left = bare.shell(
        "find /etc /opt /var /usr/share /usr/lib -path '*diemcau*' -not -path '*/dpkg/*' "
        "-not -path '*/diemcau-agent.service.d*' | sort"  # the virtual kit's own
    )
    assert left == "", left

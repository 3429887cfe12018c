"""Upgrade, downgrade and purge on the kit itself: what a room has learnt stays, until it is to go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from centre import POINT
from made import made
from room import AGENT, Room
from virtual_kit import VirtualKit

pytestmark = [pytest.mark.hil, pytest.mark.timeout(900)]

NEXT = "99.0.0"


@pytest.fixture(scope="session")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package, of a later version."""
    folder = tmp_path_factory.mktemp("upgrade")
    return made("provisioning/package/build.sh", VERSION=NEXT, OUT=str(folder))


@pytest.fixture
def bare(image: Path, tmp_path: Path) -> Iterator[VirtualKit]:
    with VirtualKit(image, tmp_path) as kit:
        yield kit


def test_an_upgrade_and_a_downgrade_keep_settings_identity_and_spool(
    room: Room, upgrade: Path, package: Path
) -> None:
    room.online()
    kept = "cat /etc/diemcau/agent.toml /var/lib/diemcau/identity/identity.pem | sha256sum"
    before, spools = room.kit.shell(kept), {name[1] for name in room.witness.of(POINT)}
    for deb, version in ((upgrade, NEXT), (package, "")):
        session = room.witness.statuses[POINT]["session"]
        room.install(deb)
        assert room.witness.until(lambda s=session: room.witness.statuses[POINT]["session"] > s, 120)
        room.online()
        assert version in room.kit.run("/opt/diemcau/bin/diemcau-agent", "--version")
        assert room.kit.unit_property(AGENT, "ActiveState") == "active"
    assert room.kit.shell(kept) == before
    room.centre.command("config", "get=true")
    assert {name[1] for name in room.witness.of(POINT)} == spools
    assert len(spools) == 1


def test_a_purge_leaves_nothing_of_the_room(bare: VirtualKit, package: Path) -> None:
    bare.copy(package, "/root/diemcau.deb")
    bare.run("dpkg", "--install", "/root/diemcau.deb", timeout_s=400)
    bare.shell("mkdir -p /var/lib/diemcau/identity; echo secret >/var/lib/diemcau/identity/identity.pem")
    bare.run("dpkg", "--remove", "diemcau", timeout_s=120)
    assert bare.shell("ls /var/lib/diemcau/identity") == "identity.pem\n"
    bare.run("dpkg", "--purge", "diemcau", timeout_s=120)
    left = bare.shell(
        "find /etc /opt /var /usr/share /usr/lib -path '*diemcau*' -not -path '*/dpkg/*' | sort"
    )
    assert left == "", left

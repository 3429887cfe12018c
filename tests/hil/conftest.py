"""What the tests on real drivers stand on: one virtual kit for all of them, its package installed as a
technician would, its agent on a centre of its own. Where this machine cannot run them, they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from centre import Centre
from made import made
from room import Room
from virtual_kit import VirtualKit
from witness import Witness


@pytest.fixture(scope="session")
def image() -> Path:
    return made("provisioning/virtual-kit/image.sh")


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb that is tested: DIEMCAU_DEB, else one made now."""
    given = os.environ.get("DIEMCAU_DEB")
    return Path(given) if given else made("provisioning/package/build.sh")


@pytest.fixture(scope="session")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    with Centre(tmp_path_factory.mktemp("centre")) as centre:
        yield centre


@pytest.fixture(scope="session")
def kit(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualKit]:
    """Up, and bare."""
    with VirtualKit(image, tmp_path_factory.mktemp("kit")) as kit:
        yield kit


@pytest.fixture(scope="session")
def witness(centre: Centre) -> Iterator[Witness]:
    witness = centre.witness()
    yield witness
    witness.close()


@pytest.fixture(scope="session")
def room(kit: VirtualKit, centre: Centre, witness: Witness, package: Path) -> Room:
    """Installed, enrolled, and the agent online."""
    room = Room(kit, centre, witness)
    room.install(package)
    room.enrol()
    return room

"""What the tests on real drivers stand on: one virtual kit for all of them, its package installed as a
technician would, its agent on a centre of its own. Where this machine cannot run them, they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from centre import Centre
from room import Room
from virtual_kit import VirtualKit
from witness import Witness

REPOSITORY = Path(__file__).parents[2]


def _made(*script: str) -> Path:
    """The last line that one of our scripts prints is where it put its work."""
    done = subprocess.run(script, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, f"{script[0]}: ended with {done.returncode}"
    return REPOSITORY / done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def image() -> Path:
    return _made("provisioning/virtual-kit/image.sh")


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb that is tested: DIEMCAU_DEB, else one made now."""
    given = os.environ.get("DIEMCAU_DEB")
    return Path(given) if given else _made("provisioning/package/build.sh")


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

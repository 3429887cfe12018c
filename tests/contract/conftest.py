"""One suite a device, over every backend there is (backends.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import Row
from diemcau_sim.server import serving
from diemcau_sim.world import World
from rigs import Rig, build


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """The backend of the row that the test is parametrised with (``indirect``)."""
    row: Row = request.param
    rig = build(row, tmp_path, monkeypatch)
    yield rig
    rig.end()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def world_socket(world: World, tmp_path: Path) -> Iterator[Path]:
    """The path at which ``world`` is served."""
    with serving(world, tmp_path / "world.sock") as server:
        yield server.path

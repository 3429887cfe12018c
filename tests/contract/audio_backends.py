"""What the sound contract runs on: the simulated room, and real PortAudio on a private PipeWire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends import ROOM, Row
from diemcau_drivers.backends import load
from diemcau_drivers.interfaces import AudioBackend
from diemcau_sim.acoustics import Acoustics
from diemcau_sim.pipewire import PipewireRoom
from diemcau_sim.server import serving
from diemcau_sim.world import World
from rigs import kit_options, wait_until

PIPEWIRE = "PipeWire"


def on(chosen: list[Row]) -> pytest.MarkDecorator:
    """Runs a test on each of these rows; those on PipeWire are marked as such."""
    parameters = [
        pytest.param(row, id=row.id, marks=[pytest.mark.pipewire] if row.ground == PIPEWIRE else [])
        for row in chosen
    ]
    return pytest.mark.parametrize("sound", parameters, indirect=True)


@dataclass(frozen=True)
class SoundRig:
    """A backend, how to make another one like it, and the room below (None on a real device)."""

    backend: AudioBackend
    another: Callable[[], AudioBackend]
    world: World | None

    def arrange(self, fault: str, on: bool, arrived: Callable[[], bool]) -> None:
        """Set a fault of the room and wait until it has ``arrived`` below the backend."""
        assert self.world is not None, "nobody can arrange this on a real device"
        self.world.set_fault(fault, on)
        wait_until(arrived)


@pytest.fixture(scope="module")
def pipewire_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PipewireRoom, World]]:
    """One for the module: it starts in half a second."""
    world = World()
    with PipewireRoom(Acoustics(world, mixer=False), world, tmp_path_factory.mktemp("pw")) as room:
        yield room, world


@pytest.fixture
def sound(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SoundRig]:
    row: Row = request.param
    factory = load(row.process, row.backend)
    if row.ground == ROOM:
        world = World()
        with serving(world, tmp_path / "world.sock") as server:
            yield from _rig(lambda: factory({"socket": str(server.path)}), world)
    elif row.ground == PIPEWIRE:
        room, world = request.getfixturevalue("pipewire_room")
        for name, value in room.env.items():
            monkeypatch.setenv(name, value)
        yield from _rig(lambda: factory({}), world)
        wait_until(room.agrees)  # what the test set on the server has come to the world
        world.clear_faults()
        world.set_microphone(gain_db=0.0)
        world.set_speaker(volume_percent=70.0)
        wait_until(room.agrees)
    else:
        yield from _rig(lambda: factory(kit_options(row)), None)


def _rig(another: Callable[[], AudioBackend], world: World | None) -> Iterator[SoundRig]:
    backend = another()
    yield SoundRig(backend, another, world)
    backend.close()

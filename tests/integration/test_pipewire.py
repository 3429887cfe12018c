"""The simulated room on a real sound server: what happens there happens to real PortAudio."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_process import AudioProcess, NoAnswer
from diemcau_drivers.audio import Audio
from diemcau_drivers.backends.alsa import CardMixer
from diemcau_drivers.backends.sounddevice import SounddeviceAudio
from diemcau_drivers.contract import Absent, Unsupported
from diemcau_drivers.measure.signals import RATE_HZ
from diemcau_sim import soundserver
from diemcau_sim.acoustics import Acoustics
from diemcau_sim.pipewire import PipewireRoom
from diemcau_sim.soundserver import SoundServerFailed
from diemcau_sim.world import World

pytestmark = pytest.mark.pipewire
BACKENDS = ("sounddevice", "pyaudio")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def the_room(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipewireRoom]:
    with PipewireRoom(Acoustics(world, mixer=False), world, tmp_path_factory.mktemp("pw")) as room:
        yield room


@pytest.fixture
def room(the_room: PipewireRoom, world: World) -> Iterator[PipewireRoom]:
    """Healthy before each test, whatever the one before it has done."""
    yield the_room
    the_room.freeze(False)
    wait_until(the_room.agrees)
    world.clear_faults()
    world.set_microphone(gain_db=0.0)
    world.set_speaker(volume_percent=70.0)
    wait_until(the_room.agrees)


@pytest.fixture
def audio(room: PipewireRoom, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audio]:
    """The device logic in this process, over sounddevice."""
    for name, value in room.env.items():
        monkeypatch.setenv(name, value)
    logic = Audio(SounddeviceAudio({}), {})
    yield logic
    logic.close()


def wait_until(condition: Any, seconds: float = 8.0) -> None:
    end_s, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end_s, "it never came to be so"
        pause.wait(0.02)


def living(directory: Path) -> list[str]:
    """Command lines of the processes whose environment names ``directory``."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        try:
            if str(directory).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def loop_until(audio: Audio, reading: str, least: float) -> float:
    """The best of six: a busy machine tears the sound now and then."""
    values: list[float] = []
    while len(values) < 6 and max(values, default=-999.0) < least:
        values.append(float(audio.handle("loop", {}).get(reading, -999.0)))
    return max(values)


def test_it_starts_quickly_and_leaves_nothing_behind(tmp_path: Path) -> None:
    world = World()
    before = set(threading.enumerate())
    room = PipewireRoom(Acoustics(world, mixer=False), world, tmp_path)
    begun_s = time.monotonic()
    room.start()
    started_s = time.monotonic() - begun_s
    assert len(living(tmp_path)) >= 6
    room.stop()
    assert living(tmp_path) == []
    assert started_s < 5
    assert set(threading.enumerate()) <= before
    room.stop()


def test_a_start_that_fails_midway_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("dbus-daemon", "pipewire", "wireplumber"):
        path = soundserver.shutil.which(name, path=soundserver.SEARCH_PATH)
        assert path is not None
        (bin_ / name).symlink_to(path)
    monkeypatch.setattr(soundserver, "SEARCH_PATH", str(bin_))
    world = World()
    with pytest.raises(SoundServerFailed, match="pipewire-pulse is not installed"):
        PipewireRoom(Acoustics(world, mixer=False), world, tmp_path).start()
    assert living(tmp_path) == []


def test_a_frozen_room_can_be_stopped(tmp_path: Path) -> None:
    world = World()
    with PipewireRoom(Acoustics(world, mixer=False), world, tmp_path):
        world.set_fault("audio_hung", True)
    assert living(tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_that_hangs_hangs_the_process_and_a_new_one_is_well(
    room: PipewireRoom, world: World, backend: str
) -> None:
    with AudioProcess(backend, room.env) as audio:
        assert audio.ask("probe", seconds=0.3)["microphone"]["error"] is None
        world.set_fault("audio_hung", True)
        wait_until(room.agrees)
        with pytest.raises(NoAnswer):
            audio.ask("probe", deadline_s=3.0, seconds=0.3)
    world.set_fault("audio_hung", False)
    wait_until(room.agrees)
    with AudioProcess(backend, room.env) as audio:
        assert audio.ask("probe", seconds=0.3)["microphone"]["error"] is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crash_takes_the_process_that_opens_a_stream(
    room: PipewireRoom, world: World, backend: str
) -> None:
    with AudioProcess(backend, room.env) as audio:
        world.set_fault("audio_crashed", True)
        assert audio.ask("probe", passive=True)["microphone"]["passive"], "nothing is opened, nothing crashes"
        with pytest.raises(EOFError):
            audio.ask("probe", seconds=3.0)
        assert audio.ended() == -signal.SIGSEGV
    world.set_fault("audio_crashed", False)
    with AudioProcess(backend, room.env) as audio:
        assert audio.ask("probe", seconds=0.3)["microphone"]["error"] is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_process_stays_small(room: PipewireRoom, backend: str) -> None:
    with AudioProcess(backend, room.env) as audio:
        audio.ask("probe", passive=True)
        assert audio.pss_mib() < 20, "a passive look needs no numpy"
        audio.ask("probe", seconds=1.0)
        audio.ask("loop")
        assert audio.pss_mib() < 45


@pytest.mark.parametrize("device", ["microphone", "speaker"])
def test_what_is_unplugged_while_in_use_is_absent(
    audio: Audio, room: PipewireRoom, world: World, device: str
) -> None:
    """The stream itself raises no error: the server moves it elsewhere in silence."""
    pull = threading.Timer(0.8, world.set_fault, args=(f"{device}_absent", True))
    pull.start()
    with pytest.raises(Absent):
        audio.handle("loop", {})
    pull.join()


def test_what_another_client_sets_comes_into_the_world(
    audio: Audio, room: PipewireRoom, world: World
) -> None:
    muted = {"muted": True, "gain_db": -6.0, "muted_by": "kit"}
    assert audio.handle("microphone", {"mute": True, "gain_db": -6.0}) == muted
    assert audio.handle("speaker", {"volume_percent": 40}) == {"muted": False, "volume_percent": 40.0}
    wait_until(lambda: "microphone_muted" in world.faults and world.speaker.volume_percent == 40.0)
    assert world.microphone.gain_db == pytest.approx(-6.0, abs=0.05)


def test_what_the_world_sets_comes_to_the_server(audio: Audio, room: PipewireRoom, world: World) -> None:
    world.set_fault("speaker_muted", True)
    world.set_microphone(gain_db=3.0)
    wait_until(room.agrees)
    assert audio.handle("speaker", {})["muted"] is True
    assert audio.handle("microphone", {})["gain_db"] == pytest.approx(3.0, abs=0.05)


def test_a_device_that_comes_back_is_set_as_it_was(audio: Audio, room: PipewireRoom, world: World) -> None:
    audio.handle("speaker", {"volume_percent": 40, "mute": True})
    wait_until(lambda: "speaker_muted" in world.faults)
    room.remove("speaker")
    room.restore("speaker")
    assert audio.handle("speaker", {}) == {"muted": True, "volume_percent": 40.0}


@pytest.mark.parametrize(
    ("fault", "reading", "least"),
    [("room_echo", "echo_db", -6), ("speaker_distorted", "distortion_percent", 10)],
)
def test_an_echo_and_a_torn_cone_are_heard_through_the_server(
    audio: Audio, room: PipewireRoom, world: World, fault: str, reading: str, least: float
) -> None:
    world.set_fault(fault, True)
    assert loop_until(audio, reading, least) > least


def test_a_dead_amplifier_is_not_heard(audio: Audio, room: PipewireRoom, world: World) -> None:
    world.set_fault("speaker_silent", True)
    assert not audio.handle("loop", {})["found"]


def test_amixer_reads_and_sets_a_real_mixer(room: PipewireRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """ALSA's control of the sound server is the one mixer here that amixer can talk to; it tells no dB."""
    for name, value in room.env.items():
        monkeypatch.setenv(name, value)
    mixer = CardMixer("pulse")
    assert mixer.read("microphone") == {"muted": False}
    assert mixer.read("speaker") == {"muted": False, "volume_percent": 70.0}
    mixer.set("speaker", {"volume_percent": 30.0, "muted": True})
    mixer.set("microphone", {"muted": True})
    assert mixer.read("speaker") == {"muted": True, "volume_percent": 30.0}
    assert mixer.read("microphone") == {"muted": True}
    with pytest.raises(Unsupported):
        mixer.set("microphone", {"gain_db": -6.0})


@pytest.mark.usefixtures("audio")
def test_recordings_last_as_long_as_the_sound_does() -> None:
    """A loopback without a clock returns at once, and proves nothing."""
    backend = SounddeviceAudio({})
    begun_s = time.monotonic()
    samples = backend.record(1.0)
    assert time.monotonic() - begun_s >= 1.0
    assert samples.size == RATE_HZ


def test_the_room_touches_no_other_sound_server(room: PipewireRoom) -> None:
    listing = subprocess.run(
        ["pactl", "list", "short", "cards"],
        env={**os.environ, **room.env},
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    assert listing.stdout == "", "no hardware of this machine is in it"

"""The backends on the world: what each of contract.py's interfaces promises, under faults and in use."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from diemcau_drivers.backends import load
from diemcau_drivers.contract import (
    HOST_READINGS,
    INTERFACE_READINGS,
    PROCESSES,
    Absent,
    BadRequest,
    Broken,
    Busy,
)
from diemcau_sim.backends import (
    BACKENDS,
    SimAudio,
    SimCamera,
    SimDisplay,
    SimHost,
    SimPanel,
    SimPresence,
)
from diemcau_sim.server import serving
from diemcau_sim.world import World

T = TypeVar("T")


class Kit:
    """The world, and backends on it that are closed at the end."""

    def __init__(self, world: World, socket: Path) -> None:
        self.world = world
        self.options: dict[str, Any] = {"socket": str(socket), "presets": {"table": (2.0, 0.5, 0.6)}}
        self._made: list[Any] = []

    def make(self, backend: Callable[[Mapping[str, Any]], T], **more: Any) -> T:
        made = backend({**self.options, **more})
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    world = World()
    with serving(world, tmp_path / "world.sock") as server:
        kit = Kit(world, server.path)
        yield kit
        kit.close()


def test_every_process_has_a_backend_and_the_drivers_find_it() -> None:
    assert set(BACKENDS) == set(PROCESSES)
    for process in PROCESSES:
        assert load(process, "sim") is BACKENDS[process]


@pytest.mark.parametrize("process", PROCESSES)
def test_without_a_socket_none_begins(process: str) -> None:
    with pytest.raises(BadRequest, match=r"backend_options\.socket"):
        BACKENDS[process]({})


def test_panel_display_presence_and_host_stay_light(kit: Kit) -> None:
    program = (
        "import sys\n"
        "from diemcau_sim.backends import BACKENDS\n"
        f"options = {{'socket': {kit.options['socket']!r}}}\n"
        "panel = BACKENDS['panel'](options); panel.start(print); panel.light(0, 1, 0)\n"
        "BACKENDS['display'](options).power(); BACKENDS['presence'](options).present()\n"
        "BACKENDS['host'](options).probe(); panel.close()\n"
        "print([name for name in ('numpy', 'PIL', 'asyncio') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=15.0, check=True)
    assert ran.stdout.decode().strip() == "[]"


def test_the_camera_is_opened_seen_and_moved(kit: Kit) -> None:
    camera = kit.make(SimCamera)
    assert camera.identity()["serial"] == "sim-camera-1"
    assert set(camera.capabilities()) == {"power", "zoom", "preset", "snapshot"}
    with pytest.raises(Broken, match="not open"):
        camera.grab(1)
    camera.open()
    frames, fps = camera.grab(3)
    assert (len(frames), frames[0].shape, frames[0].dtype, fps) == (3, (480, 640), np.uint8, 30.0)
    camera.set_preset("table")
    assert camera.state() == {"power": True, "zoom": 2.0, "preset": "table"}
    camera.set_zoom(3.0)
    assert camera.state() == {"power": True, "zoom": 3.0, "preset": None}
    camera.set_power(False)
    assert camera.state()["power"] is False
    jpeg, width_px, height_px = camera.jpeg(80, 320)
    assert (jpeg[:2], width_px, height_px) == (b"\xff\xd8", 320, 240)
    with pytest.raises(BadRequest, match="preset"):
        camera.set_preset("ceiling")
    camera.close()
    with pytest.raises(Broken):
        camera.state()


def test_a_camera_without_presets_does_not_claim_them(kit: Kit) -> None:
    assert "preset" not in kit.make(SimCamera, presets={}).capabilities()


def test_a_camera_that_another_program_holds_is_busy(kit: Kit) -> None:
    camera = kit.make(SimCamera)
    assert camera.holder() is None
    kit.world.hold("camera", "codec")
    assert camera.holder() == "codec"
    camera.open()
    camera.set_zoom(2.0)
    assert camera.state()["zoom"] == 2.0
    with pytest.raises(Busy) as refused:
        camera.grab(1)
    assert refused.value.in_use_by == "codec"
    kit.world.hold("camera", None)
    camera.grab(1)


def test_a_camera_unplugged_while_open_is_absent(kit: Kit) -> None:
    camera = kit.make(SimCamera)
    camera.open()
    kit.world.set_fault("camera_absent", True)
    with pytest.raises(Absent):
        camera.grab(1)


def test_sound_is_recorded_played_and_mixed(kit: Kit) -> None:
    audio = kit.make(SimAudio)
    recorded = audio.record(0.5)
    assert (recorded.shape, recorded.dtype) == ((24_000,), np.float32)
    audio.play(np.full(4_800, 0.1, np.float32))
    heard = audio.play_and_record(np.full(4_800, 0.1, np.float32), 0.25)
    assert heard.shape == (12_000,)
    assert [(sound.seconds, round(sound.level_dbfs)) for sound in kit.world.played] == [
        (0.1, -20),
        (0.1, -20),
    ]
    audio.set_mixer("speaker", volume_percent=40.0, muted=True)
    assert audio.mixer("speaker") == {"volume_percent": 40.0, "muted": True}
    audio.set_mixer("microphone", gain_db=6.0)
    assert audio.mixer("microphone") == {"gain_db": 6.0, "muted": False}


def test_a_missing_speaker_does_not_hide_the_microphone(kit: Kit) -> None:
    audio = kit.make(SimAudio)
    kit.world.set_fault("speaker_absent", True)
    assert audio.record(0.1).shape == (4_800,)
    with pytest.raises(Absent):
        audio.play(np.zeros(10, np.float32))
    with pytest.raises(Absent):
        audio.play_and_record(np.zeros(10, np.float32), 0.1)


def test_a_held_microphone_is_busy_and_the_speaker_is_not(kit: Kit) -> None:
    audio = kit.make(SimAudio)
    kit.world.hold("microphone", "codec")
    assert (audio.holder("microphone"), audio.holder("speaker")) == ("codec", None)
    with pytest.raises(Busy):
        audio.record(0.1)
    audio.play(np.zeros(10, np.float32))


def test_in_real_time_a_recording_takes_its_time(kit: Kit) -> None:
    at_once, real = kit.make(SimAudio), kit.make(SimAudio, realtime="yes")
    at_once.record(0.1)  # the room is made
    began = time.monotonic()
    at_once.record(30.0)
    assert time.monotonic() - began < 10.0
    began = time.monotonic()
    real.record(0.3)
    assert time.monotonic() - began >= 0.3


def test_the_display_is_read_and_set(kit: Kit) -> None:
    display = kit.make(SimDisplay)
    assert (display.connected(), display.size_px(), display.power(), display.active_input()) == (
        True,
        (1920, 1080),
        "on",
        True,
    )
    display.set_power(False)
    display.set_input("2.0.0.0")
    display.set_brightness(30.0)
    assert (display.power(), display.active_input(), display.brightness_percent()) == ("standby", False, 30.0)
    assert kit.world.faults == {"display_standby", "display_wrong_input"}
    assert display.show(message="Xin chào", card="grid") == {"message": "Xin chào", "card": "grid"}
    assert display.show(message="", card=None) == {"message": "", "card": "grid"}


def test_a_screen_without_cec_hears_nothing_and_tells_nothing(kit: Kit) -> None:
    display = kit.make(SimDisplay)
    kit.world.set_fault("display_no_cec", True)
    display.set_power(False)
    assert (display.connected(), display.power(), display.active_input()) == (True, "unknown", None)
    kit.world.set_fault("display_no_cec", False)
    assert display.power() == "on"


def test_a_screen_whose_cable_is_pulled_is_not_connected(kit: Kit) -> None:
    display = kit.make(SimDisplay)
    kit.world.set_fault("display_absent", True)
    assert (display.connected(), display.size_px(), display.power()) == (False, None, "unknown")
    assert "edid_name" not in display.identity()
    with pytest.raises(Absent):
        display.set_power(True)


def test_the_panel_tells_each_move_and_shows_light(kit: Kit) -> None:
    panel = kit.make(SimPanel)
    moves: list[bool] = []
    up = threading.Event()

    def tell(pressed: bool) -> None:
        moves.append(pressed)
        if not pressed:
            up.set()

    panel.start(tell)
    assert not panel.pressed()
    kit.world.press(0.02)
    assert up.wait(5.0)
    assert moves == [True, False]
    panel.light(0.0, 0.5, 1.0)
    assert kit.world.light == (0.0, 0.5, 1.0)
    kit.world.set_fault("button_stuck", True)
    assert panel.pressed()
    panel.close()


def test_a_hung_panel_tells_no_press(kit: Kit) -> None:
    panel = kit.make(SimPanel)
    moves: list[bool] = []
    heard = threading.Event()
    panel.start(lambda pressed: moves.append(pressed) or heard.set())
    kit.world.set_fault("panel_hung", True)
    kit.world.set_fault("button_stuck", True)
    assert not heard.wait(0.1)
    panel.close()
    assert moves == []


def test_presence_and_host_tell_what_the_contract_names(kit: Kit) -> None:
    assert kit.make(SimPresence).present() == {
        "camera": True,
        "microphone": True,
        "speaker": True,
        "display": True,
        "panel": True,
    }
    host = kit.make(SimHost)
    assert tuple(host.probe()) == HOST_READINGS
    assert tuple(host.interface(None)) == INTERFACE_READINGS
    assert host.interface("eth0")["carrier"] is True
    with pytest.raises(Absent):
        host.interface("wlan7")

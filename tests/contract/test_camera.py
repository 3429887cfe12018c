"""What every camera promises, whichever library is below."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends import arranged, rows
from diemcau_drivers.camera import Camera
from diemcau_drivers.contract import CAMERA_READINGS, Absent, BadRequest, Broken
from rigs import HOLDER, PRESETS, Rig

every = pytest.mark.parametrize("rig", rows("camera"), indirect=True, ids=lambda row: row.id)
with_hands = pytest.mark.parametrize("rig", arranged("camera"), indirect=True, ids=lambda row: row.id)


def logic(rig: Rig, folder: Path) -> Camera:
    return Camera(rig.backend, {"presets": PRESETS, "runtime_dir": str(folder)})


@every
def test_identity_and_holder_need_no_opening(rig: Rig) -> None:
    identity = rig.backend.identity()
    assert identity
    assert all(isinstance(value, str) and value for value in identity.values())
    assert rig.backend.holder() is None


@every
def test_frames_are_luma_of_one_size(rig: Rig) -> None:
    rig.backend.open()
    frames, fps = rig.backend.grab(4)
    assert len(frames) == 4
    assert {(frame.ndim, frame.dtype, frame.shape) for frame in frames} == {
        (2, np.dtype("uint8"), frames[0].shape)
    }
    assert 0 < fps < 250


@every
def test_a_jpeg_is_what_it_says_and_no_wider_than_asked(rig: Rig) -> None:
    rig.backend.open()
    for quality, max_width_px in ((80, 1920), (50, 320)):
        data, width, height = rig.backend.jpeg(quality, max_width_px)
        assert width <= max_width_px
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (width, height))


@every
def test_it_opens_and_closes_as_often_as_one_likes(rig: Rig) -> None:
    rig.backend.close()
    for _ in range(3):
        rig.backend.open()
        rig.backend.grab(1)
        rig.backend.close()
    rig.backend.close()


@every
def test_what_is_not_open_says_so(rig: Rig) -> None:
    with pytest.raises(Broken, match="not open"):
        rig.backend.grab(1)
    with pytest.raises(Broken, match="not open"):
        rig.backend.jpeg(80, 640)


@every
def test_zoom_and_presets_are_read_back(rig: Rig) -> None:
    rig.backend.open()
    assert set(rig.backend.capabilities()) >= {"zoom", "preset", "snapshot"}
    assert rig.backend.state()["power"] is True
    rig.backend.set_zoom(3.0)
    assert rig.backend.state()["zoom"] == pytest.approx(3.0, rel=0.02)
    rig.backend.set_preset("desk")
    state = rig.backend.state()
    assert state["preset"] == "desk"
    assert state["zoom"] == pytest.approx(2.0, rel=0.02)
    rig.backend.set_zoom(1.0)
    state = rig.backend.state()
    assert (state["preset"], state["zoom"]) == (None, pytest.approx(1.0, rel=0.02))
    with pytest.raises(BadRequest, match="preset"):
        rig.backend.set_preset("moon")


@every
def test_a_probe_tells_the_contracts_readings(rig: Rig, tmp_path: Path) -> None:
    look = logic(rig, tmp_path).handle("probe", {"passive": False})
    assert look["error"] is None
    assert set(look["readings"]) == set(CAMERA_READINGS)


@every
def test_a_snapshot_fits(rig: Rig, tmp_path: Path) -> None:
    shot = logic(rig, tmp_path).handle("snapshot", {"max_bytes": 60_000})
    data = base64.b64decode(shot["jpeg_base64"])
    assert len(data) == shot["bytes"] <= 60_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (shot["width_px"], shot["height_px"])


@with_hands
def test_a_good_picture_is_bright_and_alive(rig: Rig, tmp_path: Path) -> None:
    readings = logic(rig, tmp_path).handle("probe", {})["readings"]
    assert readings["motion_db"] > -60
    assert readings["dark_ratio"] < 0.9


@with_hands
def test_a_held_camera_names_its_holder_and_is_left_alone(rig: Rig, tmp_path: Path) -> None:
    rig.hold(True)
    assert rig.backend.holder() == HOLDER
    look = logic(rig, tmp_path).handle("probe", {})
    assert (look["passive"], look["in_use_by"], look["error"]) == (True, HOLDER, None)
    rig.hold(False)
    assert rig.backend.holder() is None
    assert logic(rig, tmp_path).handle("probe", {})["passive"] is False


@with_hands
def test_an_unplugged_camera_is_absent_and_comes_back(rig: Rig, tmp_path: Path) -> None:
    camera = logic(rig, tmp_path)
    rig.unplug(True)
    with pytest.raises(Absent):
        rig.backend.open()
    assert camera.handle("probe", {})["error"]["kind"] == "absent"
    rig.unplug(False)
    assert camera.handle("probe", {})["error"] is None

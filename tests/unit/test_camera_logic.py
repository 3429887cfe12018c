"""The camera's device logic: when it opens, what it refuses, what it reads back, what stays private."""

from __future__ import annotations

import base64
import errno
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from diemcau_drivers.camera import SNAPSHOT_MAX_BYTES, Camera, Privacy, open_device
from diemcau_drivers.contract import Absent, BadRequest, Broken, Busy, DeviceError, Unsupported

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Luma


class Lens:
    """A camera that counts its openings and whose JPEG's size follows quality and width."""

    def __init__(self) -> None:
        self.held_by: str | None = None
        self.fails: DeviceError | None = None
        self.opened = 0
        self.is_open = False
        self.own_switch = False
        self.switched_on = True
        self.zoom = 1.0
        self.preset: str | None = None
        self.bytes_a_step = 1000
        self.asked_jpegs: list[tuple[int, int]] = []

    def identity(self) -> Mapping[str, str]:
        return {"name": "lens"}

    def holder(self) -> str | None:
        return self.held_by

    def open(self) -> None:
        if self.fails is not None:
            raise self.fails
        self.opened += 1
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def capabilities(self) -> Sequence[str]:
        return ("power", "zoom", "preset", "snapshot") if self.own_switch else ("zoom", "preset", "snapshot")

    def grab(self, count: int) -> tuple[Sequence[Luma], float]:
        assert self.is_open
        generator = np.random.default_rng(7)
        return [generator.integers(60, 180, (90, 160), dtype=np.uint8) for _ in range(count)], 30.0

    def jpeg(self, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
        assert self.is_open
        self.asked_jpegs.append((quality, max_width_px))
        width = min(1280, max_width_px)
        return bytes(self.bytes_a_step * quality * width // 1280), width, width * 9 // 16

    def state(self) -> Mapping[str, Any]:
        assert self.is_open
        return {"power": self.switched_on, "zoom": self.zoom, "preset": self.preset}

    def set_power(self, on: bool) -> None:
        self.switched_on = on

    def set_zoom(self, ratio: float) -> None:
        self.zoom, self.preset = min(ratio, 4.0), None

    def set_preset(self, name: str) -> None:
        self.zoom, self.preset = 2.0, name


OPTIONS: dict[str, Any] = {"presets": {"desk": [2.0, 0.5, 0.8]}}


@pytest.fixture
def lens() -> Lens:
    return Lens()


@pytest.fixture
def camera(lens: Lens, tmp_path: Path) -> Camera:
    return Camera(lens, OPTIONS | {"runtime_dir": str(tmp_path)})


def test_a_probe_opens_looks_and_closes(camera: Camera, lens: Lens) -> None:
    look = camera.handle("probe", {"passive": False})
    assert look["readings"]["fps"] == 30.0
    assert look["readings"]["motion_db"] > -60.0
    assert look["error"] is None
    assert not look["passive"]
    assert set(look["capabilities"]) == {"power", "zoom", "preset", "snapshot"}
    assert (lens.opened, lens.is_open) == (1, False)


@pytest.mark.parametrize("why", ["asked", "held"])
def test_a_passive_look_opens_nothing(camera: Camera, lens: Lens, why: str) -> None:
    lens.held_by = "chromium" if why == "held" else None
    look = camera.handle("probe", {"passive": why == "asked"})
    assert look["passive"]
    assert look["readings"] == {}
    assert look["in_use_by"] == lens.held_by
    assert lens.opened == 0


def test_a_camera_taken_just_before_the_opening_is_in_use_not_broken(camera: Camera, lens: Lens) -> None:
    lens.fails = Busy("streams elsewhere")
    look = camera.handle("probe", {})
    assert (look["passive"], look["in_use_by"], look["error"]) == (True, "other", None)


@pytest.mark.parametrize("error", [Absent("unplugged"), Broken("no frame")])
def test_a_probe_of_a_camera_that_fails_carries_the_error(
    camera: Camera, lens: Lens, error: DeviceError
) -> None:
    lens.fails = error
    assert camera.handle("probe", {})["error"]["kind"] == error.kind
    assert not lens.is_open


def test_off_is_kept_by_the_next_process_and_opens_nothing(lens: Lens, tmp_path: Path) -> None:
    options = OPTIONS | {"runtime_dir": str(tmp_path)}
    assert Camera(lens, options).handle("set", {"power": False})["power"] is False
    next_process = Camera(lens, options)
    look = next_process.handle("probe", {})
    assert (look["passive"], look["readings"]) == (True, {"power": False})
    assert next_process.handle("state", {})["power"] is False
    for do, args in (("snapshot", {}), ("set", {"zoom": 2.0}), ("set", {"power": False, "preset": "desk"})):
        with pytest.raises(Unsupported, match="switched off"):
            next_process.handle(do, args)
    assert lens.opened == 0
    assert next_process.handle("set", {"power": True})["power"] is True
    assert next_process.handle("probe", {})["passive"] is False


def test_off_is_kept_over_a_boot_and_on_is_too(lens: Lens, tmp_path: Path) -> None:
    memory, card = tmp_path / "memory", tmp_path / "card"
    options = OPTIONS | {"runtime_dir": str(memory), "state_dir": str(card)}

    def boot() -> Camera:
        shutil.rmtree(memory, ignore_errors=True)
        memory.mkdir()
        return Camera(lens, options)

    card.mkdir()
    boot().handle("set", {"power": False})
    assert boot().handle("probe", {})["readings"] == {"power": False}
    assert lens.opened == 0
    boot().handle("set", {"power": True})
    assert boot().handle("probe", {})["passive"] is False


def test_where_the_card_takes_nothing_it_is_off_all_the_same_and_that_it_is_not_kept_is_told(
    tmp_path: Path,
) -> None:
    memory, card = tmp_path / "memory", tmp_path / "card"
    memory.mkdir()
    privacy = Privacy(str(memory), str(card))
    with pytest.raises(Broken, match=f"cannot be kept in {card}"):
        privacy.switch(False)
    assert not privacy.on
    card.mkdir()
    privacy.switch(True)
    assert privacy.on


def test_on_that_cannot_be_kept_leaves_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "card"
    card.mkdir()
    privacy = Privacy(str(tmp_path), str(card))
    privacy.switch(False)
    unlink = Path.unlink

    def read_only(path: Path, missing_ok: bool = False) -> None:
        if path.parent == card:
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(Broken, match="Read-only"):
        privacy.switch(True)
    assert not privacy.on


def test_a_camera_that_cannot_be_opened_can_still_be_switched_off(camera: Camera, lens: Lens) -> None:
    lens.fails = Absent("unplugged")
    assert camera.handle("set", {"power": False})["power"] is False


def test_a_promise_that_cannot_be_kept_is_not_given(tmp_path: Path) -> None:
    privacy = Privacy(str(tmp_path / "missing"))
    with pytest.raises(Broken, match="cannot be kept"):
        privacy.switch(False)
    assert privacy.on


def test_a_camera_with_a_switch_of_its_own_is_believed(camera: Camera, lens: Lens) -> None:
    lens.own_switch, lens.switched_on = True, False
    look = camera.handle("probe", {})
    assert (look["passive"], look["readings"]) == (True, {"power": False})
    with pytest.raises(Unsupported, match="switched off"):
        camera.handle("snapshot", {})
    assert camera.handle("set", {"power": True})["power"] is True
    assert lens.switched_on


def test_what_is_answered_is_what_was_read_back(camera: Camera) -> None:
    assert camera.handle("set", {"zoom": 9.0})["zoom"] == 4.0  # this lens goes no further
    read = camera.handle("set", {"preset": "desk"})
    assert (read["preset"], read["zoom"]) == ("desk", 2.0)
    assert camera.handle("state", {})["preset"] == "desk"


@pytest.mark.parametrize(("do", "args"), [("set", {"zoom": 2.0}), ("snapshot", {}), ("state", {})])
def test_a_held_camera_refuses_unless_forced(
    camera: Camera, lens: Lens, do: str, args: dict[str, Any]
) -> None:
    lens.held_by = "chromium"
    with pytest.raises(Busy) as refused:
        camera.handle(do, args)
    assert refused.value.in_use_by == "chromium"
    assert lens.opened == 0
    camera.handle(do, args | {"force": True})
    assert lens.opened == 1


def test_a_snapshot_loses_quality_first_then_width_until_it_fits(camera: Camera, lens: Lens) -> None:
    shot = camera.handle("snapshot", {"max_bytes": 20_000})
    assert len(base64.b64decode(shot["jpeg_base64"])) == shot["bytes"] <= 20_000
    assert (shot["width_px"], shot["height_px"]) == (640, 360)
    qualities = [quality for quality, _ in lens.asked_jpegs]
    widths = [width for _, width in lens.asked_jpegs]
    assert qualities == sorted(qualities, reverse=True)
    assert widths == sorted(widths, reverse=True)
    assert qualities.index(40) < widths.index(960)


def test_a_snapshot_that_can_never_fit_is_refused_with_the_size_that_would(
    camera: Camera, lens: Lens
) -> None:
    with pytest.raises(BadRequest, match=r"max_bytes: got 100, expected at least 5000"):
        camera.handle("snapshot", {"max_bytes": 100})
    assert not lens.is_open


@pytest.mark.parametrize(
    ("do", "args", "field"),
    [
        ("fly", {}, "do"),
        ("probe", {"passive": "yes"}, "passive"),
        ("probe", {"pasive": True}, "pasive"),
        ("set", {}, "set"),
        ("set", {"zoom": 0.5}, "zoom"),
        ("set", {"zoom": True}, "zoom"),
        ("set", {"zoom": float("nan")}, "zoom"),
        ("set", {"preset": "moon"}, "preset"),
        ("set", {"power": 1}, "power"),
        ("snapshot", {"max_bytes": SNAPSHOT_MAX_BYTES + 1}, "max_bytes"),
        ("snapshot", {"max_bytes": "many"}, "max_bytes"),
    ],
)
def test_bad_requests_name_the_field_and_open_nothing(
    camera: Camera, lens: Lens, do: str, args: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequest, match=rf"^{field}: got .*, expected "):
        camera.handle(do, args)
    assert lens.opened == 0


def test_closing_closes_the_backend(lens: Lens) -> None:
    device = open_device(lens, {}, lambda event, data: None)
    lens.is_open = True
    device.close()
    assert not lens.is_open

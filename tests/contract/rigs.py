"""What each backend stands on in the contract suite: the backend, and hands in the world below it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin

from backends import DEVICE, ROOM, Row
from diemcau_drivers.backends import load
from diemcau_drivers.backends.cec import CecDisplay
from diemcau_drivers.backends.gpio import GpioPanel
from diemcau_drivers.backends.picamera2 import Picamera2Camera
from diemcau_drivers.backends.sysfs import SysfsPresence
from diemcau_drivers.backends.v4l2 import V4l2Camera
from diemcau_sim.server import serving
from diemcau_sim.world import World
from edid_block import edid_block
from fake_picamera2 import FakeCamera
from fake_sysfs import FakeSysfs
from fake_television import FakeTelevision
from fake_v4l2 import FakeV4l2

PRESETS = {"desk": [2.0, 0.5, 0.6]}
HOLDER = "chromium"
Switch = Callable[[bool], None]


def _no_hands(on: bool) -> None:
    raise AssertionError("nobody can arrange this on a real device")


@dataclass
class Rig:
    """A backend and what a test may do to the world below it; each switch takes on or off."""

    backend: Any
    unplug: Switch = _no_hands
    hold: Switch = _no_hands
    silence: Switch = _no_hands
    press: Switch = _no_hands
    light: Callable[[], tuple[float, ...]] = tuple
    world: World | None = None
    endings: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])

    def end(self) -> None:
        self.backend.close()
        for ending in reversed(self.endings):
            ending()


def build(row: Row, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    options: dict[str, Any] = {"presets": PRESETS} if row.process == "camera" else {}
    if row.ground == ROOM:
        return _room(row, options, folder)
    if row.ground in (DEVICE, "this machine"):
        return Rig(_Closing(load(row.process, row.backend)({**options, **kit_options(row)})))
    below = {"v4l2": _v4l2, "picamera2": _picamera2, "cec": _cec, "gpio": _gpio, "sysfs": _sysfs}[row.backend]
    return below(options, FakeSysfs(folder / "root"), monkeypatch)


def kit_options(row: Row) -> Mapping[str, Any]:
    """Which of a kit's devices is meant: DIEMCAU_KIT_OPTIONS, JSON, by process or process-backend."""
    table: dict[str, Any] = json.loads(os.environ.get("DIEMCAU_KIT_OPTIONS", "{}"))
    return {**table.get(row.process, {}), **table.get(f"{row.process}-{row.backend}", {})}


class _Closing:
    """A backend of presence or host has nothing to close."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def close(self) -> None:
        close = getattr(self._backend, "close", None)
        if close is not None:
            close()


def _room(row: Row, options: Mapping[str, Any], folder: Path) -> Rig:
    world = World()
    serving_world = serving(world, folder / "world.sock")
    server = serving_world.__enter__()
    backend = load(row.process, row.backend)({**options, "socket": str(server.path)})

    def hold(on: bool) -> None:
        world.hold(row.process, HOLDER if on else None)

    def unplug(on: bool) -> None:
        for device in ("camera", "display", "panel") if row.process == "presence" else (row.process,):
            world.set_fault(f"{device}_absent", on)

    return Rig(
        _Closing(backend),
        unplug=unplug,
        hold=hold,
        silence=lambda on: world.set_fault("display_no_cec", on),
        press=lambda on: world.set_fault("button_stuck", on),
        light=lambda: world.light,
        world=world,
        endings=[lambda: serving_world.__exit__(None, None, None)],
    )


class _Clock:
    """Runs fast, so that no exposure has to settle."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.3
        return self.now_s


def _noise(sequence: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sequence).integers(90, 160, shape, dtype=np.uint8)


def _v4l2(options: Mapping[str, Any], kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> Rig:
    node = kernel.usb_camera(0, "HD Webcam", "046d:0825", "1-1.2")
    driver = FakeV4l2(node, {"GREY": [(640, 480)]}, lambda sequence: _noise(sequence, (480, 640)).tobytes())
    monkeypatch.setattr("linuxpy.video.device.ioctl", driver.ioctl)
    entry = kernel.sys / "class/video4linux/video0"
    backend = V4l2Camera(options, sys=kernel.sys, proc=kernel.proc, dev=kernel.dev, monotonic=_Clock())

    def hold(on: bool) -> None:
        _hold_open(kernel, node, on)

    return Rig(backend, unplug=_renaming(entry), hold=hold)


def _picamera2(options: Mapping[str, Any], kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> Rig:
    pi = FakeCamera(monkeypatch, lambda sequence: _noise(sequence, (720, 1280, 3)))
    all_cameras = pi.cameras
    node = kernel.write("dev/media0", "")

    def unplug(on: bool) -> None:
        pi.cameras = [] if on else all_cameras

    def hold(on: bool) -> None:
        place = node.stat()
        kernel.write("proc/900/comm", f"{HOLDER}\n")
        major, minor = place.st_dev >> 8 & 0xFFF, place.st_dev & 0xFF
        line = f"1: POSIX  ADVISORY  WRITE 900 {major:02x}:{minor:02x}:{place.st_ino} 0 EOF\n"
        kernel.write("proc/locks", line if on else "")

    backend = Picamera2Camera(options, sys=kernel.sys, proc=kernel.proc, dev=kernel.dev, monotonic=_Clock())
    return Rig(backend, unplug=unplug, hold=hold)


def _cec(options: Mapping[str, Any], kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> Rig:
    television = FakeTelevision()
    kernel.connector("card1-HDMI-A-1", "connected", edid_block())
    kernel.write("dev/cec0", "")
    kernel.write("sys/class/graphics/fb0/virtual_size", "320,180\n")
    kernel.write("sys/class/graphics/fb0/bits_per_pixel", "32\n")
    kernel.write("dev/fb0", bytes(320 * 180 * 4))
    kernel.write("sys/class/backlight/panel/max_brightness", "200\n")
    kernel.write("sys/class/backlight/panel/brightness", "100\n")

    def unplug(on: bool) -> None:
        kernel.connector("card1-HDMI-A-1", "disconnected" if on else "connected", b"" if on else edid_block())
        television.address = "f.f.f.f" if on else "1.0.0.0"

    def silence(on: bool) -> None:
        television.answers = not on

    return Rig(CecDisplay(options, root=kernel.root, run=television), unplug=unplug, silence=silence)


def _gpio(options: Mapping[str, Any], kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> Rig:
    factory: Any = MockFactory(pin_class=MockPWMPin)

    def press(on: bool) -> None:
        if on:
            factory.pin(17).drive_low()
        else:
            factory.pin(17).drive_high()

    def light() -> tuple[float, ...]:
        return tuple(factory.pin(number).state for number in (22, 27, 23))

    return Rig(GpioPanel(options, pin_factory=factory), press=press, light=light, endings=[factory.reset])


def _sysfs(options: Mapping[str, Any], kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> Rig:
    kernel.usb_camera(0, "HD Webcam", "046d:0825", "1-1.2")
    interface = kernel.usb_device("1-1.3", "0d8c:0014")
    kernel.sound_card(0, "Device", "USB-Audio - USB Audio Device", ("pcm0p", "pcm0c"), interface)
    kernel.connector("card1-HDMI-A-1", "connected", edid_block())
    kernel.write("dev/gpiochip0", "")
    camera = _renaming(kernel.sys / "class/video4linux/video0")
    panel = _renaming(kernel.dev / "gpiochip0")

    def unplug(on: bool) -> None:
        camera(on)
        panel(on)
        kernel.connector("card1-HDMI-A-1", "disconnected" if on else "connected")

    return Rig(_Closing(SysfsPresence(options, root=kernel.root)), unplug=unplug)


def _renaming(entry: Path) -> Switch:
    """Takes a directory entry away and brings it back."""
    away = entry.with_name(f"unplugged-{entry.name}")

    def switch(on: bool) -> None:
        (entry if on else away).rename(away if on else entry)

    return switch


def _hold_open(kernel: FakeSysfs, node: Path, on: bool) -> None:
    kernel.write("proc/900/comm", f"{HOLDER}\n")
    if on:
        kernel.link("proc/900/fd/7", node)
    else:
        (kernel.proc / "900/fd/7").unlink()


class Ear:
    """Hears from any thread, and waits for what a test expects, for five seconds at most."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._news = threading.Condition()

    def __call__(self, news: Any) -> None:
        with self._news:
            self.heard.append(news)
            self._news.notify_all()

    def wait_for(self, expected: list[Any]) -> None:
        with self._news:
            self._news.wait_for(lambda: self.heard == expected, timeout=5)
            assert self.heard == expected


def wait_until(condition: Callable[[], bool]) -> None:
    """Looks every few milliseconds, for five seconds at most."""
    pause, end_s = threading.Event(), time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end_s, "it never came to be so"
        pause.wait(0.005)

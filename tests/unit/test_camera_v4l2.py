"""The V4L2 backend on real linuxpy, over a driver that sits below the system call."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diemcau_drivers.backends import motors
from diemcau_drivers.backends.v4l2 import SETTLE_S, V4l2Camera
from diemcau_drivers.contract import Absent, BadRequest, Broken, Busy, DeviceError
from fake_sysfs import FakeSysfs
from fake_v4l2 import FakeControl, FakeV4l2

WIDTH, HEIGHT = 640, 480
PRESETS = {"desk": [2.0, 0.25, 0.75]}


def grey_frame(sequence: int) -> bytes:
    """Brightness tells which frame it is; the left half is dark."""
    frame = np.full((HEIGHT, WIDTH), 100 + sequence % 100, np.uint8)
    frame[:, : WIDTH // 2] = 20
    return frame.tobytes()


class Ticks:
    """A clock that gains a frame's time whenever it is read."""

    def __init__(self, step_s: float = 1 / 30) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def kernel(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "root")


@pytest.fixture
def driver(kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> FakeV4l2:
    node = kernel.usb_camera(0, "HD Webcam", "046d:0825", "1-1.2")
    driver = FakeV4l2(node, {"GREY": [(WIDTH, HEIGHT)]}, grey_frame, quantization=1)
    monkeypatch.setattr("linuxpy.video.device.ioctl", driver.ioctl)
    return driver


def camera(kernel: FakeSysfs, **options: Any) -> V4l2Camera:
    return V4l2Camera(options, sys=kernel.sys, proc=kernel.proc, dev=kernel.dev, monotonic=Ticks())


def test_frames_are_consecutive_settled_and_timed_by_the_driver(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    lens = camera(kernel)
    lens.open()
    frames, fps = lens.grab(5)
    lens.close()
    brightness = [int(frame[0, -1]) for frame in frames]
    assert brightness == list(range(brightness[0], brightness[0] + 5))
    assert brightness[0] >= 100 + SETTLE_S * 30 - 2  # the first half second was not judged
    assert frames[0].shape == (HEIGHT, WIDTH)
    assert fps == pytest.approx(30.0, rel=1e-3)


def test_closing_stops_the_stream_and_opening_again_works(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    lens = camera(kernel)
    for _ in range(2):
        lens.open()
        assert not driver.streaming, "a camera whose controls are read is not switched on"
        lens.grab(2)
        assert driver.streaming
        lens.close()
        assert not driver.streaming
    lens.close()


def test_the_best_format_at_the_nearest_size_is_taken(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    sizes = [(320, 240), (1280, 800), (1920, 1080)]
    driver.formats = {"MJPG": [(1280, 720)], "NV12": [(1280, 720)], "YUYV": sizes}
    bright = np.full((800, 1280, 2), 128, np.uint8)
    bright[:, :, 0] = 235
    driver.frame, driver.quantization = (lambda sequence: bright.tobytes()), 0
    lens = camera(kernel)
    lens.open()
    frames, _ = lens.grab(1)
    lens.close()
    assert frames[0].shape == (800, 1280)
    assert (frames[0] == 255).all()  # YUV that says nothing of its range is limited


def test_a_camera_without_a_format_that_we_read_is_told_by_name(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    driver.formats = {"H264": [(1280, 720)]}
    lens = camera(kernel)
    with pytest.raises(Broken, match="offers H264"):
        take_one(lens)
    lens.close()


def test_digital_zoom_crops_the_jpeg_and_not_the_frames_that_are_judged(
    kernel: FakeSysfs, driver: FakeV4l2
) -> None:
    lens = camera(kernel, presets=PRESETS)
    lens.open()
    assert lens.state() == {"power": True, "zoom": 1.0, "preset": None}
    lens.set_preset("desk")
    assert lens.state() == {"power": True, "zoom": 2.0, "preset": "desk"}
    data, width, height = lens.jpeg(90, 1920)
    frames, _ = lens.grab(1)
    lens.close()
    assert (width, height) == (WIDTH // 2, HEIGHT // 2)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.asarray(picture.convert("L")).max() < 40  # the left part is the dark one
    assert frames[0].max() >= 100


def test_a_mjpeg_camera_is_decoded(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(buffer, "JPEG")
    driver.formats, driver.frame = {"MJPG": [(WIDTH, HEIGHT)]}, lambda sequence: buffer.getvalue()
    lens = camera(kernel)
    lens.open()
    frames, _ = lens.grab(2)
    _, width, _ = lens.jpeg(60, 320)
    lens.close()
    assert abs(int(frames[0].mean()) - 90) <= 1
    assert width == 320


def take_one(lens: V4l2Camera) -> None:
    lens.open()
    lens.grab(1)


@pytest.mark.parametrize(
    ("call", "number", "kind"),
    [
        ("REQBUFS", errno.EBUSY, Busy),
        ("S_FMT", errno.EBUSY, Busy),
        ("STREAMON", errno.ENODEV, Absent),
        ("STREAMON", errno.EIO, Broken),
        ("QUERYCAP", errno.ENODEV, Absent),
    ],
)
def test_what_the_kernel_refuses_has_its_meaning(
    kernel: FakeSysfs, driver: FakeV4l2, call: str, number: int, kind: type[DeviceError]
) -> None:
    driver.fails[call] = number
    lens = camera(kernel)
    with pytest.raises(kind):
        take_one(lens)
    lens.close()
    driver.fails.clear()
    take_one(lens)  # nothing of the failed opening is left
    lens.close()


def test_busy_names_the_program_that_streams(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    kernel.write("proc/900/comm", "chromium\n")
    kernel.link("proc/900/fd/7", driver.node)
    driver.fails["REQBUFS"] = errno.EBUSY
    lens = camera(kernel)
    assert lens.holder() == "chromium"
    with pytest.raises(Busy) as refused:
        take_one(lens)
    assert refused.value.in_use_by == "chromium"
    lens.close()


def test_a_camera_that_streams_to_another_program_can_still_be_moved(
    kernel: FakeSysfs, driver: FakeV4l2
) -> None:
    """Its motors need no stream: what is forced on a held camera is done."""
    driver.controls = zoom_motors(100, 500)
    driver.fails |= {"S_FMT": errno.EBUSY, "REQBUFS": errno.EBUSY}
    lens = camera(kernel, presets=PRESETS)
    lens.open()
    lens.set_preset("desk")
    assert lens.state() == {"power": True, "zoom": 2.0, "preset": "desk"}
    lens.close()


def test_a_camera_pulled_out_while_it_streams_is_absent_and_closes(
    kernel: FakeSysfs, driver: FakeV4l2
) -> None:
    lens = camera(kernel)
    lens.open()
    driver.fails |= {"DQBUF": errno.ENODEV, "STREAMOFF": errno.ENODEV, "REQBUFS": errno.ENODEV}
    with pytest.raises(Absent, match="gone"):
        lens.grab(1)
    lens.close()


def test_a_camera_that_sends_nothing_is_broken_not_waited_for(
    kernel: FakeSysfs, driver: FakeV4l2, monkeypatch: pytest.MonkeyPatch
) -> None:
    lens = camera(kernel)
    lens.open()
    asked_s: list[float] = []

    def select(read: object, write: object, error: object, timeout_s: float) -> tuple[list[object], ...]:
        asked_s.append(timeout_s)
        return [], [], []

    monkeypatch.setattr("select.select", select)
    with pytest.raises(Broken, match="no frame in 2 s"):
        lens.grab(1)
    assert asked_s == [2.0]
    lens.close()


def zoom_motors(low: int, high: int) -> list[FakeControl]:
    return [
        FakeControl(motors.PAN_ABSOLUTE, b"Pan, Absolute", -36000, 36000, 3600, 0),
        FakeControl(motors.TILT_ABSOLUTE, b"Tilt, Absolute", -36000, 36000, 3600, 0),
        FakeControl(motors.ZOOM_ABSOLUTE, b"Zoom, Absolute", low, high, 1, low),
    ]


def test_a_camera_with_motors_moves_them_and_is_read_back(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    driver.controls = zoom_motors(100, 500)
    lens = camera(kernel, presets=PRESETS)
    lens.open()
    lens.set_zoom(3.0)
    assert lens.state() == {"power": True, "zoom": 3.0, "preset": None}
    lens.set_preset("desk")
    assert lens.state() == {"power": True, "zoom": 2.0, "preset": "desk"}
    assert [control.value for control in driver.controls] == [-18000, -18000, 200]
    _, width, _ = lens.jpeg(80, 1920)
    assert width == WIDTH  # nothing is cropped besides
    with pytest.raises(BadRequest, match=r"expected a number from 1 to 5"):
        lens.set_zoom(6.0)
    with pytest.raises(BadRequest, match="expected one of desk"):
        lens.set_preset("moon")
    lens.close()


def test_a_zoom_that_counts_from_nought_is_even_from_1_to_10(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    driver.controls = zoom_motors(0, 90)
    lens = camera(kernel)
    lens.open()
    lens.set_zoom(4.0)
    assert driver.controls[2].value == 30
    assert lens.state()["zoom"] == 4.0
    lens.close()


def test_a_closed_camera_says_so(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    with pytest.raises(Broken, match="not open"):
        camera(kernel).grab(1)
    with pytest.raises(Broken, match="not open"):
        camera(kernel).jpeg(80, 640)


def test_identity_is_vendor_product_and_port(kernel: FakeSysfs, driver: FakeV4l2) -> None:
    assert camera(kernel).identity() == {"name": "HD Webcam", "usb": "046d:0825:1-1.2"}


def test_the_configured_camera_is_chosen_by_any_part_of_its_identity(kernel: FakeSysfs) -> None:
    kernel.platform_video(0, "bcm2835-codec-decode")
    kernel.usb_camera(1, "HD Webcam", "046d:0825", "1-1.2")
    kernel.usb_camera(2, "HD Webcam", "046d:0825", "1-1.3", index=1)  # its metadata node
    kernel.usb_camera(10, "Document camera", "1234:5678", "1-1.4")
    assert camera(kernel).identity()["name"] == "HD Webcam"
    assert camera(kernel, identity="1234:5678").identity()["name"] == "Document camera"
    assert camera(kernel, identity="1-1.4").identity()["name"] == "Document camera"
    assert camera(kernel, identity="codec").identity() == {"name": "bcm2835-codec-decode"}
    with pytest.raises(Absent, match=r"1-1\.3"):
        camera(kernel, identity="1-1.3").identity()


def test_without_a_camera_it_is_absent_and_held_by_nobody(kernel: FakeSysfs) -> None:
    kernel.platform_video(0, "bcm2835-codec-decode")
    lens = camera(kernel)
    assert lens.holder() is None
    with pytest.raises(Absent, match="no USB camera"):
        lens.open()

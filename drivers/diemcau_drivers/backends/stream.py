"""One V4L2 capture node through linuxpy: opened, its controls; configured, read, closed.

Raises OSError as the kernel gives it (EBUSY: another program streams; ENODEV: pulled out) and Broken.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from linuxpy.video import device as linuxpy
from linuxpy.video.raw import Colorspace, Quantization

from diemcau_drivers.contract import Broken

from .pixels import FORMATS, JPEG, PixelFormat

BUFFERS = 4
SIZE_PX = (1280, 720)
"""The size nearest to this is asked for."""


class Control(Protocol):
    """What is used of linuxpy's IntegerControl."""

    value: int
    minimum: int
    maximum: int
    step: int

    @property
    def is_writeable(self) -> bool: ...


class Frame(Protocol):
    data: bytes
    timestamp: float


class Reader(Protocol):
    def read(self, timeout: float) -> Frame | None: ...


class Source(Protocol):
    frame_reader: Reader


class Capture(Protocol):
    """What is used of linuxpy's VideoCapture."""

    buffer: Source | None

    def formats(self) -> Iterable[Any]: ...
    def set_format(self, width: int, height: int, pixel_format: str) -> object: ...
    def open(self) -> None: ...
    def close(self) -> None: ...


class Device(Protocol):
    """What is used of linuxpy's Device."""

    info: Any
    controls: Mapping[int, Control]

    def open(self) -> None: ...
    def close(self) -> None: ...


RawFormat = Callable[[Device, int], Any]


class Stream:
    """A node that is open from construction to ``close``, and streams from ``start`` on.

    The controls need no stream: while another program streams, a camera can still be moved.
    """

    def __init__(self, node: Path) -> None:
        self._device = cast("Device", linuxpy.Device(str(node)))
        self._device.open()
        self._capture: Capture | None = None

    def start(self) -> PixelFormat:
        capture = cast("Capture", linuxpy.VideoCapture(cast("Any", self._device), BUFFERS))
        form = self._configured(capture)
        capture.open()
        self._capture = capture
        return form

    def controls(self) -> dict[int, Control]:
        """Control id -> control."""
        return dict(self._device.controls.items())

    def read(self, timeout_s: float) -> tuple[bytes, float] | None:
        """The next frame and the driver's time stamp (s); None where none came in time."""
        source = None if self._capture is None else self._capture.buffer
        frame = None if source is None else source.frame_reader.read(timeout_s)
        return None if frame is None else (frame.data, frame.timestamp)

    def close(self) -> None:
        try:
            if self._capture is not None:
                self._capture.close()
        except OSError as error:
            if error.errno != errno.ENODEV:  # pulled out: there is no stream left to stop
                raise
        finally:
            self._device.close()

    def _configured(self, capture: Capture) -> PixelFormat:
        """Ask for the best format at the size nearest to SIZE_PX, and read back what the driver gave."""
        offered = {form.pixel_format.human_str(): form.pixel_format for form in capture.formats()}
        fourcc = next((name for name in FORMATS if name in offered), None)
        if fourcc is None:
            there = ", ".join(offered) or "nothing"
            raise Broken(f"the camera offers {there}, expected one of {', '.join(FORMATS)}")
        sizes: list[tuple[int, int]] = [
            (size.info.width, size.info.height)
            for size in self._device.info.format_frame_sizes(offered[fourcc])
            if hasattr(size.info, "width")  # a range has bounds instead, and then any size may be asked for
        ]
        width_px, height_px = min(sizes, key=_distance, default=SIZE_PX)
        capture.set_format(width_px, height_px, fourcc)
        read_format = cast("RawFormat", cast("Any", linuxpy).get_raw_format)
        given = read_format(self._device, linuxpy.BufferType.VIDEO_CAPTURE).fmt.pix
        # The kernel's rule (V4L2_MAP_QUANTIZATION_DEFAULT): YUV is limited unless it says otherwise or
        # its colour space is JPEG's.
        full_range = given.quantization == Quantization.FULL_RANGE or (
            given.quantization == Quantization.DEFAULT and given.colorspace == Colorspace.JPEG
        )
        return PixelFormat(
            fourcc, given.width, given.height, given.bytesperline, full_range or fourcc in JPEG
        )


def _distance(size: tuple[int, int]) -> int:
    return abs(size[0] * size[1] - SIZE_PX[0] * SIZE_PX[1])

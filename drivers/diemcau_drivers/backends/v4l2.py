"""USB cameras (and any V4L2 capture node that the configuration names) through linuxpy.

Zoom and presets by the camera's own motors where it has them (ZOOM_ABSOLUTE, PAN_ABSOLUTE,
TILT_ABSOLUTE), else by cropping. Raises Absent, Busy (with the holder), Broken.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diemcau_drivers.contract import Absent, Broken, Busy

from . import holders, videonodes
from .lens import Lens, jpeg
from .motors import Motors

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Luma

    from .pixels import PixelFormat
    from .stream import Stream

SETTLE_S = 0.5
"""A camera's first pictures are dark until its exposure has settled; they are not judged."""
FRAME_TIMEOUT_S = 2.0
"""An exposure in a dark room may last 1/5 s; a camera silent for ten times that has stopped."""


class V4l2Camera:
    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        sys: Path = videonodes.SYS,
        proc: Path = holders.PROC,
        dev: Path = Path("/dev"),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted: str | None = options.get("identity")
        self._sys, self._proc, self._dev = sys, proc, dev
        self._monotonic = monotonic
        self._lens = Lens(options)
        self._stream: Stream | None = None
        self._motors: Motors | None = None
        self._form: PixelFormat | None = None  # while it streams
        self._settled_at = 0.0

    def identity(self) -> Mapping[str, str]:
        return self._node().identity

    def holder(self) -> str | None:
        node = videonodes.video_node(self._wanted, self._sys, self._dev)
        return None if node is None else holders.file_holder([node.path], self._proc)

    def open(self) -> None:
        from .stream import Stream

        self.close()
        node = self._node()
        with self._told():
            self._stream = stream = Stream(node.path)
            try:
                self._motors = Motors.of(stream.controls(), self._lens.presets)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        stream, self._stream, self._motors, self._form = self._stream, None, None, None
        if stream is not None:
            with self._told():
                stream.close()

    def capabilities(self) -> Sequence[str]:
        return ("zoom", *(("preset",) if self._lens.presets else ()), "snapshot")

    def grab(self, count: int) -> tuple[Sequence[Luma], float]:
        from .pixels import luma

        form = self._streaming()
        frames: list[Luma] = []
        times_s: list[float] = []
        for data, time_s in self._frames():
            frames.append(luma(data, form))
            times_s.append(time_s)
            if len(frames) == count:
                break
        span_s = times_s[-1] - times_s[0]
        return frames, (count - 1) / span_s if span_s > 0 else 0.0

    def jpeg(self, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
        from .pixels import picture

        form = self._streaming()
        data, _ = next(self._frames())
        whole = picture(data, form)
        if self._motors is None:
            left, top, width, height = self._lens.view.crop(whole.width, whole.height)
            whole = whole.crop((left, top, left + width, top + height))
        return jpeg(whole, quality, max_width_px)

    def state(self) -> Mapping[str, Any]:
        if self._motors is None:
            return {"power": True, "zoom": self._lens.view.zoom, "preset": self._lens.view.preset}
        with self._told():
            return {"power": True, "zoom": self._motors.zoom(), "preset": self._motors.preset()}

    def set_power(self, on: bool) -> None:
        """A V4L2 camera has no switch; the device logic keeps it closed."""

    def set_zoom(self, ratio: float) -> None:
        if self._motors is None:
            self._lens.zoom_to(ratio)
            return
        with self._told():
            self._motors.set_zoom(ratio)

    def set_preset(self, name: str) -> None:
        if self._motors is None:
            self._lens.go_to(name)
            return
        with self._told():
            self._motors.set_preset(name)

    def _frames(self) -> Iterator[tuple[bytes, float]]:
        """Frames from when the exposure has settled, with the driver's time stamp (s)."""
        stream = self._opened()
        while True:
            with self._told():
                frame = stream.read(FRAME_TIMEOUT_S)
            if frame is None:
                raise Broken(f"no frame in {FRAME_TIMEOUT_S:g} s")
            if self._monotonic() >= self._settled_at:
                yield frame

    def _streaming(self) -> PixelFormat:
        """Of the stream, which runs from the first picture that is wanted to ``close``."""
        if self._form is None:
            stream = self._opened()
            with self._told():
                self._form = stream.start()
            self._settled_at = self._monotonic() + SETTLE_S
        return self._form

    def _opened(self) -> Stream:
        if self._stream is None:
            raise Broken("the camera is not open")
        return self._stream

    def _node(self) -> videonodes.VideoNode:
        node = videonodes.video_node(self._wanted, self._sys, self._dev)
        if node is None:
            raise Absent("no USB camera" if self._wanted is None else f"no camera {self._wanted!r}")
        return node

    @contextmanager
    def _told(self) -> Generator[None]:
        """What the kernel's errors mean."""
        from linuxpy.video.device import V4L2Error

        try:
            yield
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise Busy("the camera streams to another program", in_use_by=self.holder()) from error
            if error.errno in (errno.ENODEV, errno.ENOENT, errno.ENXIO):
                raise Absent(f"the camera is gone: {error}") from error
            raise Broken(f"the camera failed: {error}") from error
        except V4L2Error as error:
            raise Broken(f"the camera failed: {error}") from error

"""CSI cameras of the Raspberry Pi through picamera2 (libcamera).

The libraries exist on Raspberry Pi OS only and take a second to load, so they are imported when the
camera is opened. Where the ISP gives two streams (every Pi) brightness is taken from a small YUV one
and zoom is ScalerCrop; without (libcamera's virtual vimc) both come from the one RGB stream. Frames
are judged whole: the zoom is for snapshots. Raises Absent, Busy (with the holder), Broken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from diemcau_drivers.contract import Absent, Broken, Busy

from . import holders, videonodes
from .lens import Lens, jpeg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from diemcau_drivers.interfaces import Luma

MAIN_PX = (1280, 720)
LORES_PX = (640, 360)
SETTLE_S = 0.5
"""libcamera's exposure and white balance start from a guess; the first pictures are not judged."""
FRAME_TIMEOUT_S = 2.0
CROP_FRAMES = 12
"""A control takes effect some frames after it is set (libcamera's delayed controls: up to 8 in flight)."""

CROP_NEAR = 0.02
"""Of the width: how exactly a crop must have come to be believed."""

Rectangle = tuple[int, int, int, int]
"""x, y, width, height on the sensor, as picamera2 gives libcamera's."""


class Request(Protocol):
    """What is used of picamera2's CompletedRequest."""

    def make_array(self, name: str) -> NDArray[np.uint8]: ...
    def make_image(self, name: str) -> Image: ...
    def get_metadata(self) -> Mapping[str, Any]: ...
    def release(self) -> None: ...


class Picamera(Protocol):
    """What is used of picamera2.Picamera2; tests hold it against the real class."""

    @property
    def camera_controls(self) -> Mapping[str, tuple[Any, Any, Any]]: ...
    def create_preview_configuration(
        self,
        main: Mapping[str, Any],
        lores: Mapping[str, Any] | None,
        raw: Mapping[str, Any] | None,
        *,
        buffer_count: int,
    ) -> dict[str, Any]: ...
    def configure(self, camera_config: Mapping[str, Any]) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def set_controls(self, controls: Mapping[str, Any]) -> None: ...
    def capture_request(self, *, wait: float) -> Request: ...
    def cancel_all_and_flush(self) -> None: ...


class Picamera2Camera:
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
        self._camera: Picamera | None = None
        self._whole: Rectangle | None = None  # the sensor's part that an unzoomed picture shows
        self._asked: Rectangle | None = None
        self._shown: Rectangle | None = None
        self._settled_at = 0.0

    def identity(self) -> Mapping[str, str]:
        """From sysfs, which costs nothing; libcamera is asked only where sysfs lists no sensor."""
        found = videonodes.sensor(self._wanted, self._sys)
        return self._listed()[1] if found is None else found.identity

    def holder(self) -> str | None:
        return holders.lock_holder(sorted(self._dev.glob("media*")), self._proc)

    def open(self) -> None:
        from picamera2 import Picamera2

        self.close()
        index, _ = self._listed()
        with self._told("opened"):
            camera = cast("Picamera", Picamera2(index))
        self._camera = camera
        try:
            with self._told("started"):
                two_streams = "ScalerCrop" in camera.camera_controls
                lores = {"format": "YUV420", "size": LORES_PX} if two_streams else None
                main = {"format": "BGR888", "size": MAIN_PX}  # picamera2's name for R, G, B in memory
                camera.configure(camera.create_preview_configuration(main, lores, None, buffer_count=4))
                self._whole = camera.camera_controls["ScalerCrop"][2] if two_streams else None
                self._asked = self._shown = self._whole
                camera.start()
        except BaseException:
            with suppress(Broken):  # what is half begun cannot always be ended; why it was not begun is told
                self.close()
            raise
        self._settled_at = self._monotonic() + SETTLE_S

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            with self._told("closed"):
                camera.close()

    def capabilities(self) -> Sequence[str]:
        return ("zoom", *(("preset",) if self._lens.presets else ()), "snapshot")

    def grab(self, count: int) -> tuple[Sequence[Luma], float]:
        from .pixels import luma_of_rgb

        self._crop(self._whole)
        frames: list[Luma] = []
        times_ns: list[int] = []
        while len(frames) < count:
            with self._request() as request:
                if self._whole is None:
                    frames.append(luma_of_rgb(request.make_array("main")))
                else:  # YUV420: Y above the two colour planes, rows padded to the stride
                    frames.append(request.make_array("lores")[: LORES_PX[1], : LORES_PX[0]])
                times_ns.append(int(request.get_metadata().get("SensorTimestamp", 0)))
        span_s = (times_ns[-1] - times_ns[0]) / 1e9
        return frames, (count - 1) / span_s if span_s > 0 else 0.0

    def jpeg(self, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
        self._crop(self._zoomed())
        with self._request() as request:
            image = request.make_image("main")
        if self._whole is None:
            left, top, width, height = self._lens.view.crop(image.width, image.height)
            image = image.crop((left, top, left + width, top + height))
        return jpeg(image, quality, max_width_px)

    def state(self) -> Mapping[str, Any]:
        zoom = self._lens.view.zoom
        applied = self._crop(self._zoomed())
        if self._whole is not None and applied is not None:
            zoom = round(self._whole[2] / applied[2], 2)
        return {"power": True, "zoom": zoom, "preset": self._lens.view.preset}

    def set_power(self, on: bool) -> None:
        """A CSI camera has no switch; the device logic keeps it closed."""

    def set_zoom(self, ratio: float) -> None:
        self._lens.zoom_to(ratio)

    def set_preset(self, name: str) -> None:
        self._lens.go_to(name)

    def _zoomed(self) -> Rectangle | None:
        if self._whole is None:
            return None
        x, y, width, height = self._whole
        left, top, cropped_width, cropped_height = self._lens.view.crop(width, height)
        return x + left, y + top, cropped_width, cropped_height

    def _crop(self, wanted: Rectangle | None) -> Rectangle | None:
        """Have the ISP show this part of the sensor; returns what the frames say that they show.

        The ISP rounds, so the last word is the metadata's, once it has come near or after CROP_FRAMES.
        """
        if wanted is None or wanted == self._asked:
            return self._shown
        self._opened().set_controls({"ScalerCrop": wanted})
        self._asked = wanted
        for _ in range(CROP_FRAMES):
            with self._request() as request:
                self._shown = cast("Rectangle", request.get_metadata().get("ScalerCrop", wanted))
            near_px = CROP_NEAR * wanted[2]
            if all(abs(got - asked) <= near_px for got, asked in zip(self._shown, wanted, strict=True)):
                break
        return self._shown

    @contextmanager
    def _request(self) -> Generator[Request]:
        """The next frame once the exposure has settled; given back at the end."""
        camera = self._opened()
        while True:
            with self._told("read"):
                request = camera.capture_request(wait=FRAME_TIMEOUT_S)
            if self._monotonic() >= self._settled_at:
                break
            request.release()
        try:
            yield request
        finally:
            request.release()

    def _opened(self) -> Picamera:
        if self._camera is None:
            raise Broken("the camera is not open")
        return self._camera

    def _listed(self) -> tuple[int, Mapping[str, str]]:
        """picamera2's index of the chosen camera, and its identity. USB cameras are the v4l2 backend's."""
        from picamera2 import Picamera2

        for index, info in enumerate(Picamera2.global_camera_info()):
            identity = {"name": str(info["Model"]), "path": str(info["Id"])}
            if videonodes.matches(identity, self._wanted) and "/usb" not in identity["path"]:
                return index, identity
        raise Absent("no CSI camera" if self._wanted is None else f"no CSI camera {self._wanted!r}")

    @contextmanager
    def _told(self, action: str) -> Generator[None]:
        """What picamera2's errors mean: it raises RuntimeError for all, the cause chained to it."""
        try:
            yield
        except TimeoutError as error:
            if self._camera is not None:
                self._camera.cancel_all_and_flush()
            raise Broken(f"no frame in {FRAME_TIMEOUT_S:g} s") from error
        except (RuntimeError, OSError, ValueError) as error:
            holder = self.holder() if action in ("opened", "started") else None
            if holder is not None:
                raise Busy("another program has the camera", in_use_by=holder) from error
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise Broken(f"the camera cannot be {action}: {error}{cause}") from error

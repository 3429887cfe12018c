"""A V4L2 frame's bytes as luma or as a picture. Pure; numpy and Pillow.

Raw formats are those of the kernel's "Image Formats" pages. A frame that is shorter than its format
says (a USB camera's lost packets) raises Broken, as does a JPEG that cannot be decoded.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from diemcau_drivers.contract import Broken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from diemcau_drivers.interfaces import Luma

RAW = ("YUYV", "NV12", "GREY")
JPEG = ("MJPG", "JPEG")
FORMATS = (*RAW, *JPEG)
"""Best first: motion and sharpness are truer where no encoder has been over the picture."""
BYTES_PER_PIXEL = {"YUYV": 2, "NV12": 1, "GREY": 1}
"""Of the first plane's rows."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """``stride_bytes``: a row's length in memory. ``full_range``: luma is 0 to 255, not 16 to 235."""

    fourcc: str
    width_px: int
    height_px: int
    stride_bytes: int
    full_range: bool


def luma(data: bytes, form: PixelFormat) -> Luma:
    """Brightness, shape (height, width), full range 0 to 255."""
    if form.fourcc in JPEG:
        return np.asarray(_decoded(data, "L"), dtype=np.uint8)
    rows = _first_plane(data, form)
    plane = rows[:, ::2] if form.fourcc == "YUYV" else rows
    return np.ascontiguousarray(plane) if form.full_range else _expanded(plane)


def picture(data: bytes, form: PixelFormat) -> Image.Image:
    """The frame in colour (grey for GREY)."""
    if form.fourcc in JPEG:
        return _decoded(data, "RGB")
    bright = luma(data, form)
    if form.fourcc == "GREY":
        return Image.fromarray(bright)
    if form.fourcc == "YUYV":
        chroma = _first_plane(data, form)[:, 1::2]
    else:  # NV12: a plane of half the rows, Cb and Cr in turn
        chroma = np.repeat(_rows(data, form, form.height_px, form.height_px // 2), 2, axis=0)
    planes = [bright]
    for first in (0, 1):
        plane = np.repeat(chroma[:, first::2], 2, axis=1)[: form.height_px, : form.width_px]
        planes.append(np.ascontiguousarray(plane) if form.full_range else _spread(plane))
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in planes]).convert("RGB")


def luma_of_rgb(rgb: NDArray[np.uint8]) -> Luma:
    """Luma (ITU-R BT.601) of a picture of shape (height, width, 3)."""
    weights = np.array((0.299, 0.587, 0.114), dtype=np.float32)
    return np.rint(rgb.astype(np.float32) @ weights).astype(np.uint8)


def _first_plane(data: bytes, form: PixelFormat) -> NDArray[np.uint8]:
    return _rows(data, form, 0, form.height_px)


def _rows(data: bytes, form: PixelFormat, first: int, count: int) -> NDArray[np.uint8]:
    wanted = form.width_px * BYTES_PER_PIXEL[form.fourcc]
    stride = max(form.stride_bytes, wanted)
    end = first * stride + (count - 1) * stride + wanted
    if len(data) < end:
        raise Broken(f"a frame of {len(data)} bytes, expected {end}: the camera lost a part of it")
    flat = np.frombuffer(data, dtype=np.uint8)[first * stride :][: count * stride]
    padded = np.zeros(count * stride, dtype=np.uint8)
    padded[: flat.size] = flat  # the last row may come without its padding
    return padded.reshape(count, stride)[:, :wanted]


def _expanded(plane: NDArray[np.uint8]) -> Luma:
    """16 to 235 (ITU-R BT.601, limited range) stretched to 0 to 255."""
    return np.clip(np.rint((plane.astype(np.float32) - 16.0) * (255.0 / 219.0)), 0, 255).astype(np.uint8)


def _spread(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour difference, 16 to 240 around 128, stretched to 0 to 255."""
    wide = (plane.astype(np.float32) - 128.0) * (255.0 / 224.0) + 128.0
    return np.clip(np.rint(wide), 0, 255).astype(np.uint8)


def _decoded(data: bytes, mode: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        image.draft(mode, None)
        return image.convert(mode)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise Broken(f"a JPEG frame that cannot be decoded: {error}") from error

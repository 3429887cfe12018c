"""Words and test cards on the console's framebuffer (/dev/fb0), drawn with Pillow.

Pillow is imported when there is something to show and not before: the display's process stays small.
The framebuffer is what the screen shows while no compositor runs on it. Raises Unsupported (no
framebuffer, or a pixel format that is none of the console's), Broken (no font, cannot be written).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_drivers.contract import Broken, Unsupported

from .videonodes import text

if TYPE_CHECKING:
    from PIL.Image import Image

DEPTHS = (16, 24, 32)
"""RGB565, RGB888 and XRGB8888, all little-endian: what the kernel's fbdev emulation gives (drm_fb_helper)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    width_px: int
    height_px: int
    depth_bits: int
    stride_bytes: int


class Screen:
    def __init__(self, sys: Path, dev: Path) -> None:
        self._sysfs = sys / "class/graphics/fb0"
        self._node = dev / "fb0"
        self._message = ""
        self._card: str = "off"

    @property
    def available(self) -> bool:
        return self._node.exists() and self._sysfs.is_dir()

    def show(self, *, message: str | None, card: str | None) -> Mapping[str, str]:
        """Words over a card; None leaves as it is, "" and "off" clear. Returns what is shown now."""
        from .cards import draw

        geometry = self._geometry()
        message = self._message if message is None else message
        card = self._card if card is None else card
        picture = draw(geometry.width_px, geometry.height_px, message, card)
        try:
            with self._node.open("r+b") as framebuffer:
                framebuffer.write(pixels(picture, geometry))
        except OSError as error:
            raise Broken(f"{self._node} cannot be written: {error}") from error
        self._message, self._card = message, card
        return {"message": message, "card": card}

    def _geometry(self) -> Geometry:
        if not self.available:
            raise Unsupported("no framebuffer in this machine")
        try:
            width_px, height_px = (
                int(part) for part in (text(self._sysfs / "virtual_size") or "").split(",")
            )
            depth_bits = int(text(self._sysfs / "bits_per_pixel") or "")
            stride_bytes = int(text(self._sysfs / "stride") or width_px * depth_bits // 8)
        except ValueError as error:
            raise Unsupported(f"{self._sysfs} does not tell the framebuffer's size") from error
        if depth_bits not in DEPTHS or width_px < 1 or height_px < 1:
            raise Unsupported(f"a framebuffer of {width_px}x{height_px} pixels of {depth_bits} bits")
        return Geometry(width_px, height_px, depth_bits, stride_bytes)


def pixels(picture: Image, geometry: Geometry) -> bytes:
    """An RGB picture as the framebuffer wants it, rows padded to the stride."""
    if geometry.depth_bits == 16:
        data = _rgb565(picture)
    else:
        data = picture.tobytes("raw", "BGRX" if geometry.depth_bits == 32 else "BGR")
    row_bytes = geometry.width_px * geometry.depth_bits // 8
    padding = bytes(max(0, geometry.stride_bytes - row_bytes))
    if not padding:
        return data
    return b"".join(data[at : at + row_bytes] + padding for at in range(0, len(data), row_bytes))


def _rgb565(picture: Image) -> bytes:
    """Two bytes a pixel, low first: GGGBBBBB RRRRRGGG. By Pillow's channel arithmetic: no numpy here."""
    from PIL import Image, ImageChops

    red, green, blue = picture.split()
    low = ImageChops.add(green.point([level << 3 & 0xE0 for level in range(256)]), blue.point(_shift(3)))
    high = ImageChops.add(red.point([level & 0xF8 for level in range(256)]), green.point(_shift(5)))
    return Image.merge("LA", (low, high)).tobytes()


def _shift(bits: int) -> list[int]:
    return [level >> bits for level in range(256)]

"""What the simulated camera looks at: a photograph, frames in order, or a meeting room that is drawn here.

Sensor noise and a slow change of the light make it live: no two frames are identical. Zoom crops.
"""

from __future__ import annotations

import io
import math
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, UnidentifiedImageError

from .world import World

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Luma

    Pixels = NDArray[np.uint8]

SIZE_PX = (640, 480)
SOURCE_SIZE_PX = (1280, 960)
"""Kept in more detail than a frame, so that zooming in finds some."""
FPS = 30.0
NOISE_LEVELS = 2.0
"""Sensor noise, standard deviation in levels of 255: -41 dB between frames."""
LIGHT_SWING = 0.02
LIGHT_PERIOD_S = 90.0
"""A cloud passes."""
DARK_LUMA = 0.12 * 255
COVERED_LUMA = 0.25 * 255
BLACK_LUMA = 4.0
OVEREXPOSED_SHARE = 0.6
BLUR_RADIUS_PX = 9.0
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class Scene:
    """The camera's sight of ``world``. Any thread may call.

    ``source``: a photograph, or a directory whose frames follow each other, one a grabbed frame, over and
    over. Raises ValueError naming what is wrong with it.
    """

    def __init__(self, world: World, source: Path | None = None, *, seed: int = 0) -> None:
        self._world = world
        self._paths = () if source is None else frames_of(source)
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._count = 0
        self._last: Pixels | None = None
        self._frozen: Pixels | None = None
        if self._paths:
            _load(self._paths[0])

    def grab(self, count: int) -> tuple[list[Luma], float]:
        """``count`` consecutive frames, shape (480, 640), and the frame rate in 1/s."""
        with self._lock:
            return [self._frame() for _ in range(count)], FPS

    def jpeg(self, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
        """One picture in colour, with its width and height."""
        with self._lock:
            picture = Image.fromarray(self._expose(self._sight(), self._world.faults))
        if picture.width > max_width_px:
            picture = picture.resize((max_width_px, max(1, picture.height * max_width_px // picture.width)))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return file.getvalue(), picture.width, picture.height

    def _frame(self) -> Luma:
        faults = self._world.faults
        self._count += 1
        if "frame_frozen" not in faults:
            self._frozen = None
        elif self._frozen is not None:
            return self._frozen
        self._last = self._expose(self._sight().convert("L"), faults)
        if "frame_frozen" in faults:
            self._frozen = self._last
        return self._last

    def _sight(self) -> Image.Image:
        """What is before the lens, zoomed, in colour."""
        picture = _load(self._paths[self._count % len(self._paths)]) if self._paths else meeting_room()
        camera = self._world.camera
        width, height = picture.width / camera.zoom, picture.height / camera.zoom
        left = min(max(camera.centre_x * picture.width - width / 2, 0.0), picture.width - width)
        top = min(max(camera.centre_y * picture.height - height / 2, 0.0), picture.height - height)
        sight = picture.resize(
            SIZE_PX, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
        )
        if "frame_blurred" in self._world.faults:
            return sight.filter(ImageFilter.GaussianBlur(BLUR_RADIUS_PX))
        return sight

    def _expose(self, sight: Image.Image, faults: frozenset[str]) -> Pixels:
        """Light and sensor: what comes out of the lens as pixels, luma or colour."""
        light = np.asarray(sight, np.float32)
        turn = 2.0 * math.pi * self._world.clock() / LIGHT_PERIOD_S
        light = light * np.float32(1.0 + LIGHT_SWING * math.sin(turn))
        noise = NOISE_LEVELS
        if not self._world.camera.power or "frame_black" in faults:
            light, noise = np.full_like(light, BLACK_LUMA), 1.0
        elif "frame_covered" in faults:
            light = np.full_like(light, COVERED_LUMA)
        elif "frame_dark" in faults:
            light = np.square(light)  # what is left of the light comes from few places
            light *= np.float32(DARK_LUMA / max(float(light.mean()), 1.0))
        elif "frame_overexposed" in faults:
            light = light * np.float32(255.0 / max(float(np.quantile(light, 1.0 - OVEREXPOSED_SHARE)), 1.0))
        light = light + self._random.standard_normal(light.shape, np.float32) * np.float32(noise)
        return np.clip(np.rint(light), 0.0, 255.0).astype(np.uint8)


def frames_of(source: Path) -> tuple[Path, ...]:
    """The pictures of ``source`` in the order of their names. Raises ValueError."""
    if source.is_dir():
        found = tuple(sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES))
        if not found:
            raise ValueError(f"{source}: no picture in it, expected {', '.join(SUFFIXES)}")
        return found
    if not source.is_file():
        raise ValueError(f"{source}: no such file or directory")
    return (source,)


@lru_cache(maxsize=32)
def _load(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{path}: no picture that can be read: {error}") from error
    picture.thumbnail(SOURCE_SIZE_PX)
    return picture


@lru_cache(maxsize=1)
def meeting_room() -> Image.Image:
    """A meeting room: panelled wall, window, screen, table, people and papers; enough edges to be sharp."""
    width, height = SOURCE_SIZE_PX
    picture = Image.new("RGB", SOURCE_SIZE_PX, (168, 160, 148))
    draw = ImageDraw.Draw(picture)
    random = np.random.default_rng(1)

    def box(x: float, y: float, wide: float, high: float, fill: Any, outline: Any = None) -> None:
        left, top = x * width, y * height
        draw.rectangle((left, top, left + wide * width, top + high * height), fill=fill, outline=outline)

    for panel in range(16):  # wood panels with grain
        tone = 120 + int(random.integers(-14, 14))
        box(panel / 16, 0.0, 1 / 16 - 0.004, 0.55, (tone + 20, tone, tone - 26))
        for _ in range(14):
            x = panel / 16 + float(random.uniform(0.002, 0.055))
            draw.line(
                (x * width, 0, x * width, 0.55 * height), fill=(tone + 4, tone - 18, tone - 44), width=2
            )
    box(0.04, 0.08, 0.2, 0.32, (214, 226, 236), (60, 50, 40))  # window with a blind
    for slat in range(20):
        box(0.04, 0.08 + slat * 0.016, 0.2, 0.006, (150, 160, 170))
    box(0.36, 0.06, 0.3, 0.3, (22, 26, 34), (8, 8, 8))  # the screen, with a grid of rooms
    for row in range(4):
        for column in range(5):
            tone = int(random.integers(60, 200))
            box(0.37 + column * 0.058, 0.075 + row * 0.07, 0.05, 0.058, (tone, tone - 20, tone // 2 + 60))
    for row in range(7):  # a tiled floor
        for column in range(24):
            light = 96 if (row + column) % 2 else 140
            box(column / 24, 0.55 + row * 0.065, 1 / 24, 0.065, (light, light - 4, light - 12))
    draw.polygon(
        [
            (0.18 * width, height),
            (0.34 * width, 0.5 * height),
            (0.68 * width, 0.5 * height),
            (0.86 * width, height),
        ],
        fill=(104, 70, 44),
        outline=(40, 26, 16),
    )
    for seat in range(5):  # people along the table
        for side in (-1, 1):
            y = 0.44 + seat * 0.09
            x = 0.515 + side * (0.19 + seat * 0.055)
            size = 0.03 + seat * 0.008
            jacket = tuple(int(value) for value in random.integers(30, 120, 3))
            draw.ellipse(
                (
                    (x - size * 1.4) * width,
                    (y + size) * height,
                    (x + size * 1.4) * width,
                    (y + size * 5) * height,
                ),
                fill=jacket,
                outline=(12, 12, 12),
            )
            draw.ellipse(
                (
                    (x - size * 0.7) * width,
                    (y - size) * height,
                    (x + size * 0.7) * width,
                    (y + size * 1.4) * height,
                ),
                fill=(206, 168, 138),
                outline=(60, 40, 30),
            )
    for _ in range(26):  # papers with lines of writing
        depth = float(random.uniform(0.0, 1.0))
        x = 0.5 + float(random.uniform(-0.5, 0.5)) * (0.24 + 0.3 * depth)
        y = 0.54 + 0.4 * depth
        box(x, y, 0.026 + 0.02 * depth, 0.02 + 0.02 * depth, (238, 236, 228), (90, 90, 90))
        for line in range(4):
            box(x + 0.004, y + 0.004 + line * 0.0045, 0.018 + 0.016 * depth, 0.0018, (70, 70, 80))
    return picture

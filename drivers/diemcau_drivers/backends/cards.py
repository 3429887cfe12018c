"""What is drawn on a screen: words that can be read from the back of a hall, and test cards. Pillow only."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from diemcau_drivers.contract import Broken

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
"""Debian's fonts-dejavu-core: has every letter of Vietnamese."""
BAR_LEVEL = 191
"""75 % of full scale (SMPTE EG 1)."""
BARS = tuple(
    (BAR_LEVEL * red, BAR_LEVEL * green, BAR_LEVEL * blue)
    for red, green, blue in (
        (1, 1, 1),
        (1, 1, 0),
        (0, 1, 1),
        (0, 1, 0),
        (1, 0, 1),
        (1, 0, 0),
        (0, 0, 1),
        (0, 0, 0),
    )
)
"""White, yellow, cyan, green, magenta, red, blue, black."""
GRID_COLUMNS = 16
MARGIN = 0.06
"""Of the height; screens cut their edges (overscan)."""
LARGEST = 0.16
SMALLEST = 0.03
LINE_SPACING = 1.3


def draw(width_px: int, height_px: int, message: str, card: str) -> Image.Image:
    """A card ("bars", "grid"; "off" = black) with words over it ("" = none). Raises Broken without a font."""
    picture = Image.new("RGB", (width_px, height_px))
    if card == "bars":
        _bars(picture)
    elif card == "grid":
        _grid(picture)
    if message.strip():
        _words(picture, message)
    return picture


def _bars(picture: Image.Image) -> None:
    pen = ImageDraw.Draw(picture)
    for index, colour in enumerate(BARS):
        left = picture.width * index // len(BARS)
        right = picture.width * (index + 1) // len(BARS)
        pen.rectangle((left, 0, right - 1, picture.height - 1), fill=colour)


def _grid(picture: Image.Image) -> None:
    """Squares and a circle: what is stretched, cut off or out of focus is seen at once."""
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    side = max(2, width // GRID_COLUMNS)
    line = max(1, height // 540)
    for x in range(width // 2 % side, width, side):
        pen.line((x, 0, x, height), fill="white", width=line)
    for y in range(height // 2 % side, height, side):
        pen.line((0, y, width, y), fill="white", width=line)
    pen.rectangle((0, 0, width - 1, height - 1), outline="white", width=line)
    radius = min(width, height) * 2 // 5
    box = (width // 2 - radius, height // 2 - radius, width // 2 + radius, height // 2 + radius)
    pen.ellipse(box, outline="white", width=2 * line)


def _words(picture: Image.Image, message: str) -> None:
    """As large as they fit, in the middle, white on black."""
    width, height = picture.size
    margin = round(height * MARGIN)
    size = max(8, round(height * LARGEST))
    while True:
        font = _font(size)
        lines = wrapped(message, font, width - 2 * margin)
        line_height = size * LINE_SPACING
        fits = line_height * len(lines) <= height - 2 * margin
        if fits or size <= max(8, round(height * SMALLEST)):
            break
        size = max(8, size * 9 // 10)
    pen = ImageDraw.Draw(picture)
    widest = max(font.getlength(line) for line in lines)
    top = (height - line_height * len(lines)) / 2
    left, pad = (width - widest) / 2, size / 2
    pen.rectangle((left - pad, top - pad, left + widest + pad, height - top + pad), fill="black")
    for row, line in enumerate(lines):
        x = (width - font.getlength(line)) / 2
        pen.text((x, top + row * line_height), line, font=font, fill="white")


def wrapped(message: str, font: FreeTypeFont, width_px: float) -> list[str]:
    """The message in lines no wider than ``width_px``; a single longer word stands alone."""
    lines: list[str] = []
    for paragraph in message.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width_px:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines


@lru_cache(maxsize=32)
def _font(size_px: int) -> FreeTypeFont:
    try:
        return ImageFont.truetype(str(FONT), size_px)
    except OSError as error:
        raise Broken(f"{FONT} cannot be read (Debian package fonts-dejavu-core): {error}") from error

"""Words and cards on a framebuffer that is a plain file, in each pixel format of the console."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from diemcau_drivers.backends.cards import BARS, FONT, draw, wrapped
from diemcau_drivers.backends.screen import Geometry, Screen, pixels
from diemcau_drivers.contract import Broken, Unsupported
from fake_sysfs import FakeSysfs

WIDTH, HEIGHT = 320, 180


def framebuffer(kernel: FakeSysfs, depth_bits: int, padding_bytes: int = 0) -> Path:
    stride = WIDTH * depth_bits // 8 + padding_bytes
    kernel.write("sys/class/graphics/fb0/virtual_size", f"{WIDTH},{HEIGHT}\n")
    kernel.write("sys/class/graphics/fb0/bits_per_pixel", f"{depth_bits}\n")
    kernel.write("sys/class/graphics/fb0/stride", f"{stride}\n")
    return kernel.write("dev/fb0", bytes(stride * HEIGHT))


def shown(node: Path, depth_bits: int, padding_bytes: int = 0) -> np.ndarray:
    """The file as RGB, shape (HEIGHT, WIDTH, 3), by the format's definition."""
    rows = np.frombuffer(node.read_bytes(), np.uint8).reshape(HEIGHT, -1)
    rows = rows[:, : rows.shape[1] - padding_bytes] if padding_bytes else rows
    if depth_bits == 16:
        words = rows.reshape(HEIGHT, WIDTH, 2).astype(np.uint16)
        value = words[:, :, 0] | words[:, :, 1] << 8
        return np.dstack([value >> 11 << 3, (value >> 5 & 0x3F) << 2, (value & 0x1F) << 3]).astype(np.uint8)
    return rows.reshape(HEIGHT, WIDTH, depth_bits // 8)[:, :, 2::-1]


@pytest.fixture
def kernel(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "root")


@pytest.mark.parametrize("depth_bits", [16, 24, 32])
@pytest.mark.parametrize("padding_bytes", [0, 64])
def test_the_bars_are_the_bars_in_every_pixel_format(
    kernel: FakeSysfs, depth_bits: int, padding_bytes: int
) -> None:
    node = framebuffer(kernel, depth_bits, padding_bytes)
    size = node.stat().st_size
    answer = Screen(kernel.sys, kernel.dev).show(message=None, card="bars")
    assert answer == {"message": "", "card": "bars"}
    picture = shown(node, depth_bits, padding_bytes)
    middles = [picture[HEIGHT // 2, WIDTH * (2 * index + 1) // 16] for index in range(8)]
    np.testing.assert_allclose(middles, BARS, atol=8)
    assert node.stat().st_size == size


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_rgb565_keeps_the_high_bits_of_each_colour(red: int, green: int, blue: int) -> None:
    data = pixels(Image.new("RGB", (1, 1), (red, green, blue)), Geometry(1, 1, 16, 2))
    assert int.from_bytes(data, "little") == red >> 3 << 11 | green >> 2 << 5 | blue >> 3


def test_words_stay_over_a_card_until_they_are_cleared(kernel: FakeSysfs) -> None:
    node = framebuffer(kernel, 32)
    screen = Screen(kernel.sys, kernel.dev)
    screen.show(message="Xin chào", card=None)
    words = shown(node, 32)
    assert (words == 255).any()
    assert screen.show(message=None, card="grid") == {"message": "Xin chào", "card": "grid"}
    assert (shown(node, 32) == 255).sum() > (words == 255).sum()
    assert screen.show(message="", card="off") == {"message": "", "card": "off"}
    assert not shown(node, 32).any()


def glyph(font: FreeTypeFont, letter: str) -> bytes:
    picture = Image.new("L", (64, 64))
    ImageDraw.Draw(picture).text((8, 8), letter, font=font, fill=255)
    return picture.tobytes()


def test_every_letter_of_vietnamese_has_a_glyph() -> None:
    font = ImageFont.truetype(str(FONT), 32)
    missing = glyph(font, "\U0010fffe")
    tones = ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323")
    letters = [unicodedata.normalize("NFC", vowel + tone) for vowel in "aăâeêioôơuưy" for tone in tones]
    for letter in ("đ", *letters):
        assert len(letter) == 1
        assert glyph(font, letter) != missing
        assert glyph(font, letter.upper()) != missing


@pytest.mark.parametrize(
    "message", ["Hội nghị bắt đầu lúc 7 giờ 30", "x" * 300, "một\nhai\n\nba", "a b " * 75]
)
def test_words_fit_between_the_margins_whatever_their_length(message: str) -> None:
    picture = np.asarray(draw(1280, 720, message, "off"))
    lit = np.argwhere(picture.any(axis=2))
    assert lit.size
    assert lit[:, 0].min() > 10
    assert lit[:, 0].max() < 710
    if " " in message:
        assert lit[:, 1].min() > 10
        assert lit[:, 1].max() < 1270


@given(st.lists(st.text("abcđêơ", min_size=1, max_size=8), max_size=20).map(" ".join), st.integers(50, 400))
def test_wrapping_loses_no_word_and_no_order(message: str, width_px: int) -> None:
    font = ImageFont.truetype(str(FONT), 16)
    lines = wrapped(message, font, width_px)
    assert " ".join(lines).split() == message.split()
    assert all(font.getlength(line) <= width_px or " " not in line for line in lines)


@pytest.mark.parametrize(
    ("attribute", "value"), [("bits_per_pixel", "8"), ("bits_per_pixel", "x"), ("virtual_size", "0,0")]
)
def test_a_framebuffer_that_is_none_of_the_consoles_is_refused(
    kernel: FakeSysfs, attribute: str, value: str
) -> None:
    framebuffer(kernel, 32)
    kernel.write(f"sys/class/graphics/fb0/{attribute}", value)
    with pytest.raises(Unsupported, match="framebuffer"):
        Screen(kernel.sys, kernel.dev).show(message="x", card=None)


def test_without_a_framebuffer_nothing_can_be_shown(kernel: FakeSysfs) -> None:
    screen = Screen(kernel.sys, kernel.dev)
    assert not screen.available
    with pytest.raises(Unsupported, match="no framebuffer"):
        screen.show(message="x", card=None)


def test_a_framebuffer_that_refuses_to_be_written_is_told(
    kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = framebuffer(kernel, 32)
    node.unlink()
    node.mkdir()
    with pytest.raises(Broken, match="cannot be written"):
        Screen(kernel.sys, kernel.dev).show(message="", card="off")


def test_the_displays_process_imports_no_pillow_and_no_numpy_until_it_shows_something() -> None:
    code = (
        "import sys, diemcau_drivers.display, diemcau_drivers.backends.cec as cec;"
        "cec.CecDisplay({}).capabilities();"
        "print([name for name in ('PIL', 'numpy', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=15
    )
    assert done.stdout.strip() == "[]"

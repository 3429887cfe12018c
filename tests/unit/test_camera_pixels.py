"""V4L2's pixel formats, against frames packed here by the formats' own definitions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from diemcau_drivers.backends.pixels import PixelFormat, luma, luma_of_rgb, picture
from diemcau_drivers.contract import Broken

even = st.integers(1, 12).map(lambda half: 2 * half)
pictures = st.tuples(even, even).flatmap(lambda shape: arrays(np.uint8, shape))


def packed(fourcc: str, bright: np.ndarray, cb: int = 128, cr: int = 128, padding: int = 0) -> bytes:
    """The frame in memory, each row followed by ``padding`` bytes of rubbish."""
    height, width = bright.shape
    if fourcc == "YUYV":
        rows = np.empty((height, 2 * width), np.uint8)
        rows[:, ::2], rows[:, 1::4], rows[:, 3::4] = bright, cb, cr
    elif fourcc == "NV12":
        colour = np.empty((height // 2, width), np.uint8)
        colour[:, ::2], colour[:, 1::2] = cb, cr
        rows = np.vstack([bright, colour])
    else:
        rows = bright
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE).tobytes()


def form(fourcc: str, bright: np.ndarray, padding: int = 0, full_range: bool = True) -> PixelFormat:
    height, width = bright.shape
    stride = (2 * width if fourcc == "YUYV" else width) + padding
    return PixelFormat(fourcc, width, height, stride, full_range)


@pytest.mark.parametrize("fourcc", ["YUYV", "NV12", "GREY"])
@given(bright=pictures, padding=st.integers(0, 7))
def test_luma_comes_out_as_it_went_in(fourcc: str, bright: np.ndarray, padding: int) -> None:
    got = luma(packed(fourcc, bright, padding=padding), form(fourcc, bright, padding))
    np.testing.assert_array_equal(got, bright)


@pytest.mark.parametrize("fourcc", ["YUYV", "NV12", "GREY"])
def test_limited_range_is_stretched_to_full(fourcc: str) -> None:
    bright = np.tile(np.array([16, 235, 4, 250], np.uint8), (2, 1))
    got = luma(packed(fourcc, bright), form(fourcc, bright, full_range=False))
    np.testing.assert_array_equal(got[0], [0, 255, 0, 255])


@pytest.mark.parametrize("fourcc", ["YUYV", "NV12"])
def test_colours_come_out_as_they_went_in(fourcc: str) -> None:
    red = Image.new("RGB", (8, 4), (200, 30, 40)).convert("YCbCr").getpixel((0, 0))
    assert isinstance(red, tuple)
    bright = np.full((4, 8), red[0], np.uint8)
    shown = picture(packed(fourcc, bright, cb=int(red[1]), cr=int(red[2])), form(fourcc, bright))
    assert shown.size == (8, 4)
    np.testing.assert_allclose(np.asarray(shown)[2, 5], (200, 30, 40), atol=3)


def test_a_limited_range_grey_has_no_tint() -> None:
    bright = np.full((4, 8), 126, np.uint8)
    shown = picture(packed("NV12", bright), form("NV12", bright, full_range=False))
    np.testing.assert_allclose(np.asarray(shown), 128, atol=1)


def test_grey_is_shown_grey() -> None:
    bright = np.arange(32, dtype=np.uint8).reshape(4, 8)
    np.testing.assert_array_equal(np.asarray(picture(packed("GREY", bright), form("GREY", bright))), bright)


def test_a_jpeg_frame_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), (128, 128, 128)).save(buffer, "JPEG", quality=95)
    jpeg_form = PixelFormat("MJPG", 64, 32, 0, True)
    np.testing.assert_allclose(luma(buffer.getvalue(), jpeg_form), 128, atol=2)
    assert picture(buffer.getvalue(), jpeg_form).size == (64, 32)


@given(st.binary(max_size=64))
def test_a_jpeg_frame_full_of_rubbish_is_the_cameras_fault(rubbish: bytes) -> None:
    with pytest.raises(Broken, match="cannot be decoded"):
        luma(rubbish, PixelFormat("MJPG", 64, 32, 0, True))


@pytest.mark.parametrize("fourcc", ["YUYV", "NV12", "GREY"])
def test_a_frame_cut_short_is_the_cameras_fault(fourcc: str) -> None:
    bright = np.zeros((8, 8), np.uint8)
    with pytest.raises(Broken, match="lost a part"):
        picture(packed(fourcc, bright)[: 8 * 7], form(fourcc, bright))


def test_a_last_row_without_its_padding_is_whole() -> None:
    bright = np.full((4, 8), 99, np.uint8)
    data = packed("GREY", bright, padding=5)[:-5]
    np.testing.assert_array_equal(luma(data, form("GREY", bright, padding=5)), bright)


def test_luma_weighs_green_most() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(luma_of_rgb(rgb), [[76, 150, 29, 255]])

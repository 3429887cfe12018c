"""Zoom by cropping: the view stays in the picture, outlives the process, and a broken file is no harm."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diemcau_drivers.backends.lens import Lens, View, jpeg
from diemcau_drivers.contract import BadRequest, Broken

shares = st.floats(0, 1)


@given(st.floats(1, 10), shares, shares, st.integers(2, 4000), st.integers(2, 4000))
def test_the_crop_lies_inside_the_picture(zoom: float, cx: float, cy: float, width: int, height: int) -> None:
    left, top, cropped_width, cropped_height = View(zoom, cx, cy).crop(width, height)
    assert 0 <= left <= left + cropped_width <= width
    assert 0 <= top <= top + cropped_height <= height
    assert cropped_width >= 2
    assert all(number % 2 == 0 for number in (left, top, cropped_width, cropped_height))


def test_twice_the_zoom_is_half_the_width_around_the_centre() -> None:
    assert View(2.0, 0.5, 0.5).crop(1280, 720) == (320, 180, 640, 360)
    assert View(2.0, 0.0, 1.0).crop(1280, 720) == (0, 360, 640, 360)
    assert View().crop(1280, 720) == (0, 0, 1280, 720)


def test_the_view_outlives_the_process(tmp_path: Path) -> None:
    options = {"runtime_dir": str(tmp_path), "presets": {"desk": [2.5, 0.4, 0.6]}}
    Lens(options).go_to("desk")
    assert Lens(options).view == View(2.5, 0.4, 0.6, "desk")
    Lens(options).zoom_to(3.0)
    assert Lens(options).view == View(3.0, 0.4, 0.6, None)


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"zoom": 0, "cx": 0, "cy": 0, "preset": null}',
        '{"zoom": "big", "cx": 0, "cy": 0, "preset": null}',
        '{"zoom": 2, "cx": 0, "cy": 0, "preset": "gone"}',
    ],
)
def test_a_kept_view_that_makes_no_sense_is_the_whole_picture(tmp_path: Path, kept: str) -> None:
    (tmp_path / "camera-view.json").write_text(kept)
    assert Lens({"runtime_dir": str(tmp_path)}).view == View()


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match="expected one of desk"):
        Lens({"presets": {"desk": [1, 0.5, 0.5]}}).go_to("moon")


def test_a_view_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="cannot be kept"):
        Lens({"runtime_dir": str(tmp_path / "missing")}).zoom_to(2.0)


def test_a_jpeg_is_no_wider_than_asked_and_keeps_its_shape() -> None:
    data, width, height = jpeg(Image.new("RGB", (1280, 720), "teal"), 60, 640)
    assert (width, height) == (640, 360)
    with Image.open(io.BytesIO(data)) as back:
        assert (back.format, back.size) == ("JPEG", (640, 360))
        assert not back.getexif()

"""What a picture is worth, against pictures whose worth is known beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diemcau_drivers.contract import CAMERA_READINGS
from diemcau_drivers.measure import picture

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Luma

pictures = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def flat(level: int, height: int = 90, width: int = 160) -> Luma:
    return np.full((height, width), level, dtype=np.uint8)


def noise(spread: float, seed: int = 1, level: float = 128.0) -> Luma:
    generator = np.random.default_rng(seed)
    return np.clip(generator.normal(level, spread, (90, 160)), 0, 255).astype(np.uint8)


def stripes(period_px: int, width: int = 640, height: int = 360) -> Luma:
    row = np.where(np.arange(width) // (period_px // 2) % 2 == 0, 30, 220).astype(np.uint8)
    return np.tile(row, (height, 1))


def blurred(luma: Luma, radius_px: int) -> Luma:
    kernel = np.ones(2 * radius_px + 1) / (2 * radius_px + 1)
    padded = np.pad(luma.astype(float), ((0, 0), (radius_px, radius_px)), mode="edge")
    return np.array([np.convolve(row, kernel, mode="valid") for row in padded]).astype(np.uint8)


def test_black_and_white_are_the_ends_of_every_scale() -> None:
    assert picture.luma_mean(flat(0)) == 0.0
    assert picture.luma_mean(flat(255)) == 1.0
    assert picture.dark_ratio(flat(0)) == 1.0
    assert picture.dark_ratio(flat(255)) == 0.0
    assert picture.bright_ratio(flat(255)) == 1.0
    assert picture.bright_ratio(flat(128)) == 0.0
    assert picture.luma_std(flat(77)) == 0.0


def test_the_dark_and_bright_thresholds_are_where_they_are_said_to_be() -> None:
    assert picture.dark_ratio(flat(26)) == 1.0  # 0.10 of 255 is 25.5
    assert picture.dark_ratio(flat(27)) == 0.0
    assert picture.bright_ratio(flat(250)) == 1.0  # 0.98 of 255 is 249.9
    assert picture.bright_ratio(flat(249)) == 0.0


def test_half_black_half_white_is_half_of_each_and_spread_by_half() -> None:
    halves = np.hstack([flat(0), flat(255)])
    assert picture.dark_ratio(halves) == 0.5
    assert picture.bright_ratio(halves) == 0.5
    assert picture.luma_std(halves) == pytest.approx(0.5)


def test_the_laplacian_of_one_bright_point_is_known_by_hand() -> None:
    point = np.zeros((5, 5), dtype=np.uint8)
    point[2, 2] = 10
    inside = np.array([[0, 10, 0], [10, -40, 10], [0, 10, 0]])
    assert picture.sharpness(point) == pytest.approx(inside.var())


def test_blur_loses_most_of_the_sharpness() -> None:
    sharp = stripes(16)
    assert picture.sharpness(blurred(sharp, 9)) < 0.4 * picture.sharpness(sharp)


def test_sharpness_hardly_depends_on_the_cameras_size() -> None:
    small, large = stripes(16, 640, 360), stripes(32, 1280, 720)
    assert picture.sharpness(large) == pytest.approx(picture.sharpness(small), rel=0.05)


def test_a_picture_without_an_inside_has_no_sharpness() -> None:
    assert picture.sharpness(flat(9, 2, 2)) == 0.0


def test_identical_frames_stand_still_and_a_sensors_noise_does_not() -> None:
    still = flat(100)
    assert picture.motion_db([still, still.copy(), still]) == picture.IDENTICAL_DB
    assert picture.motion_db([noise(1.0, 1), noise(1.0, 2)]) > -60.0


def test_motion_is_the_mean_difference_in_decibels() -> None:
    assert picture.motion_db([flat(0), flat(255)]) == 0.0
    assert picture.motion_db([flat(100), flat(110)]) == pytest.approx(20 * np.log10(10 / 255))
    one_pixel = flat(100)
    one_pixel[0, 0] += 1
    assert picture.motion_db([flat(100), one_pixel]) < -60.0


@given(pictures)
def test_every_reading_stays_within_its_bounds(luma: Luma) -> None:
    assert 0.0 <= picture.luma_mean(luma) <= 1.0
    assert 0.0 <= picture.luma_std(luma) <= 0.5 + 1e-9
    assert 0.0 <= picture.dark_ratio(luma) + picture.bright_ratio(luma) <= 1.0
    assert picture.sharpness(luma) >= 0.0


@given(pictures, st.integers(1, 50), st.integers(1, 50))
def test_resampling_keeps_the_mean_and_makes_no_new_extremes(luma: Luma, height: int, width: int) -> None:
    small = picture.resample(luma, height, width)
    assert small.shape == (height, width)
    assert small.mean() == pytest.approx(luma.mean(), abs=1e-6)
    assert luma.min() - 1e-6 <= small.min()
    assert small.max() <= luma.max() + 1e-6


@given(pictures, st.integers(0, 255))
def test_motion_does_not_care_which_frame_came_first(luma: Luma, level: int) -> None:
    other = np.full_like(luma, level)
    assert picture.motion_db([luma, other]) == picture.motion_db([other, luma])


def test_a_look_has_the_readings_of_the_contract_and_no_others() -> None:
    readings = picture.look([noise(2.0, seed) for seed in range(3)], 25.0)
    assert set(readings) == set(CAMERA_READINGS)
    assert (readings["width_px"], readings["height_px"], readings["fps"]) == (160, 90, 25.0)


def test_what_a_single_frame_cannot_tell_is_left_out() -> None:
    readings = picture.look([flat(90)], 0.0)
    assert "motion_db" not in readings
    assert "fps" not in readings


@pytest.mark.parametrize("wrong", [np.zeros((0, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(wrong: Luma) -> None:
    with pytest.raises(ValueError, match="shape"):
        picture.look([wrong], 1.0)


def test_frames_of_different_sizes_and_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="frames of"):
        picture.motion_db([flat(0, 4, 4), flat(0, 4, 5)])
    with pytest.raises(ValueError, match="no frame"):
        picture.look([], 1.0)

"""What a camera's frames show: brightness, sharpness, motion. Pure, numpy only.

Every function takes luma, shape (height, width), uint8, full range 0 to 255. None raises but
ValueError on a picture that is empty or not two-dimensional.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from diemcau_drivers.interfaces import Luma

FULL_SCALE = 255.0
DARK_LUMA = round(0.10 * FULL_SCALE)
"""At most this is a dark pixel: FFmpeg blackdetect's ``pixel_black_th``."""
BRIGHT_LUMA = round(0.98 * FULL_SCALE)
"""At least this is a burnt-out pixel."""
SHARPNESS_WIDTH_PX = 320
"""Sharpness is compared with a baseline, so it is measured at one size whatever the camera gives."""
IDENTICAL_DB = -120.0
"""What stands for minus infinity where two frames are the same."""


def look(frames: Sequence[Luma], fps: float) -> dict[str, float]:
    """The camera's readings (contract.CAMERA_READINGS) from consecutive frames.

    ``motion_db`` is left out of a single frame, and ``fps`` where it is not known (0).
    """
    if not frames:
        raise ValueError("no frame")
    last = frames[-1]
    height_px, width_px = checked(last).shape
    readings = {
        "luma_mean": luma_mean(last),
        "luma_std": luma_std(last),
        "dark_ratio": dark_ratio(last),
        "bright_ratio": bright_ratio(last),
        "sharpness": sharpness(last),
        "width_px": width_px,
        "height_px": height_px,
    }
    if len(frames) > 1:
        readings["motion_db"] = motion_db(frames)
    if fps > 0:
        readings["fps"] = fps
    return readings


def luma_mean(luma: Luma) -> float:
    """Mean brightness, 0 to 1."""
    return float(checked(luma).mean()) / FULL_SCALE


def luma_std(luma: Luma) -> float:
    """Spread of brightness, 0 to 0.5."""
    return float(checked(luma).std()) / FULL_SCALE


def dark_ratio(luma: Luma) -> float:
    """Share of pixels with luma at most 10 % of full scale."""
    return float(np.count_nonzero(checked(luma) <= DARK_LUMA)) / luma.size


def bright_ratio(luma: Luma) -> float:
    """Share of pixels with luma at least 98 % of full scale."""
    return float(np.count_nonzero(checked(luma) >= BRIGHT_LUMA)) / luma.size


def sharpness(luma: Luma) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000), luma in 0 to 255, at 320 px of width.

    A picture too small to have an inside (under 3 x 3) has sharpness 0.
    """
    height_px, width_px = checked(luma).shape
    height_px = max(1, round(height_px * min(1.0, SHARPNESS_WIDTH_PX / width_px)))
    small = resample(luma, height_px, min(width_px, SHARPNESS_WIDTH_PX))
    if min(small.shape) < 3:
        return 0.0
    inside = small[1:-1, 1:-1]
    laplacian = small[:-2, 1:-1] + small[2:, 1:-1] + small[1:-1, :-2] + small[1:-1, 2:] - 4.0 * inside
    return float(laplacian.var())


def motion_db(frames: Sequence[Luma]) -> float:
    """Mean absolute difference of consecutive frames, dB of full scale (as FFmpeg freezedetect's noise).

    -120 where nothing changed at all: a live sensor is never that quiet. Raises ValueError on fewer
    than two frames or on frames of different sizes.
    """
    if len(frames) < 2:
        raise ValueError("motion needs two frames")
    differences: list[float] = []
    for before, after in pairwise(frames):
        if checked(before).shape != checked(after).shape:
            raise ValueError(f"frames of {before.shape} and {after.shape}")
        change = np.abs(after.astype(np.int16) - before.astype(np.int16))
        differences.append(float(change.mean()) / FULL_SCALE)
    mean = math.fsum(differences) / len(differences)
    return max(IDENTICAL_DB, 20.0 * math.log10(mean)) if mean > 0 else IDENTICAL_DB


def resample(luma: Luma, height_px: int, width_px: int) -> NDArray[np.float64]:
    """The picture at another size, each new pixel the mean of the area that it covers."""
    rows = _resample_rows(luma.astype(np.float64), height_px)
    return _resample_rows(rows.T, width_px).T


def _resample_rows(picture: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Area means along axis 0: the running integral, read between its points, then differenced."""
    length = picture.shape[0]
    if count == length:
        return picture
    integral = np.zeros((length + 1, picture.shape[1]))
    np.cumsum(picture, axis=0, out=integral[1:])
    edges = np.arange(count + 1) * (length / count)
    below = np.minimum(edges.astype(np.intp), length - 1)
    share = (edges - below)[:, np.newaxis]
    at_edges = integral[below] * (1.0 - share) + integral[below + 1] * share
    return np.diff(at_edges, axis=0) * (count / length)


def checked(luma: Luma) -> Luma:
    if luma.ndim != 2 or not luma.size:
        raise ValueError(f"a picture of shape {luma.shape}")
    return luma

"""The sounds that the speaker is asked to play: the test sweep and the announcements. Pure.

Sound here is mono float32 at :data:`RATE_HZ`, full scale -1 to 1. Levels are RMS against full scale
(dBFS, 0 = a full-scale square wave, so a full-scale sine is -3.01 dBFS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from diemcau_drivers.interfaces import Samples


RATE_HZ = 48_000
FADE_S = 0.02
"""Raised-cosine fade at both ends: no click, and low side lobes after compression."""
LOUDEST_DBFS = -4.0
"""A sine louder than this (RMS) would clip."""

ANNOUNCEMENT_DBFS = -20.0
_NOTES: dict[str, tuple[tuple[float, float, float], ...]] = {  # pitch Hz, begins s, lasts s
    "chime": ((880.0, 0.0, 0.5), (660.0, 0.35, 0.85)),
    "attention": ((523.25, 0.0, 0.35), (659.25, 0.3, 0.35), (783.99, 0.6, 0.8)),
    "here": tuple((1000.0, 0.4 * beep, 0.15) for beep in range(5)),
}


@dataclass(frozen=True)
class Sweep:
    """An exponential sine sweep (Farina, AES 108, 2000): f(t) = low (high / low)^(t / seconds).

    Upwards, so that what the room adds later (echo, reverberation) lies below its own track in the
    spectrogram and what the loudspeaker adds (harmonics) above: see :func:`.sound.hear`.
    """

    low_hz: float = 500.0
    high_hz: float = 4000.0
    seconds: float = 0.5
    level_dbfs: float = -20.0
    samples: Samples = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        time_s = np.arange(round(self.seconds * RATE_HZ)) / RATE_HZ
        growth = math.log(self.high_hz / self.low_hz) / self.seconds
        wave = np.sin(2 * math.pi * self.low_hz / growth * np.expm1(growth * time_s))
        object.__setattr__(self, "samples", _at_level(_faded(wave), self.level_dbfs))

    def frequency_hz(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """The instantaneous frequency ``time_s`` after the sweep's beginning."""
        return self.low_hz * (self.high_hz / self.low_hz) ** (time_s / self.seconds)


def announcement(name: str) -> Samples:
    """A short signal for people in the room. ``name`` is one of contract.ANNOUNCEMENTS."""
    notes = _NOTES[name]
    sound = np.zeros(round(max(begin + lasts for _, begin, lasts in notes) * RATE_HZ))
    for pitch_hz, begin_s, lasts_s in notes:
        time_s = np.arange(round(lasts_s * RATE_HZ)) / RATE_HZ
        begin = round(begin_s * RATE_HZ)
        note = np.sin(2 * math.pi * pitch_hz * time_s) * np.exp(-3 * time_s / lasts_s)
        sound[begin : begin + note.size] += _faded(note)[: sound.size - begin]
    return _at_level(sound, ANNOUNCEMENT_DBFS)


def after_silence(seconds: float, samples: Samples) -> Samples:
    return np.concatenate((np.zeros(round(seconds * RATE_HZ), np.float32), samples))


def _faded(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    fade = 0.5 - 0.5 * np.cos(np.linspace(0, math.pi, round(FADE_S * RATE_HZ)))
    wave[: fade.size] *= fade
    wave[-fade.size :] *= fade[::-1]
    return wave


def _at_level(wave: NDArray[np.float64], level_dbfs: float) -> Samples:
    rms = math.sqrt(float(np.mean(wave**2)))
    return (wave * (10 ** (level_dbfs / 20) / rms)).astype(np.float32)

"""What a recording tells: its levels, and whether a known sweep is in it. Pure.

Sound is mono float32 at 48 kHz, full scale -1 to 1; levels as in :mod:`.signals`, never below
:data:`SILENCE_DBFS`. A constant offset (cheap cards have one) is taken away before anything but
peak and clipping is measured, or a dead microphone would pass for a live one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .signals import RATE_HZ, Sweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from diemcau_drivers.interfaces import Samples

    Wave = NDArray[np.float64]

SILENCE_DBFS = -120.0
"""Digital silence; below what 16 or 24 bits of any card here tell."""
CLIP_LEVEL = 10 ** (-1 / 20)
"""-1 dBFS: a sample there counts as clipped (converters saturate a little below full scale)."""
BLOCK_S = 0.02
FLOOR_PERCENTILE = 10
MAINS_HZ = 50.0
HUM_HARMONICS = 8
HUM_NEEDS_S = 0.5
"""A shorter recording cannot tell 50 Hz from 52."""
FOUND_CORRELATION = 0.25
"""Noise alone peaks near 0.08: its correlation spreads as 1 / sqrt(2 B T) = 0.017 (B 3.5 kHz, T 0.5 s),
and the largest of 10^5 lags lies at some 4.5 times that."""
ECHO_AFTER_S = 0.06
"""Later arrivals than this are heard as an echo of speech, not as the room (Haas 1951: 50 to 80 ms)."""
ECHO_UNTIL_S = 0.6
FIRST_ARRIVAL = 0.5
"""The first arrival may be this much weaker than the strongest one."""
BEFORE_S = 0.4
"""How much of the room just before the sweep is its noise."""
DISTORTION_NEEDS_DB = 10.0
"""With less signal to noise the harmonics cannot be told from the room."""
_FRAME = 1024
_DISTORTION_TOP_HZ = 16_000.0


@dataclass(frozen=True, slots=True)
class Levels:
    """One recording's levels; the fields are named in contract.MICROPHONE_READINGS."""

    level_dbfs: float
    peak_dbfs: float
    noise_floor_dbfs: float
    clipped_ratio: float
    hum_db: float | None

    def readings(self) -> dict[str, Any]:
        return _told(self)


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a sweep; the fields are named in contract.LOOP_READINGS. None: cannot be told."""

    found: bool
    correlation: float
    delay_ms: float | None = None
    level_dbfs: float | None = None
    snr_db: float | None = None
    distortion_percent: float | None = None
    echo_db: float | None = None
    echo_ms: float | None = None
    clipped_ratio: float | None = None

    def readings(self) -> dict[str, Any]:
        return _told(self)


def levels(samples: Samples) -> Levels:
    """RMS, peak, noise floor (10th percentile of the RMS of 20 ms blocks), clipping and hum."""
    if samples.size == 0:
        return Levels(SILENCE_DBFS, SILENCE_DBFS, SILENCE_DBFS, 0.0, None)
    wave = _centred(samples)
    block = round(BLOCK_S * RATE_HZ)
    whole = wave[: wave.size - wave.size % block] if wave.size >= block else wave
    blocks = whole.reshape(-1, min(block, whole.size))
    floor = float(np.percentile(np.sqrt(np.mean(blocks**2, axis=1)), FLOOR_PERCENTILE))
    return Levels(
        level_dbfs=_db(_rms(wave)),
        peak_dbfs=_db(float(np.max(np.abs(samples)))),
        noise_floor_dbfs=_db(floor),
        clipped_ratio=clipped_ratio(samples),
        hum_db=_hum_db(wave),
    )


def clipped_ratio(samples: Samples) -> float:
    """Share of samples at or above -1 dBFS."""
    return float(np.mean(np.abs(samples) >= CLIP_LEVEL)) if samples.size else 0.0


def hear(recording: Samples, sweep: Sweep, played_s: float) -> Heard:
    """Find ``sweep``, played ``played_s`` after the recording's beginning, by a matched filter.

    The recording is cut to the sweep's band and correlated with the sweep's analytic signal, so that
    polarity and phase do not matter; ``correlation`` is |<x, s>| / (|x| |s|), 0 to 1 by Cauchy-Schwarz.
    Level is the matched filter's amplitude (noise and reverberation add nothing to it); signal to
    noise is that level against the band's RMS just before the arrival.
    """
    length = sweep.samples.size
    played = round(played_s * RATE_HZ)
    if recording.size < played + length:
        raise ValueError(f"recording of {recording.size} samples, at least {played + length} needed")
    wave = _centred(recording)
    band = _in_band(wave, sweep.low_hz / 1.1, sweep.high_hz * 1.1)
    envelope = _matched(band, sweep.samples.astype(np.float64))
    energy = np.concatenate(([0.0], np.cumsum(band**2)))
    around = np.maximum(energy[length:] - energy[:-length], 0.0)
    own = float(np.sum(sweep.samples.astype(np.float64) ** 2))
    audible = around > length * 10 ** (SILENCE_DBFS / 10)
    correlation = np.zeros_like(envelope)
    correlation[audible] = envelope[audible] / np.sqrt(around[audible] * own)
    best = played + int(np.argmax(correlation[played:]))
    likeness = min(float(correlation[best]), 1.0)
    if likeness < FOUND_CORRELATION:
        return Heard(False, round(likeness, 4), clipped_ratio=clipped_ratio(recording))
    first = _first_arrival(envelope, played, best)
    level = float(envelope[first]) / own * _rms(sweep.samples.astype(np.float64))
    before = slice(max(0, first - round(BEFORE_S * RATE_HZ)), max(first - round(0.005 * RATE_HZ), 1))
    snr_db = _db(level) - _db(_rms(band[before]))
    distortion = _distortion_percent(wave, sweep, first, before) if snr_db >= DISTORTION_NEEDS_DB else None
    echo_db, echo_ms = _echo(envelope, first)
    return Heard(
        found=True,
        correlation=round(likeness, 4),
        delay_ms=(first - played) / RATE_HZ * 1000,
        level_dbfs=_db(level),
        snr_db=snr_db,
        distortion_percent=distortion,
        echo_db=echo_db,
        echo_ms=echo_ms,
        clipped_ratio=clipped_ratio(recording[first : first + length]),
    )


def _first_arrival(envelope: Wave, played: int, best: int) -> int:
    """The earliest peak that comes near the strongest: the direct sound, where an echo is louder."""
    near = np.nonzero(envelope[played : best + 1] >= FIRST_ARRIVAL * envelope[best])[0]
    rising = played + int(near[0])
    return rising + int(np.argmax(envelope[rising : rising + round(0.002 * RATE_HZ)]))


def _echo(envelope: Wave, first: int) -> tuple[float | None, float | None]:
    begin = first + round(ECHO_AFTER_S * RATE_HZ)
    later = envelope[begin : first + round(ECHO_UNTIL_S * RATE_HZ)]
    if later.size == 0:
        return None, None
    strongest = int(np.argmax(later))
    ratio_db = _db(float(later[strongest])) - _db(float(envelope[first]))
    return ratio_db, (begin + strongest - first) / RATE_HZ * 1000


def _distortion_percent(wave: Wave, sweep: Sweep, first: int, before: slice) -> float | None:
    """Power above the sweep's track, of the power on and above it, the room's noise taken away.

    Above only: harmonics lie there; echo and reverberation of an upward sweep lie below.
    """
    heard, quiet = _spectra(wave[first : first + sweep.samples.size]), _spectra(wave[before])
    if heard.shape[0] == 0 or quiet.shape[0] == 0:
        return None
    excess = heard - np.mean(quiet, axis=0)
    centre_s = (np.arange(heard.shape[0], dtype=np.float64) * (_FRAME // 2) + _FRAME / 2) / RATE_HZ
    track_hz = sweep.frequency_hz(centre_s)[:, None]
    bin_hz = np.fft.rfftfreq(_FRAME, 1 / RATE_HZ)[None, :]
    above = (bin_hz > 1.15 * track_hz + 150) & (bin_hz <= _DISTORTION_TOP_HZ)
    on_track = (bin_hz >= 0.85 * track_hz - 150) & (bin_hz <= 1.15 * track_hz + 150)
    harmonics = max(float(np.sum(excess[above])), 0.0)
    whole = harmonics + max(float(np.sum(excess[on_track])), 0.0)
    return 100 * harmonics / whole if whole > 0 else None


def _spectra(wave: Wave) -> Wave:
    """Power spectra of half-overlapping Hann frames, shape (frames, bins)."""
    count = (wave.size - _FRAME) // (_FRAME // 2) + 1
    if count < 1:
        return np.zeros((0, _FRAME // 2 + 1))
    frames = np.lib.stride_tricks.sliding_window_view(wave, _FRAME)[:: _FRAME // 2]
    return np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)) ** 2


def _matched(band: Wave, sweep: Wave) -> Wave:
    """|<band from each lag on, the sweep's analytic signal>|, for each lag at which it fits in whole."""
    size = 1 << (band.size + sweep.size - 1).bit_length()
    spectrum = np.zeros(size, np.complex128)
    half = np.fft.rfft(band, size) * np.conj(np.fft.rfft(sweep, size))
    spectrum[1 : size // 2] = 2 * half[1:-1]
    return np.abs(np.fft.ifft(spectrum))[: band.size - sweep.size + 1]


def _in_band(wave: Wave, low_hz: float, high_hz: float) -> Wave:
    spectrum = np.fft.rfft(wave)
    hz = np.fft.rfftfreq(wave.size, 1 / RATE_HZ)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    return np.fft.irfft(spectrum, wave.size)


def _hum_db(wave: Wave) -> float | None:
    """Power of 50 Hz and its harmonics to 400 Hz against all the sound from 20 Hz up, dB, <= 0.

    Each harmonic counts only by what it has above the density of its own neighbourhood, or the rumble
    of an air conditioner would pass for hum.
    """
    if wave.size < HUM_NEEDS_S * RATE_HZ:
        return None
    power = np.abs(np.fft.rfft(wave * np.hanning(wave.size))) ** 2
    hz = np.fft.rfftfreq(wave.size, 1 / RATE_HZ)
    total = float(np.sum(power[hz >= 20]))
    if total <= 0 or _rms(wave) <= 10 ** (SILENCE_DBFS / 20):
        return SILENCE_DBFS
    lobe_hz = 2 * RATE_HZ / wave.size  # half the main lobe of a Hann window
    hum = 0.0
    for harmonic in range(1, HUM_HARMONICS + 1):
        away = np.abs(hz - harmonic * MAINS_HZ)
        near = away <= lobe_hz + 0.004 * harmonic * MAINS_HZ  # mains wanders by 0.2 Hz in 50
        beside = (away > 8) & (away <= 20)
        hum += max(float(np.sum(power[near]) - np.median(power[beside]) * np.count_nonzero(near)), 0.0)
    return max(10 * math.log10(hum / total), SILENCE_DBFS) if hum > 0 else SILENCE_DBFS


def _centred(samples: Samples) -> Wave:
    wave = samples.astype(np.float64)
    return wave - np.mean(wave)


def _rms(wave: Wave) -> float:
    return math.sqrt(float(np.mean(wave**2))) if wave.size else 0.0


def _db(amplitude: float) -> float:
    return max(20 * math.log10(amplitude), SILENCE_DBFS) if amplitude > 0 else SILENCE_DBFS


def _told(measured: Levels | Heard) -> dict[str, Any]:
    """As readings: what could not be told is left out."""
    return {name: value for name, value in asdict(measured).items() if value is not None}

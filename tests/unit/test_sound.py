"""Levels of a recording, and a sweep found in it: what the numbers promise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diemcau_drivers.contract import ANNOUNCEMENTS, LOOP_READINGS, MICROPHONE_READINGS
from diemcau_drivers.measure.signals import LOUDEST_DBFS, RATE_HZ, Sweep, after_silence, announcement
from diemcau_drivers.measure.sound import SILENCE_DBFS, Heard, Levels, hear, levels

Sound = NDArray[np.float32]
SWEEP = Sweep()
PLAYED_S = 0.5
calm = settings(max_examples=25, deadline=None)


def noise(seconds: float, level_dbfs: float, seed: int = 1) -> Sound:
    wave = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return (wave * 10 ** (level_dbfs / 20)).astype(np.float32)


def tone(seconds: float, hz: float, level_dbfs: float) -> Sound:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (math.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def room(delay_s: float, gain: float, ambient: Sound) -> Sound:
    """``ambient`` with the sweep, played at PLAYED_S and heard ``delay_s`` later."""
    heard = ambient.copy()
    begin = round((PLAYED_S + delay_s) * RATE_HZ)
    heard[begin : begin + SWEEP.samples.size] += gain * SWEEP.samples
    return heard


def told(value: float | None) -> float:
    assert value is not None
    return value


# --- Levels


@calm
@given(st.floats(-90, -10), st.integers(0, 1000))
def test_level_and_floor_of_steady_noise_are_its_rms(level_dbfs: float, seed: int) -> None:
    measured = levels(noise(1.0, level_dbfs, seed))
    assert measured.level_dbfs == pytest.approx(level_dbfs, abs=0.2)
    assert measured.noise_floor_dbfs == pytest.approx(level_dbfs, abs=1.0)
    assert measured.peak_dbfs > measured.level_dbfs


@calm
@given(st.floats(-0.5, 0.5))
def test_a_constant_offset_is_no_sound(offset: float) -> None:
    dead = np.full(RATE_HZ, offset, np.float32)
    assert levels(dead).level_dbfs == SILENCE_DBFS
    assert levels(dead + noise(1.0, -50)).level_dbfs == pytest.approx(-50, abs=0.2)


def test_the_floor_is_what_is_left_between_words() -> None:
    words = noise(2.0, -60)
    words[: RATE_HZ // 2] += tone(0.5, 300, -20)
    words[RATE_HZ : RATE_HZ + RATE_HZ // 2] += tone(0.5, 300, -20)
    assert levels(words).noise_floor_dbfs == pytest.approx(-60, abs=1)
    assert levels(words).level_dbfs > -25


def test_a_full_scale_sine_is_at_minus_three_and_touches_the_clipping_level() -> None:
    measured = levels(tone(1.0, 1000, -3.0103))
    assert measured.level_dbfs == pytest.approx(-3.01, abs=0.01)
    assert measured.peak_dbfs == pytest.approx(0.0, abs=0.01)
    assert measured.clipped_ratio == pytest.approx(2 * math.acos(10 ** (-1 / 20)) / math.pi, abs=0.01)


@pytest.mark.parametrize("level_dbfs", [-4.1, -20.0])
def test_a_sine_below_the_clipping_level_is_not_clipped(level_dbfs: float) -> None:
    assert levels(tone(1.0, 997, level_dbfs)).clipped_ratio == 0.0


@calm
@given(st.floats(49.8, 50.2), st.integers(1, 8), st.integers(0, 1000))
def test_mains_hum_and_each_of_its_harmonics_is_hum(mains_hz: float, harmonic: int, seed: int) -> None:
    hum = levels(tone(2.0, mains_hz * harmonic, -30) + noise(2.0, -60, seed)).hum_db
    assert told(hum) > -1
    assert told(hum) <= 0


@pytest.mark.parametrize("hz", [60.0, 125.0, 440.0, 1000.0])
def test_another_tone_is_no_hum(hz: float) -> None:
    assert told(levels(tone(2.0, hz, -30) + noise(2.0, -60)).hum_db) < -20


def test_rumble_over_the_whole_low_end_is_no_hum() -> None:
    spectrum = np.fft.rfft(noise(2.0, -20))
    spectrum[np.fft.rfftfreq(2 * RATE_HZ, 1 / RATE_HZ) > 400] = 0
    rumble = np.fft.irfft(spectrum, 2 * RATE_HZ).astype(np.float32)
    assert told(levels(rumble).hum_db) < -8


def test_hum_is_not_told_of_a_moment_and_nothing_is_invented() -> None:
    assert levels(noise(0.4, -40)).hum_db is None
    assert "hum_db" not in levels(noise(0.4, -40)).readings()


@pytest.mark.parametrize("count", [0, 1, 7, 959, 960, 961])
def test_any_length_has_levels(count: int) -> None:
    measured = levels(np.zeros(count, np.float32))
    assert measured == Levels(SILENCE_DBFS, SILENCE_DBFS, SILENCE_DBFS, 0.0, None)


def test_the_readings_are_those_of_the_contract() -> None:
    assert set(levels(noise(1.0, -40)).readings()) == set(MICROPHONE_READINGS) - {
        "muted",
        "muted_by",
        "gain_db",
    }
    quiet = room(0.06, 0.25, noise(2.0, -70))
    assert set(hear(quiet, SWEEP, PLAYED_S).readings()) == set(LOOP_READINGS)


# --- The sweep


@calm
@given(
    delay_s=st.floats(0.0, 0.9),
    gain_db=st.floats(-30, 0),
    polarity=st.sampled_from([-1, 1]),
    ambient_db=st.floats(-30, -10),
    seed=st.integers(0, 1000),
)
def test_the_sweep_is_found_where_it_is_and_as_loud_as_it_is(
    delay_s: float, gain_db: float, polarity: int, ambient_db: float, seed: int
) -> None:
    heard_dbfs = SWEEP.level_dbfs + gain_db
    sound = room(delay_s, polarity * 10 ** (gain_db / 20), noise(2.0, heard_dbfs + ambient_db, seed))
    heard = hear(sound, SWEEP, PLAYED_S)
    assert heard.found
    assert heard.correlation > 0.9
    assert told(heard.delay_ms) == pytest.approx(delay_s * 1000, abs=0.5)
    assert told(heard.level_dbfs) == pytest.approx(heard_dbfs, abs=0.3)
    # Of white noise the band 455 Hz to 4400 Hz holds a share of 3945 / 24000: -7.8 dB.
    assert told(heard.snr_db) == pytest.approx(-ambient_db + 7.8, abs=1.0)
    assert told(heard.distortion_percent) < 3


@calm
@given(st.floats(-80, -10), st.integers(0, 10_000))
def test_noise_alone_is_no_sweep(level_dbfs: float, seed: int) -> None:
    heard = hear(noise(2.0, level_dbfs, seed), SWEEP, PLAYED_S)
    assert not heard.found
    assert heard.correlation < 0.15
    assert heard.delay_ms is None


@calm
@given(st.integers(0, 10_000))
def test_correlation_never_leaves_zero_to_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    sound = (random.standard_normal(96_000) * random.choice([1e-9, 1e-3, 1.0], 96_000)).astype(np.float32)
    assert 0.0 <= hear(sound, SWEEP, PLAYED_S).correlation <= 1.0


def test_digital_silence_is_no_sweep() -> None:
    assert hear(np.zeros(96_000, np.float32), SWEEP, PLAYED_S) == Heard(False, 0.0, clipped_ratio=0.0)


def test_a_sweep_below_the_noise_is_still_found() -> None:
    sound = room(0.06, 1.0, noise(2.0, SWEEP.level_dbfs + 12))
    heard = hear(sound, SWEEP, PLAYED_S)
    assert heard.found
    assert heard.distortion_percent is None, "harmonics cannot be told from such a room"


def test_another_tone_is_no_sweep() -> None:
    assert not hear(tone(2.0, 1000, -20), SWEEP, PLAYED_S).found


@calm
@given(st.floats(70, 400), st.floats(-20, -3))
def test_an_echo_is_told_with_its_time_and_strength(echo_ms: float, echo_db: float) -> None:
    direct = room(0.06, 0.25, noise(2.5, -80))
    echo = room(0.06 + echo_ms / 1000, 0.25 * 10 ** (echo_db / 20), np.zeros_like(direct))
    heard = hear(direct + echo, SWEEP, PLAYED_S)
    assert told(heard.delay_ms) == pytest.approx(60, abs=0.5)
    assert told(heard.echo_db) == pytest.approx(echo_db, abs=1.0)
    assert told(heard.echo_ms) == pytest.approx(echo_ms, abs=1.0)
    assert told(heard.distortion_percent) < 1, "an echo is the room's, not the loudspeaker's"


def test_the_direct_sound_counts_where_the_echo_is_louder() -> None:
    direct = room(0.06, 0.2, noise(2.5, -80))
    heard = hear(direct + room(0.26, 0.3, np.zeros_like(direct)), SWEEP, PLAYED_S)
    assert told(heard.delay_ms) == pytest.approx(60, abs=0.5)
    assert told(heard.echo_db) == pytest.approx(20 * math.log10(1.5), abs=0.5)


def clean(wave: Sound) -> Sound:
    return wave


def square(wave: Sound) -> Sound:
    return np.float32(0.1) * np.sign(wave)


def half_wave(wave: Sound) -> Sound:
    return np.maximum(wave, np.float32(0))


@pytest.mark.parametrize(
    ("torn", "percent"),
    [
        (clean, 0.0),
        (square, 100 * (1 - 8 / math.pi**2)),
        (half_wave, 15.8),  # the fundamental is A / 2, the harmonics 2 A / pi (1/3, 1/15, 1/35...)
    ],
)
def test_distortion_is_the_power_above_the_track(torn: Callable[[Sound], Sound], percent: float) -> None:
    sound = noise(2.0, -90)
    begin = round((PLAYED_S + 0.06) * RATE_HZ)
    sound[begin : begin + SWEEP.samples.size] += torn(SWEEP.samples)
    # What lies above 16 kHz is not counted: of the square wave's harmonics some percent.
    assert told(hear(sound, SWEEP, PLAYED_S).distortion_percent) == pytest.approx(percent, abs=3)


def test_clipping_is_told_of_what_was_heard() -> None:
    clipped = np.clip(room(0.06, 20.0, noise(2.0, -60)), -1, 1)
    assert told(hear(clipped, SWEEP, PLAYED_S).clipped_ratio) > 0.3
    assert hear(room(0.06, 1.0, noise(2.0, -60)), SWEEP, PLAYED_S).clipped_ratio == 0.0


def test_a_recording_in_which_the_sweep_has_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 48000 needed"):
        hear(np.zeros(47_999, np.float32), SWEEP, PLAYED_S)


# --- What is played


@calm
@given(st.floats(-60, LOUDEST_DBFS))
def test_a_sweep_has_its_level_and_never_clips(level_dbfs: float) -> None:
    samples = Sweep(level_dbfs=level_dbfs).samples
    assert levels(samples).level_dbfs == pytest.approx(level_dbfs, abs=0.1)
    assert np.max(np.abs(samples)) < 1.0


def test_a_sweep_rises_from_low_to_high() -> None:
    times = np.array([0.0, SWEEP.seconds])
    assert SWEEP.frequency_hz(times) == pytest.approx([SWEEP.low_hz, SWEEP.high_hz])
    spectrum = np.abs(np.fft.rfft(SWEEP.samples)) ** 2
    hz = np.fft.rfftfreq(SWEEP.samples.size, 1 / RATE_HZ)
    assert np.sum(spectrum[(hz > 450) & (hz < 4400)]) > 0.999 * np.sum(spectrum)


@pytest.mark.parametrize("name", ANNOUNCEMENTS)
def test_every_announcement_is_audible_short_and_clean(name: str) -> None:
    samples = announcement(name)
    assert samples.dtype == np.float32
    assert 0.5 < samples.size / RATE_HZ < 3
    assert levels(samples).level_dbfs == pytest.approx(-20, abs=0.1)
    assert np.max(np.abs(samples)) < 0.9
    assert abs(samples[0]) < 1e-3
    assert abs(samples[-1]) < 1e-2


def test_silence_goes_before() -> None:
    late = after_silence(0.25, SWEEP.samples)
    assert late.dtype == np.float32
    assert not late[: RATE_HZ // 4].any()
    assert np.array_equal(late[RATE_HZ // 4 :], SWEEP.samples)

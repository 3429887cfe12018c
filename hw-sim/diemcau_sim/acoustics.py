"""From the speaker to the microphone: how the simulated room sounds.

A stream at 48 kHz, mono, full scale -1 to 1, in this order:

speaker: its mixer (mute, volume) -> amplifier and cone (silent, quiet, distorted)
room: the direct sound 60 ms later and 2.7 dB weaker, a few early reflections, the room's own sound
microphone: capsule and cable (silent, quiet, hum, noisy) -> gain (clipping) -> its mixer -> converter

In a healthy room a chirp played at -20 dBFS is heard near -32 dBFS, and the room itself murmurs at
about -42 dBFS with a floor near -56 dBFS. The same seed gives the same sound.
"""

from __future__ import annotations

import threading
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .world import World

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples

RATE_HZ = 48_000
DELAY_MS = 60.0
"""Sound card, USB and two metres of air."""
AIR_DB = -2.7
REFLECTIONS = ((7.3, -15.0), (12.9, -18.0), (19.7, -20.0), (31.1, -24.0))
"""(ms after the direct sound, dB against it): table, ceiling, walls of a furnished room."""
ECHO = (180.0, -3.0)
"""room_echo: well past the 60 ms after which the ear hears an echo as such."""
AMBIENT_DBFS = -42.0
FLOOR_DBFS = -57.0
CONVERTER_DBFS = -82.0
"""What a microphone gives whose capsule is dead."""
HUM_DBFS = -36.0
HUM_HARMONICS_DB = ((50, 0.0), (100, -8.0), (150, -4.0), (200, -14.0), (250, -9.0))
"""A rectifier's odd harmonics stand out."""
NOISY_DBFS = -43.0
QUIET_MICROPHONE_DB = -15.0
QUIET_SPEAKER_DB = -18.0
CLIPPING_DB = 36.0
MURMUR_S = 20.0
VOICE_CORNER_HZ = 350.0
"""People in the next room: distance and walls take the voice's upper part."""


class Acoustics:
    """The path's streaming state over ``world``. Any thread may call; each call is one stretch of time.

    ``ambient``: mono sound that the room loops, else a murmuring room is made from ``seed``.
    ``mixer``: whether the world's mixer acts here; False where a real sound server's mixer does.
    """

    def __init__(
        self, world: World, *, ambient: Samples | None = None, seed: int = 0, mixer: bool = True
    ) -> None:
        self._world = world
        self._mixer = mixer
        self._random = np.random.default_rng(seed)
        self._ambient = murmur(seed) if ambient is None else ambient
        self._at = 0
        self._lock = threading.Lock()
        longest_ms = DELAY_MS + max(ECHO[0], REFLECTIONS[-1][0])
        self._past = np.zeros(_samples(longest_ms), np.float32)

    def process(self, block: Samples) -> Samples:
        """What the microphone gives while the speaker is given ``block``, shape (n,) both."""
        with self._lock:
            faults = self._world.faults
            sound = self._room(self._speaker(block, faults), faults)
            sound = self._microphone(sound, faults)
            self._at += len(block)
            return sound

    def record(self, seconds: float) -> Samples:
        return self.process(np.zeros(round(seconds * RATE_HZ), np.float32))

    def play(self, samples: Samples) -> None:
        self._note(samples)
        self.process(samples)

    def play_and_record(self, samples: Samples, seconds: float) -> Samples:
        """What is heard in ``seconds``; a longer sound goes on being played after that."""
        self._note(samples)
        count = round(seconds * RATE_HZ)
        padded = np.zeros(max(count, len(samples)), np.float32)
        padded[: len(samples)] = samples
        return self.process(padded)[:count]

    def _note(self, samples: Samples) -> None:
        self._world.note_played(len(samples) / RATE_HZ, level_dbfs(samples))

    def _speaker(self, block: Samples, faults: frozenset[str]) -> Samples:
        sound = block
        speaker = self._world.speaker
        if self._mixer:
            # PulseAudio's cubic volume: 60 dB times the logarithm.
            gain = 0.0 if speaker.muted else (speaker.volume_percent / 100.0) ** 3
            sound = np.clip(sound * np.float32(gain), -1.0, 1.0)
        if faults & {"speaker_silent", "speaker_absent"}:
            return np.zeros_like(block)
        if "speaker_quiet" in faults:
            sound = sound * _gain(QUIET_SPEAKER_DB)
        if "speaker_distorted" in faults:
            # A torn cone follows one way only: a kink at zero, so it distorts loud and soft alike.
            sound = np.clip(0.8 * sound + 1.2 * np.abs(sound), -1.0, 1.0)
        return sound

    def _room(self, sound: Samples, faults: frozenset[str]) -> Samples:
        stream = np.concatenate((self._past, sound))
        self._past = stream[-len(self._past) :].copy()
        arrivals = [(0.0, 0.0), *REFLECTIONS]
        if "room_echo" in faults:
            arrivals.append(ECHO)
        heard = self._loop(self._ambient, len(sound))
        for late_ms, weaker_db in arrivals:
            begin = len(stream) - len(sound) - _samples(DELAY_MS + late_ms)
            heard += _gain(AIR_DB + weaker_db) * stream[begin : begin + len(sound)]
        return heard

    def _microphone(self, sound: Samples, faults: frozenset[str]) -> Samples:
        count = len(sound)
        microphone = self._world.microphone
        if self._mixer and microphone.muted:
            return np.zeros_like(sound)
        if "microphone_silent" in faults:
            return self._noise(count, CONVERTER_DBFS)
        if "microphone_quiet" in faults:
            sound = sound * _gain(QUIET_MICROPHONE_DB)
        if "microphone_hum" in faults:
            sound = sound + self._hum(count)
        if "microphone_noisy" in faults:
            sound = sound + self._noise(count, NOISY_DBFS)
        if "microphone_clipping" in faults:
            sound = sound * _gain(CLIPPING_DB)
        if self._mixer:
            sound = sound * _gain(microphone.gain_db)
        return np.clip(sound + self._noise(count, CONVERTER_DBFS), -1.0, 1.0).astype(np.float32)

    def _loop(self, sound: Samples, count: int) -> Samples:
        return sound[np.arange(self._at, self._at + count) % len(sound)]

    def _noise(self, count: int, rms_dbfs: float) -> Samples:
        return self._random.standard_normal(count, np.float32) * _gain(rms_dbfs)

    def _hum(self, count: int) -> Samples:
        at_s = (self._at + np.arange(count)) / RATE_HZ
        hum = np.zeros(count)
        for hertz, weaker_db in HUM_HARMONICS_DB:
            hum += _gain(weaker_db) * np.sin(2.0 * np.pi * hertz * at_s)
        power = sum(10.0 ** (weaker_db / 10.0) / 2.0 for _, weaker_db in HUM_HARMONICS_DB)
        return (hum * _gain(HUM_DBFS) / np.sqrt(power)).astype(np.float32)


def murmur(seed: int) -> Samples:
    """People speak in the distance: syllables over the air's own noise. Loops without a seam."""
    random = np.random.default_rng(seed)
    count = round(MURMUR_S * RATE_HZ)
    voices = _noise(random, count, 120.0, 3400.0, VOICE_CORNER_HZ)
    envelope = np.zeros(count)
    at = 0
    while at < count:
        syllable = round(random.uniform(0.12, 0.20) * RATE_HZ)
        envelope[at : at + syllable] = (np.hanning(syllable) * random.uniform(0.8, 1.0))[: count - at]
        at += syllable + round(random.uniform(0.05, 0.11) * RATE_HZ)
    air = _noise(random, count, 80.0, 8000.0, 8000.0) * _gain(FLOOR_DBFS)
    speech = voices * envelope
    speech *= _gain(AMBIENT_DBFS) / np.sqrt(np.mean(np.square(speech)))
    return (speech + air).astype(np.float32)


def read_wav(path: Path) -> Samples:
    """A WAV file as mono at 48 kHz (linear interpolation). Raises ValueError naming what is wrong with it."""
    try:
        with wave.open(str(path)) as file:
            rate_hz, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise ValueError(
            f"{path}: no WAV file that can be read: {error} (`sox IN -b 16 OUT.wav` makes one)"
        ) from error
    if width not in (1, 2, 4):
        raise ValueError(f"{path}: got {8 * width}-bit samples, expected 8, 16 or 32")
    if width == 1:
        values = np.frombuffer(data, np.uint8) / 128.0 - 1.0
    else:
        values = np.frombuffer(data, np.int16 if width == 2 else np.int32) / float(1 << (8 * width - 1))
    mono: NDArray[np.float64] = values.reshape(-1, channels).mean(axis=1)
    if not len(mono):
        raise ValueError(f"{path}: the file holds no sound")
    wanted = np.arange(round(len(mono) * RATE_HZ / rate_hz)) * rate_hz / RATE_HZ
    return np.asarray(np.interp(wanted, np.arange(len(mono)), mono), np.float32)


def level_dbfs(samples: Samples) -> float:
    """RMS against full scale; -120 for silence."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return max(-120.0, 10.0 * float(np.log10(power))) if power > 0.0 else -120.0


def _noise(
    random: np.random.Generator, count: int, low_hz: float, high_hz: float, corner_hz: float
) -> NDArray[np.float64]:
    """Noise of RMS 1 in a band, falling by 3 dB an octave, above the corner by 15; periodic in ``count``."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    hertz = np.maximum(np.fft.rfftfreq(count, 1.0 / RATE_HZ), 1.0)
    spectrum *= (hertz >= low_hz) & (hertz <= high_hz)
    spectrum /= np.sqrt(hertz) * (1.0 + (hertz / corner_hz) ** 2)
    noise = np.fft.irfft(spectrum, count)
    return noise / np.sqrt(np.mean(np.square(noise)))


def _samples(milliseconds: float) -> int:
    return round(milliseconds * RATE_HZ / 1000.0)


def _gain(decibels: float) -> np.float32:
    return np.float32(10.0 ** (decibels / 20.0))

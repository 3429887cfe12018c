"""What the room sounds like, measured and judged by the product's own code."""

from __future__ import annotations

import math
import wave
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from diemcau_agent.judges import judge, judge_loop
from diemcau_drivers.measure import sound
from diemcau_drivers.measure.signals import Sweep
from diemcau_sim.acoustics import RATE_HZ, Acoustics, level_dbfs, read_wav
from diemcau_sim.world import World

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples

BEFORE_S = 0.4
SWEEP = Sweep()


def loop(acoustics: Acoustics) -> sound.Heard:
    played = np.concatenate([np.zeros(round(BEFORE_S * RATE_HZ), np.float32), SWEEP.samples])
    return sound.hear(acoustics.play_and_record(played, 1.6), SWEEP, BEFORE_S)


def tone(seconds: float, hertz: float = 1000.0, rms_dbfs: float = -20.0) -> Samples:
    at_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave_form = math.sqrt(2.0) * 10.0 ** (rms_dbfs / 20.0) * np.sin(2.0 * np.pi * hertz * at_s)
    return np.asarray(wave_form, np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_room_sounds_as_promised(seed: int) -> None:
    acoustics = Acoustics(World(), seed=seed)
    for _ in range(20):
        heard = sound.levels(acoustics.record(2.0))
        assert heard.level_dbfs == pytest.approx(-42.0, abs=2.5)
        assert heard.noise_floor_dbfs == pytest.approx(-57.0, abs=1.5)
        assert judge("microphone", heard.readings() | {"muted": False}) == ()


@pytest.mark.parametrize("seed", range(4))
def test_a_sweep_comes_back_as_promised(seed: int) -> None:
    heard = loop(Acoustics(World(), seed=seed))
    assert heard.found
    assert heard.correlation > 0.7
    assert heard.delay_ms == pytest.approx(60.0, abs=0.5)
    assert heard.level_dbfs == pytest.approx(-32.0, abs=1.0)
    assert heard.snr_db is not None
    assert heard.snr_db > 17.0
    assert judge_loop(heard.readings()) == ((), ())


@pytest.mark.parametrize(
    "code",
    [
        "microphone_silent",
        "microphone_muted",
        "microphone_quiet",
        "microphone_hum",
        "microphone_noisy",
        "microphone_clipping",
    ],
)
def test_each_fault_of_the_microphone_is_judged_as_its_own_code(code: str) -> None:
    world = World()
    acoustics = Acoustics(world)
    world.set_fault(code, True)
    for _ in range(10):
        readings = sound.levels(acoustics.record(2.0)).readings() | {"muted": world.microphone.muted}
        assert judge("microphone", readings) == (code,)
    world.set_fault(code, False)
    assert judge("microphone", sound.levels(acoustics.record(2.0)).readings()) == ()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("speaker_silent", "speaker_silent"),
        ("speaker_muted", "speaker_silent"),  # which of the two it is, the mixer tells
        ("speaker_quiet", "speaker_quiet"),
        ("speaker_distorted", "speaker_distorted"),
        ("room_echo", "room_echo"),
    ],
)
def test_each_fault_of_the_speaker_is_heard_in_the_loop_alone(fault: str, code: str) -> None:
    world = World()
    acoustics = Acoustics(world)
    world.set_fault(fault, True)
    for _ in range(4):
        assert judge("microphone", sound.levels(acoustics.record(2.0)).readings()) == ()
        assert judge_loop(loop(acoustics).readings()) == ((code,), ())
    world.set_fault(fault, False)
    assert judge_loop(loop(acoustics).readings()) == ((), ())


@pytest.mark.parametrize("code", ["microphone_quiet", "microphone_hum", "microphone_noisy"])
def test_a_bad_microphone_does_not_make_the_speaker_bad(code: str) -> None:
    world = World()
    acoustics = Acoustics(world)
    world.set_fault(code, True)
    assert judge_loop(loop(acoustics).readings(), microphone=(code,)) == ((), ())


def test_the_same_seed_gives_the_same_sound_and_another_seed_another() -> None:
    first, again, other = (Acoustics(World(), seed=seed).record(0.5) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sound_streams_through_in_blocks_of_any_size() -> None:
    """The PipeWire bridge hands over small blocks; nothing may be lost or doubled between them."""
    quiet = np.zeros(RATE_HZ, np.float32)
    world = World()
    whole = Acoustics(world, ambient=quiet).process(tone(0.5))
    piecewise = Acoustics(world, ambient=quiet)
    played = tone(0.5)
    cuts = [0, 1, 480, 1500, 9000, len(played)]
    pieces = [piecewise.process(played[begin:end]) for begin, end in pairwise(cuts)]
    # What is left between the two is the converter's own noise, drawn in another order.
    assert np.max(np.abs(np.concatenate(pieces) - whole)) < 10.0 ** (-60.0 / 20.0)


def test_what_is_played_past_the_recording_is_heard_afterwards() -> None:
    acoustics = Acoustics(World(), ambient=np.zeros(RATE_HZ, np.float32))
    acoustics.play(tone(0.2))
    assert level_dbfs(acoustics.record(0.05)) > -40.0
    acoustics.record(0.2)
    assert level_dbfs(acoustics.record(0.05)) < -75.0


def test_volume_and_gain_act_and_a_real_mixer_leaves_them_alone() -> None:
    world = World()
    quiet = np.zeros(RATE_HZ, np.float32)

    def heard_dbfs(*, mixer: bool = True) -> float:
        return level_dbfs(
            Acoustics(world, ambient=quiet, mixer=mixer).play_and_record(tone(0.5), 0.5)[-4800:]
        )

    normal = heard_dbfs()
    world.set_speaker(volume_percent=35.0)
    assert heard_dbfs() - normal == pytest.approx(-18.06, abs=0.2)
    world.set_microphone(gain_db=6.0)
    assert heard_dbfs() - normal == pytest.approx(-12.06, abs=0.2)
    outside = heard_dbfs(mixer=False)
    world.set_speaker(muted=True)
    world.set_microphone(muted=True)
    assert heard_dbfs() <= -120.0
    assert heard_dbfs(mixer=False) == pytest.approx(outside, abs=0.1)


def test_played_sounds_are_noted_with_level_and_length() -> None:
    world = World()
    Acoustics(world).play(tone(0.25))
    (played,) = world.played
    assert (played.seconds, round(played.level_dbfs, 1)) == (0.25, -20.0)


def write_wav(path: Path, samples: Samples, *, rate_hz: int, channels: int, width: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        scaled = np.repeat(samples, channels)
        match width:
            case 1:
                file.writeframes((scaled * 127.0 + 128.0).astype(np.uint8).tobytes())
            case 2:
                file.writeframes((scaled * 32767.0).astype(np.int16).tobytes())
            case _:
                file.writeframes((scaled * 2147483647.0).astype(np.int32).tobytes())


@pytest.mark.parametrize(
    ("rate_hz", "channels", "width"), [(48_000, 1, 2), (44_100, 2, 2), (16_000, 1, 4), (8_000, 2, 1)]
)
def test_an_ambient_file_of_any_common_kind_is_what_the_room_sounds_like(
    tmp_path: Path, rate_hz: int, channels: int, width: int
) -> None:
    path = tmp_path / "room.wav"
    at_s = np.arange(2 * rate_hz) / rate_hz
    write_wav(
        path,
        np.asarray(0.2 * np.sin(2.0 * np.pi * 440.0 * at_s), np.float32),
        rate_hz=rate_hz,
        channels=channels,
        width=width,
    )
    ambient = read_wav(path)
    assert len(ambient) == 2 * RATE_HZ
    heard = Acoustics(World(), ambient=ambient).record(5.0)  # longer than the file: it loops
    assert level_dbfs(heard) == pytest.approx(-17.0, abs=0.5)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) / 5.0 == pytest.approx(440.0, abs=1.0)


def test_a_file_that_is_no_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "room.wav"
    path.write_text("no sound")
    with pytest.raises(ValueError, match=r"room\.wav: no WAV"):
        read_wav(path)
    with pytest.raises(ValueError, match=r"gone\.wav"):
        read_wav(tmp_path / "gone.wav")
    write_wav(path, np.zeros(0, np.float32), rate_hz=48_000, channels=1, width=2)
    with pytest.raises(ValueError, match="no sound"):
        read_wav(path)

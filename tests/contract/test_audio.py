"""What every way to the sound card promises, whichever library is below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from audio_backends import SoundRig, on, pipewire_room, sound
from backends import arranged, rows
from diemcau_drivers.audio import Audio
from diemcau_drivers.contract import LOOP_READINGS, MICROPHONE_READINGS, Absent, Busy, Look
from diemcau_drivers.interfaces import AudioBackend
from diemcau_drivers.measure.signals import RATE_HZ, Sweep, after_silence
from diemcau_drivers.measure.sound import Heard, hear, levels
from rigs import wait_until

__all__ = ["pipewire_room", "sound"]

every = on(rows("audio"))
with_hands = on(arranged("audio"))
SWEEP = Sweep()
LEAD_S = 0.3
TAKES = 3
"""A busy machine tears the sound now and then; that is its scheduler's fault and no backend's."""


def take(backend: AudioBackend) -> Heard:
    return hear(backend.play_and_record(after_silence(LEAD_S, SWEEP.samples), 2.0), SWEEP, LEAD_S)


def clean_take(backend: AudioBackend) -> Heard:
    heard = take(backend)
    for _ in range(TAKES - 1):
        if heard.correlation > 0.9:
            break
        heard = take(backend)
    return heard


@every
def test_identities_are_texts_and_stay_the_same(sound: SoundRig) -> None:
    another = sound.another()
    for ours, theirs in (
        (sound.backend.microphone(), another.microphone()),
        (sound.backend.speaker(), another.speaker()),
    ):
        assert ours
        assert all(isinstance(value, str) and value for value in ours.values())
        assert ours == theirs
    another.close()


@every
def test_a_free_device_is_held_by_nobody(sound: SoundRig) -> None:
    assert sound.backend.holder("microphone") is None
    assert sound.backend.holder("speaker") is None


@with_hands
@pytest.mark.parametrize("device", ["microphone", "speaker"])
def test_a_meeting_that_uses_a_device_is_named_and_comes_first(sound: SoundRig, device: str) -> None:
    assert sound.world is not None
    other = "speaker" if device == "microphone" else "microphone"
    logic = Audio(sound.backend, {})
    sound.world.hold(device, "codec")
    try:
        wait_until(lambda: sound.backend.holder(device) == "codec")
        assert sound.backend.holder(other) is None
        look = Look.from_dict(logic.handle("probe", {"seconds": 0.5})[device])
        assert (look.passive, look.in_use_by, look.error) == (True, "codec", None)
        assert ("level_dbfs" in look.readings) == (device == "microphone" and sound.backend.shares())
        with pytest.raises(Busy, match="codec"):
            logic.handle("loop", {})
    finally:
        sound.world.hold(device, None)
    wait_until(lambda: sound.backend.holder(device) is None)


@every
@pytest.mark.parametrize("seconds", [0.25, 0.5001])
def test_a_recording_has_as_many_samples_as_were_asked_for(sound: SoundRig, seconds: float) -> None:
    samples = sound.backend.record(seconds)
    assert samples.shape == (round(seconds * RATE_HZ),)
    assert samples.dtype == np.float32
    assert np.all(np.isfinite(samples))


@with_hands
def test_the_room_is_heard_as_loud_as_it_is(sound: SoundRig) -> None:
    measured = levels(sound.backend.record(1.0))
    assert -48 < measured.level_dbfs < -36
    assert -62 < measured.noise_floor_dbfs < -50
    assert measured.clipped_ratio == 0.0


@with_hands
def test_what_is_played_is_heard_at_the_right_rate(sound: SoundRig) -> None:
    """A clock that is off by a percent, or a channel lost, would not correlate."""
    heard = clean_take(sound.backend)
    assert heard.found
    assert heard.correlation > 0.9
    assert heard.level_dbfs == pytest.approx(SWEEP.level_dbfs - 12, abs=1)
    assert heard.delay_ms is not None
    assert 0 < heard.delay_ms < 900


@with_hands
def test_playing_and_recording_share_one_clock(sound: SoundRig) -> None:
    """Two sweeps a second apart are heard a second apart."""
    twice = np.tile(after_silence(1.0 - SWEEP.seconds, SWEEP.samples), 2)
    apart_ms = float("inf")
    for _ in range(TAKES):
        samples = sound.backend.play_and_record(twice, 3.0)
        assert samples.size == 3 * RATE_HZ
        first = hear(samples[: 2 * RATE_HZ - 1], SWEEP, 1.0 - SWEEP.seconds)
        second = hear(samples[RATE_HZ:], SWEEP, 1.0 - SWEEP.seconds)
        assert first.delay_ms is not None
        assert second.delay_ms is not None
        apart_ms = abs(first.delay_ms - second.delay_ms)
        if apart_ms <= 5:
            break
    assert apart_ms <= 5


@with_hands
def test_playing_alone_ends_when_it_has_been_played(sound: SoundRig) -> None:
    sound.backend.play(SWEEP.samples)
    assert sound.backend.record(0.25).size == RATE_HZ // 4


@with_hands
@pytest.mark.parametrize(
    ("device", "key", "value"),
    [
        ("microphone", "muted", True),
        ("microphone", "gain_db", -6.0),
        ("speaker", "muted", True),
        ("speaker", "volume_percent", 33.0),
    ],
)
def test_the_mixer_reads_back_what_was_set_and_leaves_the_rest(
    sound: SoundRig, device: str, key: str, value: Any
) -> None:
    before = sound.backend.mixer(device)
    sound.backend.set_mixer(device, **{key: value})
    after = sound.backend.mixer(device)
    assert after[key] == pytest.approx(value, abs=0.05)
    assert {name: after[name] for name in after if name != key} == {
        name: before[name] for name in before if name != key
    }


@with_hands
def test_a_muted_microphone_hears_nothing(sound: SoundRig) -> None:
    sound.backend.set_mixer("microphone", muted=True)
    assert levels(sound.backend.record(0.5)).level_dbfs < -90
    sound.backend.set_mixer("microphone", muted=False)
    assert levels(sound.backend.record(0.5)).level_dbfs > -55


@with_hands
def test_a_muted_speaker_is_not_heard(sound: SoundRig) -> None:
    sound.backend.set_mixer("speaker", muted=True)
    assert not take(sound.backend).found
    sound.backend.set_mixer("speaker", muted=False)
    assert clean_take(sound.backend).found


@with_hands
def test_half_the_volume_and_less_gain_are_heard(sound: SoundRig) -> None:
    sound.backend.set_mixer("speaker", volume_percent=35.0)
    sound.backend.set_mixer("microphone", gain_db=-6.0)
    # 60 dB times the logarithm of a half, and the gain.
    assert clean_take(sound.backend).level_dbfs == pytest.approx(SWEEP.level_dbfs - 12 - 18 - 6, abs=1.5)


@with_hands
@pytest.mark.parametrize("device", ["microphone", "speaker"])
def test_an_unplugged_device_is_absent_and_comes_back(sound: SoundRig, device: str) -> None:
    backend = sound.backend
    identity: Callable[[], object] = backend.microphone if device == "microphone" else backend.speaker

    def there() -> bool:
        try:
            identity()
        except Absent:
            return False
        return True

    sound.arrange(f"{device}_absent", True, lambda: not there())
    with pytest.raises(Absent):
        backend.mixer(device)
    with pytest.raises(Absent):
        backend.play_and_record(SWEEP.samples, 1.0)
    with pytest.raises(Absent):
        backend.record(0.2) if device == "microphone" else backend.play(SWEEP.samples)
    sound.arrange(f"{device}_absent", False, there)
    assert clean_take(backend).found


@every
def test_closing_twice_is_no_error(sound: SoundRig) -> None:
    sound.backend.record(0.2)
    sound.backend.close()
    sound.backend.close()


@with_hands
def test_the_device_logic_sees_a_healthy_room(sound: SoundRig) -> None:
    audio = Audio(sound.backend, {})
    looks = audio.handle("probe", {"seconds": 1.0})
    microphone, speaker = Look.from_dict(looks["microphone"]), Look.from_dict(looks["speaker"])
    assert microphone.error is None
    assert speaker.error is None
    assert set(microphone.readings) == set(MICROPHONE_READINGS) - {"muted_by"}
    assert microphone.readings["muted"] is False
    assert speaker.readings == {"muted": False, "volume_percent": 70.0}
    loop = audio.handle("loop", {})
    assert loop["found"]
    assert set(loop) <= set(LOOP_READINGS)

"""The audio process's device logic: what is opened and when, what is answered, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diemcau_drivers.audio import Audio, open_device
from diemcau_drivers.contract import (
    ANNOUNCEMENTS,
    Absent,
    BadRequest,
    Broken,
    Busy,
    Forbidden,
    Look,
    Unsupported,
)
from diemcau_drivers.measure.signals import RATE_HZ

Sound = NDArray[np.float32]


class FakeSound:
    """A room of noise at -40 dBFS in which the sweep arrives 60 ms late at a quarter of its strength."""

    def __init__(self) -> None:
        self.absent: set[str] = set()
        self.holders: dict[str, str] = {}
        self.shared = False
        self.mixers: dict[str, dict[str, Any]] = {
            "microphone": {"muted": False, "gain_db": 0.0},
            "speaker": {"muted": False, "volume_percent": 70.0},
        }
        self.used: list[str] = []
        self.taken = False

    def microphone(self) -> Mapping[str, str]:
        return self._identity("microphone")

    def speaker(self) -> Mapping[str, str]:
        return self._identity("speaker")

    def holder(self, device: str) -> str | None:
        return self.holders.get(device)

    def shares(self) -> bool:
        return self.shared

    def record(self, seconds: float) -> Sound:
        self.used.append("record")
        if self.taken:
            raise Busy("taken", in_use_by="zoom")
        wave = np.random.default_rng(1).standard_normal(round(seconds * RATE_HZ))
        return (0.01 * wave).astype(np.float32)

    def play(self, samples: Sound) -> None:
        self.used.append("play")

    def play_and_record(self, samples: Sound, seconds: float) -> Sound:
        heard = self.record(seconds) * np.float32(0.1)
        self.used[-1] = "play_and_record"
        late = round(0.06 * RATE_HZ)
        heard[late : late + samples.size] += 0.25 * samples[: heard.size - late]
        return heard

    def mixer(self, device: str) -> Mapping[str, Any]:
        return dict(self.mixers[device])

    def set_mixer(self, device: str, **values: Any) -> None:
        for key, value in values.items():
            if key not in self.mixers[device]:
                raise Unsupported(key)
            # A real card has steps: what is read back is not what was asked for.
            self.mixers[device][key] = value if isinstance(value, bool) else float(round(value))

    def close(self) -> None:
        self.used.append("close")

    def _identity(self, device: str) -> Mapping[str, str]:
        if device in self.absent:
            raise Absent(f"no {device}")
        return {"name": device}


@pytest.fixture
def sound() -> FakeSound:
    return FakeSound()


@pytest.fixture
def audio(sound: FakeSound) -> Audio:
    return open_device(sound, {}, lambda event, data: None)


def looks(audio: Audio, **args: Any) -> tuple[Look, Look]:
    result = audio.handle("probe", args)
    return Look.from_dict(result["microphone"]), Look.from_dict(result["speaker"])


def test_a_probe_listens_and_plays_nothing(audio: Audio, sound: FakeSound) -> None:
    microphone, speaker = looks(audio, seconds=1.0)
    assert sound.used == ["record"]
    assert microphone.readings["level_dbfs"] == pytest.approx(-40, abs=0.5)
    assert microphone.readings["muted"] is False
    assert microphone.identity == {"name": "microphone"}
    assert microphone.capabilities == ("mute", "gain")
    assert speaker.readings == {"muted": False, "volume_percent": 70.0}
    assert speaker.capabilities == ("volume", "mute", "announce")
    assert not microphone.passive
    assert not speaker.passive


def test_a_passive_probe_opens_nothing_and_reads_the_mixer(audio: Audio, sound: FakeSound) -> None:
    microphone, speaker = looks(audio, passive=True)
    assert sound.used == []
    assert microphone.passive
    assert speaker.passive
    assert microphone.readings == {"muted": False, "gain_db": 0.0}


@pytest.mark.parametrize("device", ["microphone", "speaker"])
def test_a_missing_device_does_not_hide_the_other(audio: Audio, sound: FakeSound, device: str) -> None:
    sound.absent.add(device)
    microphone, speaker = looks(audio, seconds=0.5)
    missing, other = (microphone, speaker) if device == "microphone" else (speaker, microphone)
    assert missing.error is not None
    assert missing.error.kind == "absent"
    assert missing.readings == {}
    assert other.error is None
    assert other.readings["muted"] is False


def test_a_microphone_that_another_program_holds_is_not_opened(audio: Audio, sound: FakeSound) -> None:
    sound.holders["microphone"] = "zoom"
    microphone, speaker = looks(audio)
    assert sound.used == []
    assert microphone.passive
    assert microphone.in_use_by == "zoom"
    assert microphone.readings == {"muted": False, "gain_db": 0.0}
    assert speaker.in_use_by is None


def test_a_shared_microphone_is_listened_to_while_a_meeting_uses_it(audio: Audio, sound: FakeSound) -> None:
    """Levels do not disturb; a sweep would be heard by the whole conference."""
    sound.holders = {"microphone": "Chromium input"}
    sound.shared = True
    microphone, _ = looks(audio, seconds=0.5)
    assert sound.used == ["record"]
    assert microphone.readings["level_dbfs"] == pytest.approx(-40, abs=0.5)
    assert (microphone.passive, microphone.in_use_by) == (True, "Chromium input")
    with pytest.raises(Busy, match="Chromium input"):
        audio.handle("loop", {})
    assert sound.used == ["record"]


def test_a_microphone_that_is_taken_at_the_last_moment_is_in_use(audio: Audio, sound: FakeSound) -> None:
    sound.taken = True
    microphone, _ = looks(audio, seconds=0.5)
    assert microphone.error is None
    assert microphone.passive
    assert microphone.in_use_by == "zoom"


def test_the_loop_tells_what_became_of_the_sweep(audio: Audio) -> None:
    heard = audio.handle("loop", {"level_dbfs": -26.0})
    assert heard["found"]
    assert heard["delay_ms"] == pytest.approx(60, abs=0.1)
    assert heard["level_dbfs"] == pytest.approx(-38, abs=0.2)


@pytest.mark.parametrize("device", ["microphone", "speaker"])
def test_the_loop_does_not_fight_over_a_device_unless_forced(
    audio: Audio, sound: FakeSound, device: str
) -> None:
    sound.holders[device] = "zoom"
    with pytest.raises(Busy) as caught:
        audio.handle("loop", {})
    assert caught.value.in_use_by == "zoom"
    assert sound.used == []
    assert audio.handle("loop", {"force": True})["found"]


def test_an_announcement_needs_the_speaker_alone(audio: Audio, sound: FakeSound) -> None:
    sound.holders["microphone"] = "zoom"
    for name in ANNOUNCEMENTS:
        assert audio.handle("announce", {"name": name})["seconds"] > 0.5
    sound.holders["speaker"] = "zoom"
    with pytest.raises(Busy):
        audio.handle("announce", {"name": "chime"})
    assert sound.used == ["play"] * len(ANNOUNCEMENTS)


def test_a_set_is_answered_with_what_was_read_back(audio: Audio) -> None:
    muted = {"muted": True, "gain_db": 4.0, "muted_by": "kit"}
    assert audio.handle("microphone", {"gain_db": 4.4, "mute": True}) == muted
    assert audio.handle("speaker", {"volume_percent": 33.3}) == {"muted": False, "volume_percent": 33.0}
    assert audio.handle("microphone", {}) == muted


def test_who_muted_the_microphone_is_known_also_by_the_next_process(sound: FakeSound, tmp_path: Path) -> None:
    def audio() -> Audio:
        return open_device(sound, {"runtime_dir": str(tmp_path)}, lambda event, data: None)

    assert "muted_by" not in audio().handle("microphone", {})
    assert audio().handle("microphone", {"mute": True})["muted_by"] == "kit"
    assert audio().handle("microphone", {"gain_db": 3.0})["muted_by"] == "kit"
    sound.mixers["microphone"]["muted"] = False  # somebody in the room speaks ...
    audio().handle("probe", {"passive": True})
    sound.mixers["microphone"]["muted"] = True  # ... and presses the button again
    assert audio().handle("microphone", {})["muted_by"] == "room"
    assert audio().handle("microphone", {"mute": True})["muted_by"] == "room", "an order changes nothing"


def test_what_the_room_has_muted_no_request_unmutes(sound: FakeSound, tmp_path: Path) -> None:
    """Nor does another process, or none that forgets: a mark that is gone counts as the room's."""
    sound.mixers["microphone"]["muted"] = True
    for _ in range(2):
        audio = open_device(sound, {"runtime_dir": str(tmp_path)}, lambda event, data: None)
        for args in ({"mute": False}, {"mute": False, "gain_db": 12.0}):
            with pytest.raises(Forbidden, match="muted in the room"):
                audio.handle("microphone", args)
        assert sound.mixers["microphone"] == {"muted": True, "gain_db": 0.0}
        audio.handle("probe", {"passive": True})
        audio.handle("loop", {"level_dbfs": -40.0})
        assert sound.mixers["microphone"]["muted"]


def test_a_mute_by_order_is_lifted_by_order_until_its_mark_is_lost(sound: FakeSound, tmp_path: Path) -> None:
    audio = open_device(sound, {"runtime_dir": str(tmp_path)}, lambda event, data: None)
    audio.handle("microphone", {"mute": True})
    assert audio.handle("microphone", {"mute": False}) == {"muted": False, "gain_db": 0.0}
    audio.handle("microphone", {"mute": True})
    (tmp_path / "microphone-muted").unlink()  # the machine was started anew
    with pytest.raises(Forbidden):
        audio.handle("microphone", {"mute": False})


def test_a_button_pressed_while_an_order_to_unmute_is_obeyed_wins(
    sound: FakeSound, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The microphone was open when the order came: the press falls between the look and the set."""
    look = sound.mixer
    presses = 1

    def pressed_after_the_look(device: str) -> Mapping[str, Any]:
        nonlocal presses
        found = look(device)
        if presses:
            presses -= 1
            sound.mixers["microphone"]["muted"] = True
        return found

    monkeypatch.setattr(sound, "mixer", pressed_after_the_look)
    assert audio.handle("microphone", {"mute": False, "gain_db": 3.0}) == {
        "muted": True, "gain_db": 3.0, "muted_by": "room",
    }  # fmt: skip


def test_a_microphone_is_muted_even_where_that_cannot_be_written_down(
    sound: FakeSound, tmp_path: Path
) -> None:
    audio = open_device(sound, {"runtime_dir": str(tmp_path / "missing")}, lambda event, data: None)
    assert audio.handle("microphone", {"mute": True}) == {"muted": True, "gain_db": 0.0, "muted_by": "room"}


def test_a_held_device_can_still_be_muted(audio: Audio, sound: FakeSound) -> None:
    sound.holders["microphone"] = "zoom"
    assert audio.handle("microphone", {"mute": True})["muted"] is True


def test_what_the_card_has_no_control_for_is_unsupported_and_not_offered(
    audio: Audio, sound: FakeSound
) -> None:
    del sound.mixers["microphone"]["gain_db"]
    microphone, _ = looks(audio, passive=True)
    assert microphone.capabilities == ("mute",)
    assert "gain_db" not in microphone.readings
    with pytest.raises(Unsupported):
        audio.handle("microphone", {"gain_db": 3.0})


@pytest.mark.parametrize(
    ("do", "args", "names"),
    [
        ("sing", {}, "do"),
        ("probe", {"seconds": 0}, "seconds"),
        ("probe", {"seconds": 3600}, "seconds"),
        ("probe", {"passive": "yes"}, "passive"),
        ("probe", {"second": 1}, "second"),
        ("loop", {"seconds": 0.5}, "seconds"),
        ("loop", {"level_dbfs": 0.0}, "level_dbfs"),
        ("loop", {"force": 1}, "force"),
        ("microphone", {"mute": 1}, "mute"),
        ("microphone", {"gain_db": float("nan")}, "gain_db"),
        ("microphone", {"volume_percent": 3}, "volume_percent"),
        ("speaker", {"volume_percent": 101}, "volume_percent"),
        ("announce", {"name": "fire"}, "name"),
        ("announce", {}, "name"),
    ],
)
def test_wrong_arguments_are_refused_by_name_and_nothing_is_opened(
    audio: Audio, sound: FakeSound, do: str, args: dict[str, Any], names: str
) -> None:
    with pytest.raises(BadRequest, match=rf"^{names}: got"):
        audio.handle(do, args)
    assert sound.used == []


def test_a_library_that_fails_is_the_microphones_error(audio: Audio, sound: FakeSound) -> None:
    def fail(seconds: float) -> Sound:
        raise Broken("it fell over")

    sound.record = fail
    microphone, speaker = looks(audio)
    assert microphone.error is not None
    assert microphone.error.kind == "broken"
    assert speaker.error is None


def test_closing_closes_the_backend(audio: Audio, sound: FakeSound) -> None:
    audio.close()
    assert sound.used == ["close"]

"""What the two PortAudio libraries share: routes, errors, and devices that come and go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diemcau_drivers.backends.portaudio import (
    DEVICE_UNAVAILABLE,
    INVALID_DEVICE,
    RATE_HZ,
    SETTLE_S,
    PortAudio,
    PortAudioFailed,
)
from diemcau_drivers.contract import Absent, BadRequest, Broken, Busy
from fake_soundcards import SoundTree, program

Sound = NDArray[np.float32]
SETTLE = round(SETTLE_S * RATE_HZ)


class FakeLibrary:
    """A PortAudio that lists two USB cards; what it is given comes back one sample later."""

    def __init__(self) -> None:
        self.listed = ["vc4-hdmi: - (hw:0,0)", "USB Audio: - (plughw:1,0)", "USB Audio: - (plughw:2,0)"]
        self.fails: PortAudioFailed | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.opened: list[tuple[int | None, int | None]] = []
        self.open_now = False

    def names(self) -> list[str]:
        self.open_now = True
        return self.listed

    def transfer(self, inlet: int | None, outlet: int | None, samples: Sound | None, count: int) -> Sound:
        assert self.open_now
        self.opened.append((inlet, outlet))
        if self.fails is not None:
            raise self.fails
        self.meanwhile()
        played = np.zeros(0, np.float32) if samples is None else samples
        heard = np.concatenate((np.zeros(1, np.float32), played, np.zeros(count, np.float32)))
        return heard[:count]

    def release(self) -> None:
        self.open_now = False


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoundTree:
    """Kernel cards alone: no sound server answers."""
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/none")
    tree = SoundTree(tmp_path / "root")
    tree.plug(0, "vc4hdmi0", "vc4-hdmi-0", "0p")
    tree.plug(1, "Device", "USB Audio Device", "0c 0p", usb="0d8c:0014", port="1-1.3")
    tree.plug(2, "Device_1", "USB Audio Device", "0c 0p", usb="0d8c:0014", port="1-1.4")
    return tree


def sound(tree: SoundTree, library: FakeLibrary, **options: str) -> PortAudio:
    return PortAudio(options, library, tree.root)


def test_each_direction_opens_the_card_that_the_settings_name(tree: SoundTree) -> None:
    library = FakeLibrary()
    backend = sound(tree, library, microphone="usb:0d8c:0014:1-1.4", speaker="vc4hdmi0")
    assert backend.microphone()["usb"] == "usb:0d8c:0014:1-1.4"
    assert backend.record(0.5).size == RATE_HZ // 2
    backend.play(np.ones(10, np.float32))
    backend.play_and_record(np.ones(10, np.float32), 0.5)
    assert library.opened == [(2, None), (None, 0), (2, 0)]
    assert not library.open_now, "PortAudio is let go after each use"


def test_playing_and_recording_begin_together_once_the_streams_have_settled(tree: SoundTree) -> None:
    heard = sound(tree, FakeLibrary()).play_and_record(np.ones(10, np.float32), 0.1)
    assert heard.size == RATE_HZ // 10
    assert np.flatnonzero(heard).tolist() == list(range(1, 11))


def test_an_identity_that_is_none_is_refused_at_once(tree: SoundTree) -> None:
    with pytest.raises(BadRequest, match="usb:nonsense"):
        sound(tree, FakeLibrary(), microphone="usb:nonsense")


def test_a_card_that_alsa_refuses_is_busy_and_names_its_holder(tree: SoundTree) -> None:
    library = FakeLibrary()
    library.fails = PortAudioFailed(DEVICE_UNAVAILABLE, "Device unavailable")
    tree.hold("card1/pcm0c", 4711, "chromium")
    backend = sound(tree, library)
    assert backend.holder("microphone") == "chromium"
    with pytest.raises(Busy) as caught:
        backend.record(0.1)
    assert caught.value.in_use_by == "chromium"


def test_a_busy_card_whose_holder_nobody_knows_is_held_by_other(tree: SoundTree) -> None:
    library = FakeLibrary()
    library.fails = PortAudioFailed(DEVICE_UNAVAILABLE, "Device unavailable")
    with pytest.raises(Busy) as caught:
        sound(tree, library).record(0.1)
    assert caught.value.in_use_by == "other"


@pytest.mark.parametrize(("code", "kind"), [(INVALID_DEVICE, Absent), (-9999, Broken), (0, Broken)])
def test_portaudios_errors_have_a_meaning(tree: SoundTree, code: int, kind: type[Exception]) -> None:
    library = FakeLibrary()
    library.fails = PortAudioFailed(code, "what it says")
    with pytest.raises(kind, match="what it says"):
        sound(tree, library).record(0.1)
    assert not library.open_now


@pytest.mark.parametrize("fails", [None, PortAudioFailed(-9999, "Unanticipated host error")])
def test_a_card_that_goes_meanwhile_is_absent(tree: SoundTree, fails: PortAudioFailed | None) -> None:
    library = FakeLibrary()
    listing = tree.root / "proc/asound/cards"

    def unplug() -> None:
        listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:2]))

    backend = sound(tree, library)
    if fails is None:
        library.meanwhile = unplug
    else:

        class Unplugged(FakeLibrary):
            def names(self) -> list[str]:
                unplug()
                raise fails

        backend = sound(tree, Unplugged())
    with pytest.raises(Absent):
        backend.record(0.1)


def test_a_default_that_is_replaced_meanwhile_is_not_taken_for_the_same(tree: SoundTree) -> None:
    library = FakeLibrary()
    listing = tree.root / "proc/asound/cards"

    def swap() -> None:
        lines = listing.read_text().splitlines(keepends=True)
        listing.write_text("".join(lines[:2] + lines[4:]))

    library.meanwhile = swap
    with pytest.raises(Absent, match="unplugged while in use"):
        sound(tree, library).record(0.1)


def test_a_card_that_portaudio_does_not_list_is_absent(tree: SoundTree) -> None:
    library = FakeLibrary()
    library.listed = ["default"]
    with pytest.raises(Absent, match="it lists: default"):
        sound(tree, library).record(0.1)


def test_a_server_is_reached_by_the_pulse_pcm(
    tree: SoundTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: dict[str, Any] = {"index": 1, "name": "usb-left", "mute": False, "volume": {}, "properties": {}}
    program(tmp_path, "pactl", {"-f json list sources": json.dumps([source])})
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("PULSE_SOURCE", raising=False)
    library = FakeLibrary()
    backend = sound(tree, library)
    with pytest.raises(Broken, match="libasound2-plugins"):
        backend.record(0.1)
    library.listed = ["default", "pulse"]
    backend.record(0.1)
    assert library.opened == [(1, None)]
    assert os.environ["PULSE_SOURCE"] == "usb-left"
    monkeypatch.delenv("PULSE_SOURCE")

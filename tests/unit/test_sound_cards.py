"""Sound cards by what stays the same: USB vendor, product and port, never by their number."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from diemcau_drivers.backends.alsa import CardMixer, KernelCards, controls
from diemcau_drivers.backends.soundcards import Card, Wanted, cards, holder
from diemcau_drivers.contract import Absent, BadRequest, Broken, Unsupported
from fake_soundcards import SoundTree, program

USB_MIXER = """\
Simple mixer control 'Speaker',0
  Capabilities: pvolume pswitch pswitch-joined
  Playback channels: Front Left - Front Right
  Limits: Playback 0 - 37
  Mono:
  Front Left: Playback 28 [76%] [-9.00dB] [on]
  Front Right: Playback 28 [76%] [-9.00dB] [on]
Simple mixer control 'Mic',0
  Capabilities: pvolume pvolume-joined cvolume cvolume-joined pswitch pswitch-joined cswitch cswitch-joined
  Playback channels: Mono
  Capture channels: Mono
  Limits: Playback 0 - 31 Capture 0 - 35
  Mono: Playback 23 [74%] [34.36dB] [off] Capture 12 [34%] [-3.00dB] [on]
Simple mixer control 'Auto Gain Control',0
  Capabilities: pswitch pswitch-joined
  Playback channels: Mono
  Mono: Playback [on]
"""
HDMI_MIXER = """\
Simple mixer control 'IEC958',0
  Capabilities: pswitch pswitch-joined
  Playback channels: Mono
  Mono: Playback [off]
"""


@pytest.fixture
def tree(tmp_path: Path) -> SoundTree:
    tree = SoundTree(tmp_path / "root")
    tree.plug(0, "vc4hdmi0", "vc4-hdmi-0", "0p")
    tree.plug(1, "Device", "USB Audio Device", "0c 0p", usb="0d8c:0014", port="1-1.3")
    tree.plug(2, "Device_1", "USB Audio Device", "0c 0p", usb="0D8C:0014", port="1-1.4")
    return tree


def test_every_card_is_listed_with_its_port(tree: SoundTree) -> None:
    hdmi, first, second = cards(tree.root)
    assert hdmi == Card(0, "vc4hdmi0", "vc4-hdmi-0", None, None, ((0, "p"),))
    assert first == Card(1, "Device", "USB Audio Device", "0d8c:0014", "1-1.3", ((0, "c"), (0, "p")))
    assert second.usb == "usb:0d8c:0014:1-1.4"
    assert hdmi.usb is None
    assert hdmi.pcm("microphone") is None


def test_a_kernel_without_sound_has_no_cards(tmp_path: Path) -> None:
    assert cards(tmp_path) == []
    assert cards(SoundTree(tmp_path / "empty").root) == []


@pytest.mark.parametrize(
    ("wanted", "pcm"),
    [
        (None, "hw:1,0"),
        ("usb:0d8c:0014", "hw:1,0"),
        ("usb:0D8C:0014", "hw:1,0"),
        ("usb:0d8c:0014:1-1.4", "hw:2,0"),
        ("Device_1", "hw:2,0"),
        ("USB Audio Device", "hw:1,0"),
    ],
)
def test_the_microphone_that_is_asked_for_is_found(tree: SoundTree, wanted: str | None, pcm: str) -> None:
    assert KernelCards(tree.root).find("microphone", Wanted.parse(wanted)).pcm == pcm


def test_the_same_card_is_found_under_another_number(tmp_path: Path) -> None:
    tree = SoundTree(tmp_path)
    tree.plug(5, "Device", "USB Audio Device", "3c", usb="0d8c:0014", port="1-1.4")
    route = KernelCards(tree.root).find("microphone", Wanted.parse("usb:0d8c:0014:1-1.4"))
    assert route.pcm == "hw:5,3"
    assert route.identity == {"name": "USB Audio Device", "id": "Device", "usb": "usb:0d8c:0014:1-1.4"}


@pytest.mark.parametrize("wanted", ["usb:1234:5678", "usb:0d8c:0014:1-1.5", "hw:1", "vc4hdmi0"])
def test_what_is_not_there_is_absent_and_the_message_says_what_is(tree: SoundTree, wanted: str) -> None:
    with pytest.raises(Absent, match=r"usb:0d8c:0014:1-1\.3, usb:0d8c:0014:1-1\.4"):
        KernelCards(tree.root).find("microphone", Wanted.parse(wanted))


@pytest.mark.parametrize(
    "text", ["usb:", "usb:0d8c", "usb:0d8c:14", "usb:0d8c:0014:", "usb:0d8c:0014:x", "usb:0d8c:0014:1"]
)
def test_a_usb_identity_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="expected"):
        Wanted.parse(text)


@given(st.from_regex(r"usb:[0-9a-f]{4}:[0-9a-f]{4}(:[1-9]-[1-9](\.[1-9]){0,3})?", fullmatch=True))
@example("usb:0d8c:0014:1-1.3")
def test_an_identity_is_written_as_it_is_read(text: str) -> None:
    assert str(Wanted.parse(text)) == text


def test_the_holder_is_the_program_that_has_the_pcm_open(tree: SoundTree) -> None:
    route = KernelCards(tree.root).find("microphone", Wanted())
    assert KernelCards(tree.root).holder(route) is None
    tree.hold("card1/pcm0c", 4711, "chromium")
    assert KernelCards(tree.root).holder(route) == "chromium"
    speaker = KernelCards(tree.root).find("speaker", Wanted.parse("Device"))
    assert KernelCards(tree.root).holder(speaker) is None, "the other direction is another PCM"


def test_a_holder_whose_name_cannot_be_read_is_other(tree: SoundTree) -> None:
    tree.hold("card1/pcm0c", 4711, None)
    assert holder(cards(tree.root)[1], "microphone", tree.root) == "other"


def test_a_card_with_a_free_substream_is_not_held(tree: SoundTree) -> None:
    tree.hold("card1/pcm0c", 4711, "chromium")
    free = tree.root / "proc/asound/card1/pcm0c/sub1"
    free.mkdir()
    (free / "status").write_text("closed\n")
    assert holder(cards(tree.root)[1], "microphone", tree.root) is None


# --- The card's mixer


def mixer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str, *sets: str
) -> tuple[CardMixer, Path]:
    answers = {"-D hw:1 -M scontents": listing} | dict.fromkeys(sets, "done")
    calls = program(tmp_path, "amixer", answers)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return CardMixer("hw:1"), calls


def test_a_usb_cards_mixer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, _ = mixer(tmp_path, monkeypatch, USB_MIXER)
    assert card.read("microphone") == {"muted": False, "gain_db": -3.0}
    assert card.read("speaker") == {"muted": False, "volume_percent": 76.0}


def test_a_card_without_controls_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, _ = mixer(tmp_path, monkeypatch, HDMI_MIXER)
    assert card.read("microphone") == {}
    assert card.read("speaker") == {"muted": True}
    with pytest.raises(Unsupported, match="gain_db"):
        card.set("microphone", {"gain_db": 3.0})
    with pytest.raises(Unsupported, match="volume_percent"):
        card.set("speaker", {"volume_percent": 30.0})


@pytest.mark.parametrize(
    ("device", "key", "value", "call"),
    [
        ("microphone", "muted", True, "sset Mic,0 capture nocap"),
        ("microphone", "muted", False, "sset Mic,0 capture cap"),
        ("microphone", "gain_db", -6.0, "sset Mic,0 capture -6.00dB"),
        ("speaker", "muted", True, "sset Speaker,0 playback mute"),
        ("speaker", "muted", False, "sset Speaker,0 playback unmute"),
        ("speaker", "volume_percent", 40.0, "sset Speaker,0 playback 40%"),
    ],
)
def test_each_control_is_set_in_its_own_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, key: str, value: object, call: str
) -> None:
    card, calls = mixer(tmp_path, monkeypatch, USB_MIXER, f"-D hw:1 -M -- {call}")
    card.set(device, {key: value})
    assert f"-D hw:1 -M -- {call}" in calls.read_text().splitlines()


def test_a_mixer_that_fails_is_broken_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "amixer", {})
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(Broken, match="No such entity"):
        CardMixer("hw:9").read("speaker")


def test_a_missing_amixer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Broken, match="alsa-utils"):
        CardMixer("hw:1").read("speaker")


@given(st.text(max_size=300))
@example(USB_MIXER[:-40])
def test_no_listing_makes_the_reader_fail(listing: str) -> None:
    for device in ("microphone", "speaker"):
        for control in controls(listing, device):
            assert control.name

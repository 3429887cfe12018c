"""The sound server's devices and mixer, from what pactl prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_drivers.backends.soundcards import Wanted
from diemcau_drivers.backends.soundserver import NoServer, SoundServer, gain_db, raw_volume
from diemcau_drivers.contract import Absent, Broken, Unsupported
from fake_soundcards import SoundTree, program


def device(name: str, properties: dict[str, str], raw: int = 65536, mute: bool = False) -> dict[str, Any]:
    return {
        "index": int(properties.get("alsa.card", properties.get("api.alsa.pcm.card", 9))) + 50,
        "name": name,
        "description": f"the {name}",
        "mute": mute,
        "volume": {"front-left": {"value": raw, "value_percent": "", "db": ""}},
        "properties": properties,
    }


SOURCES = [
    device("hdmi.monitor", {"device.class": "monitor"}),
    device("builtin", {"alsa.card": "0"}),
    device("usb-left", {"alsa.card": "1"}),
    device("usb-right", {"api.alsa.pcm.card": "2"}, raw=52057, mute=True),
]


def stream(on: dict[str, int], name: str | None, corked: bool = False, pid: int = 1) -> dict[str, Any]:
    named = {} if name is None else {"application.name": name}
    return {**on, "corked": corked, "properties": {"application.process.id": str(pid), **named}}


SOURCE_OUTPUTS = [
    stream({"source": 50}, "paused meeting", corked=True),
    stream({"source": 51}, "this very process", pid=os.getpid()),
    stream({"source": 52}, "Chromium input"),
]
SINK_INPUTS = [stream({"sink": 4294967295}, "elsewhere"), stream({"sink": 50}, None)]
SINKS = [device("auto_null", {}), device("hdmi", {"alsa.card": "0"}, raw=32768)]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program(
        tmp_path,
        "pactl",
        {
            "-f json list sources": json.dumps(SOURCES),
            "-f json list sinks": json.dumps(SINKS),
            "-f json list source-outputs": json.dumps(SOURCE_OUTPUTS),
            "-f json list sink-inputs": json.dumps(SINK_INPUTS),
            "get-default-source": "usb-left",
            "set-source-mute usb-left 1": "",
            "set-source-volume usb-left 52057": "",
            "set-sink-volume hdmi 26214": "",
        },
    )


@pytest.fixture
def server(tmp_path: Path, calls: Path) -> SoundServer:
    tree = SoundTree(tmp_path / "root")
    tree.plug(0, "vc4hdmi0", "vc4-hdmi-0", "0p")
    tree.plug(1, "Device", "USB Audio Device", "0c", usb="0d8c:0014", port="1-1.3")
    tree.plug(2, "Device_1", "USB Audio Device", "0c", usb="0d8c:0014", port="1-1.4")
    return SoundServer(tree.root)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (None, "usb-left"),  # the server's default
        ("builtin", "builtin"),
        ("the usb-right", "usb-right"),
        ("usb:0d8c:0014", "usb-left"),
        ("usb:0d8c:0014:1-1.4", "usb-right"),
    ],
)
def test_the_source_that_is_asked_for_is_found(server: SoundServer, wanted: str | None, name: str) -> None:
    route = server.find("microphone", Wanted.parse(wanted))
    assert route.identity["name"] == name
    assert route.environment == {"PULSE_SOURCE": name}


@pytest.mark.parametrize(
    ("kind", "wanted", "holder"),
    [
        ("microphone", "usb-right", "chromium"),
        ("microphone", "usb-left", None),  # our own recording
        ("microphone", "builtin", None),  # paused
        ("speaker", "hdmi", "other"),  # a program that does not say its name
    ],
)
def test_a_meeting_that_has_a_stream_on_a_device_is_its_holder(
    server: SoundServer, kind: str, wanted: str, holder: str | None
) -> None:
    assert server.shared
    assert server.holder(server.find(kind, Wanted.parse(wanted))) == holder


def test_the_identity_says_what_to_write_into_the_settings(server: SoundServer) -> None:
    assert server.find("microphone", Wanted.parse("usb-right")).identity["usb"] == "usb:0d8c:0014:1-1.4"


@pytest.mark.parametrize("name", ["hdmi.monitor", "usb:0d8c:0014:1-1.9", "usb:dead:beef"])
def test_a_monitor_is_no_microphone_and_what_is_gone_is_absent(server: SoundServer, name: str) -> None:
    with pytest.raises(Absent, match="builtin, usb-left, usb-right"):
        server.find("microphone", Wanted.parse(name))


def test_the_servers_dummy_is_no_speaker(server: SoundServer) -> None:
    assert server.find("speaker", Wanted()).identity["name"] == "hdmi"
    with pytest.raises(Absent):
        server.find("speaker", Wanted.parse("auto_null"))


def test_the_mixer_is_read(server: SoundServer) -> None:
    left = server.find("microphone", Wanted.parse("usb-left"))
    right = server.find("microphone", Wanted.parse("usb-right"))
    assert server.mixer(left) == {"muted": False, "gain_db": 0.0}
    assert server.mixer(right) == {"muted": True, "gain_db": -6.0}
    assert server.mixer(server.find("speaker", Wanted())) == {"muted": False, "volume_percent": 50.0}


def test_a_volume_is_set_as_its_raw_value(server: SoundServer, calls: Path) -> None:
    """pactl would take "-6dB" for a step of -6 dB."""
    left = server.find("microphone", Wanted.parse("usb-left"))
    server.set_mixer(left, {"muted": True, "gain_db": -6.0})
    server.set_mixer(server.find("speaker", Wanted()), {"volume_percent": 40.0})
    made = calls.read_text().splitlines()
    assert "set-source-mute usb-left 1" in made
    assert "set-source-volume usb-left 52057" in made
    assert "set-sink-volume hdmi 26214" in made


def test_what_a_device_has_no_control_for_is_unsupported(server: SoundServer) -> None:
    with pytest.raises(Unsupported):
        server.set_mixer(server.find("speaker", Wanted()), {"gain_db": 3.0})


def test_a_refusal_is_broken_and_says_why(server: SoundServer) -> None:
    speaker = server.find("speaker", Wanted())
    with pytest.raises(Broken, match="No such entity"):
        server.set_mixer(speaker, {"volume_percent": 41.0})


def test_without_pactl_there_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(NoServer):
        SoundServer(tmp_path).find("speaker", Wanted())


@pytest.mark.pipewire
def test_a_server_that_nobody_runs_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pactl, on a socket that is not there."""
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/none")
    with pytest.raises(NoServer, match="refused"):
        SoundServer(tmp_path).find("speaker", Wanted())


@given(st.floats(-60, 20))
def test_gain_and_raw_volume_are_each_others_inverse(gain: float) -> None:
    assert gain_db(raw_volume(gain)) == pytest.approx(gain, abs=0.01)


def test_no_volume_is_no_gain() -> None:
    assert gain_db(0) == -120.0


def test_what_comes_over_bluetooth_is_not_called_by_its_owners_name(calls: Path, server: SoundServer) -> None:
    headset = device("bluez_input.00_11_22", {"api.alsa.pcm.card": "7"}) | {"description": "Nam's headset"}
    listing = json.dumps([headset])
    program(calls.parent, "pactl", {"-f json list sources": listing, "get-default-source": "x"})
    assert server.find("microphone", Wanted.parse(None)).identity["description"] == "Bluetooth"

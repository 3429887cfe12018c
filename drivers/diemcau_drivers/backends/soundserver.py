"""PipeWire or PulseAudio, through ``pactl``: which devices there are, their mixer. Standard library only.

``pactl`` is the one tool that speaks to both. Its answers are asked for as JSON in the C locale (in
others it writes ``0,50``, which is not JSON). A volume is set as its raw value: ``pactl`` takes "-6dB"
for a *step* of -6 dB; PulseAudio's scale is cubic (pulse/volume.h), 65536 = 100 % = 0 dB.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from diemcau_drivers.contract import Absent, Broken, Unsupported

from .holders import known
from .soundcards import Card, Wanted, cards
from .soundroute import Route

PACTL_DEADLINE_S = 15.0
"""Longer than the daemon gives a probe: a sound server that hangs is then told as what it is, a hung
device, by the daemon's own deadline, and not as a broken one by ours."""
NORMAL = 65536
_KIND = {"microphone": "source", "speaker": "sink"}
_STREAM = {"microphone": "source-outputs", "speaker": "sink-inputs"}
_PCM = "pulse"
"""ALSA's way to the server (libasound2-plugins); which of its devices, the environment says."""
_VARIABLE = {"microphone": "PULSE_SOURCE", "speaker": "PULSE_SINK"}
_BLUETOOTH = "bluez"
"""How PipeWire's and PulseAudio's names of such devices begin; the address of somebody's headset follows."""
_NULL_SINK = "auto_null"
"""What the server offers where there is no sink at all."""


class NoServer(Exception):
    """Nobody answers: no ``pactl``, or no server for this user. The kernel's cards are ours then."""


class SoundServer:
    """Every method raises NoServer, and Broken where the server refuses."""

    shared = True

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def find(self, device: str, wanted: Wanted) -> Route:
        """Raises Absent, NoServer."""
        kind = _KIND[device]
        present = {entry["name"]: entry for entry in self._list(kind)}
        for name, entry in self._by_preference(kind, present, wanted):
            card = self._card(entry)
            if self._is(entry, card, wanted):
                identity = {"name": name, "description": _described(entry)}
                if card is not None and card.usb is not None:
                    identity["usb"] = card.usb
                return Route(
                    device, _PCM, identity, environment={_VARIABLE[device]: name}, index=entry["index"]
                )
        there = ("Bluetooth" if name.startswith(_BLUETOOTH) else name for name in present)
        raise Absent(f"no {device} {wanted} on the sound server; there is: {', '.join(there) or 'none'}")

    def holder(self, route: Route) -> str | None:
        """Whoever has a stream running on it but this process; one that is paused (corked) uses nothing."""
        for stream in _listed(_STREAM[route.device]):
            properties = cast("Mapping[str, str]", stream["properties"])
            ours = properties.get("application.process.id") == str(os.getpid())
            if stream[_KIND[route.device]] == route.index and not stream["corked"] and not ours:
                return known(properties.get("application.name", ""))
        return None

    def mixer(self, route: Route) -> Mapping[str, Any]:
        """Raises Absent."""
        kind, name = _KIND[route.device], route.identity["name"]
        entry = next((entry for entry in self._list(kind) if entry["name"] == name), None)
        if entry is None:
            raise Absent(f"{name} is gone from the sound server")
        channels = cast("Mapping[str, Mapping[str, Any]]", entry.get("volume") or {}).values()
        loudest = max((int(channel["value"]) for channel in channels), default=None)
        read: dict[str, Any] = {"muted": bool(entry["mute"])}
        if loudest is not None and route.device == "speaker":
            read["volume_percent"] = round(100 * loudest / NORMAL, 1)
        elif loudest is not None:
            read["gain_db"] = gain_db(loudest)
        return read

    def set_mixer(self, route: Route, values: Mapping[str, Any]) -> None:
        kind, name = _KIND[route.device], route.identity["name"]
        for key, value in values.items():
            if key == "muted":
                _pactl(f"set-{kind}-mute", name, "1" if value else "0")
            elif key == "volume_percent" and route.device == "speaker":
                _pactl(f"set-{kind}-volume", name, str(round(NORMAL * value / 100)))
            elif key == "gain_db" and route.device == "microphone":
                _pactl(f"set-{kind}-volume", name, str(raw_volume(value)))
            else:
                raise Unsupported(f"a {route.device} has no {key}")

    def _list(self, kind: str) -> list[dict[str, Any]]:
        return [
            entry
            for entry in _listed(f"{kind}s")
            if entry["name"] != _NULL_SINK and entry["properties"].get("device.class") != "monitor"
        ]

    @staticmethod
    def _by_preference(
        kind: str, present: Mapping[str, dict[str, Any]], wanted: Wanted
    ) -> list[tuple[str, dict[str, Any]]]:
        """The server's default first."""
        if len(present) < 2 or not wanted.anything:
            return list(present.items())
        default = _pactl(f"get-default-{kind}").strip()
        return sorted(present.items(), key=lambda item: item[0] != default)

    def _card(self, entry: Mapping[str, Any]) -> Card | None:
        properties = cast("Mapping[str, str]", entry["properties"])
        number = properties.get("alsa.card", properties.get("api.alsa.pcm.card"))
        return next((card for card in cards(self._root) if str(card.number) == number), None)

    @staticmethod
    def _is(entry: Mapping[str, Any], card: Card | None, wanted: Wanted) -> bool:
        if wanted.anything or wanted.name in (entry["name"], entry.get("description")):
            return True
        return card is not None and wanted.is_card(card)


def _described(entry: Mapping[str, Any]) -> str:
    """As the maker calls it; what comes over Bluetooth is called as its owner likes ("Nam's headset")."""
    return "Bluetooth" if str(entry["name"]).startswith(_BLUETOOTH) else str(entry.get("description", ""))


def _listed(what: str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", json.loads(_pactl("-f", "json", "list", what)))


def gain_db(raw: int) -> float:
    """PulseAudio's raw volume as dB: 60 log10(v / 65536), being cubic; -120 for 0."""
    return round(60 * math.log10(raw / NORMAL), 2) if raw > 0 else -120.0


def raw_volume(gain: float) -> int:
    return round(NORMAL * 10 ** (gain / 60))


def _pactl(*arguments: str) -> str:
    """Raises NoServer; Broken where the server refuses, or hangs."""
    command = ["pactl", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            timeout=PACTL_DEADLINE_S,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise NoServer("pactl is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{' '.join(command)}: no answer in {PACTL_DEADLINE_S:g} s") from error
    except subprocess.CalledProcessError as error:
        detail = str(error.stderr).strip().partition("\n")[0]
        if detail.startswith("Connection failure"):
            raise NoServer(detail) from error
        raise Broken(f"{' '.join(command)}: {detail or error.returncode}") from error
    return done.stdout

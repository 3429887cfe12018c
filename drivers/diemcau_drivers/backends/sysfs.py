"""Is each device there? Read from /sys, /proc and /dev without opening a device. Standard library only.

Options, each with a table as in the configuration, all of them optional: ``camera`` (identity), ``audio``
(microphone, speaker), ``display`` (connector).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import connectors, videonodes

PCM_CARD = re.compile(r"(?P<card>\d+)-\d+:")
USB_WANTED = re.compile(r"usb:(?P<id>[0-9a-fA-F]{4}:[0-9a-fA-F]{4})(:(?P<port>.+))?")


class SysfsPresence:
    """``root``: where /sys, /proc and /dev are found."""

    def __init__(self, options: Mapping[str, Any], *, root: Path = Path("/")) -> None:
        self._camera: str | None = _table(options, "camera").get("identity")
        self._sound = _table(options, "audio")
        self._connector: str | None = _table(options, "display").get("connector")
        self._sys, self._proc, self._dev = root / "sys", root / "proc", root / "dev"

    def present(self) -> Mapping[str, bool | None]:
        return {
            "camera": self._camera_present(),
            "microphone": self._card_present(self._sound.get("microphone"), "capture"),
            "speaker": self._card_present(self._sound.get("speaker"), "playback"),
            "display": self._display_present(),
            "panel": any(self._dev.glob("gpiochip*")),
        }

    def _camera_present(self) -> bool:
        sensor = videonodes.sensor(self._camera, self._sys)
        return sensor is not None or videonodes.video_node(self._camera, self._sys, self._dev) is not None

    def _display_present(self) -> bool | None:
        found = connectors.connector(self._connector, self._sys)
        return None if found is None else found.connected

    def _card_present(self, wanted: str | None, direction: str) -> bool | None:
        """Whether ALSA has a card, of that identity where one is wanted, that can capture or play back.

        None where ALSA is not there at all, and for a name that is no card's: a sound server's own.
        """
        try:
            lines = (self._proc / "asound/pcm").read_text().splitlines()
        except OSError:
            return None
        matched = [PCM_CARD.match(line) for line in lines if direction in line]
        able = {int(match["card"]) for match in matched if match}
        if wanted is None:
            return bool(able)
        usb = USB_WANTED.fullmatch(wanted)
        if usb is not None:
            return any(self._is_usb(card, usb["id"].lower(), usb["port"]) for card in able)
        return True if any(wanted in self._card_names(card) for card in able) else None

    def _is_usb(self, card: int, usb_id: str, port: str | None) -> bool:
        identity = videonodes.usb_identity(self._sys / f"class/sound/card{card}/device")
        if identity is None:
            return False
        return identity == f"{usb_id}:{port}" if port else identity.startswith(f"{usb_id}:")

    def _card_names(self, card: int) -> str:
        """The card's id and its line of /proc/asound/cards."""
        listed = videonodes.text(self._proc / "asound/cards") or ""
        line = next((line for line in listed.splitlines() if line.split()[:1] == [str(card)]), "")
        return f"{videonodes.text(self._proc / f'asound/card{card}/id') or ''} {line}"


def _table(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return options.get(name) or {}

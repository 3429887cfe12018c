"""Is each device there? Read from /sys, /proc and /dev without opening a device. Standard library only.

Options, each with a table as in the configuration, all of them optional: ``camera`` (identity), ``audio``
(microphone, speaker), ``display`` (connector).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import connectors, soundcards, videonodes


class SysfsPresence:
    """``root``: where /sys, /proc and /dev are found."""

    def __init__(self, options: Mapping[str, Any], *, root: Path = Path("/")) -> None:
        self._camera: str | None = _table(options, "camera").get("identity")
        self._sound = _table(options, "audio")
        self._connector: str | None = _table(options, "display").get("connector")
        self._root, self._sys, self._dev = root, root / "sys", root / "dev"

    def present(self) -> Mapping[str, bool | None]:
        return {
            "camera": self._camera_present(),
            "microphone": self._card_present("microphone"),
            "speaker": self._card_present("speaker"),
            "display": self._display_present(),
            "panel": any(self._dev.glob("gpiochip*")),
        }

    def _camera_present(self) -> bool:
        sensor = videonodes.sensor(self._camera, self._sys)
        return sensor is not None or videonodes.video_node(self._camera, self._sys, self._dev) is not None

    def _display_present(self) -> bool | None:
        found = connectors.connector(self._connector, self._sys)
        return None if found is None else found.connected

    def _card_present(self, device: str) -> bool | None:
        """Whether ALSA has a card, of that identity where one is wanted, that can be a ``device``.

        None where ALSA is not there at all, and for a name that is no card's: a sound server's own.
        """
        if not (self._root / "proc/asound/cards").exists():
            return None
        wanted = soundcards.Wanted.parse(self._sound.get(device))
        able = [card for card in soundcards.cards(self._root) if card.pcm(device) is not None]
        if any(wanted.is_card(card) for card in able):
            return True
        return False if wanted.name is None else None


def _table(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return options.get(name) or {}

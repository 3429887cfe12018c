"""Process "presence": is each device there? Opens nothing, so it may be asked every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .arguments import Arguments, unknown_verb
from .contract import DEVICES
from .interfaces import PresenceBackend

Tell = Callable[[str, Mapping[str, Any]], None]


def open_device(backend: PresenceBackend, options: Mapping[str, Any], tell: Tell) -> Presence:
    return Presence(backend)


class Presence:
    def __init__(self, backend: PresenceBackend) -> None:
        self._backend = backend

    def handle(self, do: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """device -> true, false, or null where it cannot be told; each of contract.DEVICES."""
        if do != "probe":
            raise unknown_verb(do, ("probe",))
        Arguments(args)
        present = self._backend.present()
        return {device: present.get(device) for device in DEVICES}

    def close(self) -> None:
        """Nothing is open."""

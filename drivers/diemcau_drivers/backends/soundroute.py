"""One microphone or speaker, found, and the way to open it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .soundcards import Card, Wanted


@dataclass(frozen=True, slots=True)
class Route:
    device: str
    """ "microphone" or "speaker"."""
    pcm: str
    """The ALSA PCM as PortAudio lists it: "pulse", or "hw:1,0"."""
    identity: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that lead the PCM to the device (PULSE_SOURCE, PULSE_SINK)."""
    card: Card | None = None
    index: int | None = None
    """The sound server's number of it."""


class SoundSystem(Protocol):
    """Where devices are found and mixed: a sound server, or the kernel's cards. Raises DeviceError."""

    shared: bool
    """Whether several programs can use one of its devices at a time."""

    def find(self, device: str, wanted: Wanted) -> Route: ...
    def holder(self, route: Route) -> str | None: ...
    def mixer(self, route: Route) -> Mapping[str, Any]: ...
    def set_mixer(self, route: Route, values: Mapping[str, Any]) -> None: ...

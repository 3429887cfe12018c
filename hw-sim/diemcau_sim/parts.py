"""How the parts of the room are set, and what is remembered of them: plain values."""

from __future__ import annotations

from dataclasses import dataclass

Light = tuple[float, float, float]
"""Red, green, blue, 0 to 1."""


@dataclass(frozen=True, slots=True)
class CameraState:
    power: bool = True
    zoom: float = 1.0
    centre_x: float = 0.5
    centre_y: float = 0.5
    preset: str | None = None


@dataclass(frozen=True, slots=True)
class MicrophoneState:
    muted: bool = False
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class SpeakerState:
    muted: bool = False
    volume_percent: float = 70.0


@dataclass(frozen=True, slots=True)
class ScreenState:
    """``input``: "kit" or an HDMI physical address; ``message`` "" and ``card`` "off": nothing is shown."""

    power: str = "on"
    input: str = "kit"
    brightness_percent: float = 60.0
    message: str = ""
    card: str = "off"


@dataclass(frozen=True, slots=True)
class Lit:
    at_s: float
    light: Light


@dataclass(frozen=True, slots=True)
class Played:
    at_s: float
    seconds: float
    level_dbfs: float

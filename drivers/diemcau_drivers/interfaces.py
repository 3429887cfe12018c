"""The seam: what a backend implements. Device logic lives above it, libraries and the simulator below.

A backend's factory is called in the device's own process as ``factory(options)``, options being the
configuration's table for that device merged with ``[backend_options]``. Any method may raise
:class:`.contract.DeviceError`. The daemon does not import this page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Luma = NDArray[np.uint8]
    """One picture's brightness, shape (height, width), 0 to 255 full range."""
    Samples = NDArray[np.float32]
    """Mono sound, shape (n,), full scale -1 to 1."""


class CameraBackend(Protocol):
    """One camera. Everything but ``identity`` and ``holder`` needs it open. Where another program
    holds it, ``open`` may raise Busy, or else what wants a picture does."""

    def identity(self) -> Mapping[str, str]: ...
    def holder(self) -> str | None:
        """The program that holds the camera now, "other" where unknown, None where it is free."""
        ...

    def open(self) -> None: ...
    def close(self) -> None: ...
    def capabilities(self) -> Sequence[str]:
        """Of "power", "zoom", "preset", "snapshot"."""
        ...

    def grab(self, count: int) -> tuple[Sequence[Luma], float]:
        """``count`` consecutive frames and the frame rate (1/s) at which they came."""
        ...

    def jpeg(self, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
        """One picture as JPEG, with width and height."""
        ...

    def state(self) -> Mapping[str, Any]:
        """power (bool), zoom (1 = whole picture), preset (name or null), read from the device."""
        ...

    def set_power(self, on: bool) -> None: ...
    def set_zoom(self, ratio: float) -> None: ...
    def set_preset(self, name: str) -> None: ...


class AudioBackend(Protocol):
    """A microphone and a speaker on one clock. Rate 48 000 Hz, mono."""

    def microphone(self) -> Mapping[str, str]:
        """Identity of the chosen microphone. Raises Absent."""
        ...

    def speaker(self) -> Mapping[str, str]: ...
    def holder(self, device: str) -> str | None:
        """The program that uses "microphone" or "speaker" now, "other" where unknown, None where nobody
        does."""
        ...

    def shares(self) -> bool:
        """Whether a microphone that another program uses can be listened to all the same."""
        ...

    def record(self, seconds: float) -> Samples: ...
    def play(self, samples: Samples) -> None: ...
    def play_and_record(self, samples: Samples, seconds: float) -> Samples:
        """Play ``samples`` while recording ``seconds``; both begin at once, on one clock."""
        ...

    def mixer(self, device: str) -> Mapping[str, Any]:
        """For "microphone": muted, gain_db; for "speaker": muted, volume_percent. Keys that the
        card has no control for are left out."""
        ...

    def set_mixer(self, device: str, **values: Any) -> None: ...
    def close(self) -> None: ...


class DisplayBackend(Protocol):
    def identity(self) -> Mapping[str, str]: ...
    def capabilities(self) -> Sequence[str]:
        """Of "power", "input", "brightness", "message", "card"."""
        ...

    def connected(self) -> bool:
        """Hot-plug and EDID say that a screen is there."""
        ...

    def size_px(self) -> tuple[int, int] | None: ...
    def power(self) -> str:
        """ "on", "standby", or "unknown" where no one answers CEC."""
        ...

    def active_input(self) -> bool | None:
        """Whether the screen shows us; None where it does not tell."""
        ...

    def set_power(self, on: bool) -> None: ...
    def set_input(self, name: str) -> None:
        """ "kit" (this Pi), or an HDMI physical address such as "2.0.0.0"."""
        ...

    def brightness_percent(self) -> float | None: ...
    def set_brightness(self, percent: float) -> None: ...
    def show(self, *, message: str | None, card: str | None) -> Mapping[str, Any]:
        """Put words or a test card on the screen; "" and "off" clear. Returns what is shown."""
        ...

    def close(self) -> None: ...


class PanelBackend(Protocol):
    def start(self, tell: PanelListener) -> None:
        """Begin to listen; ``tell(pressed)`` may be called from any thread, debounced by the device logic."""
        ...

    def pressed(self) -> bool: ...
    def light(self, red: float, green: float, blue: float) -> None:
        """Set the light now; 0 to 1 each. Patterns are the device logic's."""
        ...

    def identity(self) -> Mapping[str, str]: ...
    def close(self) -> None: ...


class PanelListener(Protocol):
    def __call__(self, pressed: bool) -> None: ...


class PresenceBackend(Protocol):
    def present(self) -> Mapping[str, bool | None]:
        """device -> there or not, None where it cannot be told without opening it. Opens nothing."""
        ...


class HostBackend(Protocol):
    def probe(self) -> Mapping[str, Any]: ...
    def interface(self, name: str | None) -> Mapping[str, Any]: ...
    def path(self, near_only: bool) -> Mapping[str, Any]: ...

"""What a device can be asked, what it answers, and its errors. Standard library only.

Both sides of the pipe import this page: the daemon (which may import nothing else of the
drivers but :mod:`.pipe`) and the device's own process.

The processes and what each can be asked (``do``), with arguments and results, all JSON:

=========  ==============  =====================================  ======================================
process    do              args                                   result
=========  ==============  =====================================  ======================================
camera     probe           passive                                one Look
camera     state           --                                     power, zoom, preset, capabilities
camera     set             power, zoom, preset (any of)           as state, read back
camera     snapshot        max_bytes                              jpeg_base64, width_px, height_px, bytes
audio      probe           seconds, passive                       microphone: Look, speaker: Look
audio      loop            seconds, level_dbfs                    the loop's readings (LOOP_READINGS)
audio      microphone      mute, gain_db (any of; none = read)    muted, gain_db; muted_by ("kit", "room")
audio      speaker         volume_percent, mute (any of)          volume_percent, muted
audio      announce        name (ANNOUNCEMENTS)                   name, seconds
display    probe           passive                                one Look
display    set             power, input, brightness_percent,      the same keys, read back ("unknown"
                           message, card (any of)                 where the screen does not tell)
panel      probe           --                                     one Look
panel      lights          pattern (LIGHT_PATTERNS)               pattern
presence   probe           --                                     device -> bool or null (not known)
host       probe           --                                     flat readings (HOST_READINGS)
host       interface       name or null (default route's)         flat readings (INTERFACE_READINGS)
host       path            near_only                              flat readings (PATH_READINGS), those found
any        reopen          --                                     {}: device and backend were made anew
=========  ==============  =====================================  ======================================

A *Look* is what one device showed at one time (see :class:`Look`); where that device alone is
absent, busy or broken it carries ``error`` instead of readings, so that a missing microphone
does not hide the speaker. The panel's process also tells, unasked, ``press``, ``hold`` and
``release`` (:data:`PANEL_EVENTS`).

Errors::

    DeviceError                 kind = ...
    ├── Absent                  "absent"       not there, or gone while in use
    ├── Busy                    "busy"         another program holds it (in_use_by)
    ├── Unsupported             "unsupported"  this device cannot do that
    ├── BadRequest              "bad_request"  no such verb, bad arguments
    ├── Forbidden               "forbidden"    somebody in the room wants it otherwise
    └── Broken                  "broken"       the library or the device failed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

DEVICES = ("camera", "microphone", "speaker", "display", "panel")
PROCESSES = ("camera", "audio", "display", "panel", "presence", "host")
PROCESS_OF = {
    "camera": "camera",
    "microphone": "audio",
    "speaker": "audio",
    "display": "display",
    "panel": "panel",
}

CAMERA_READINGS = (
    "luma_mean",  # mean brightness, 0 to 1
    "luma_std",  # spread of brightness, 0 to 1: near 0 is a covered lens
    "dark_ratio",  # share of pixels with luma <= 0.10 (blackdetect's pixel threshold)
    "bright_ratio",  # share of pixels with luma >= 0.98
    "sharpness",  # variance of the Laplacian at 320 pixels of width
    "motion_db",  # mean absolute difference of consecutive frames, dB of full scale; -120 = identical
    "fps",
    "width_px",
    "height_px",
)
MICROPHONE_READINGS = (
    "level_dbfs",  # RMS
    "peak_dbfs",
    "noise_floor_dbfs",  # 10th percentile of the RMS of 20 ms blocks
    "clipped_ratio",  # share of samples at >= -1 dBFS
    "hum_db",  # mains hum (50 Hz and harmonics to 400 Hz) against all the sound, dB, <= 0
    "muted",
    "muted_by",  # "kit" (an order from afar) or "room"; only while it is muted
    "gain_db",
)
SPEAKER_READINGS = ("volume_percent", "muted")
LOOP_READINGS = (
    "found",  # the chirp was found in the microphone
    "correlation",  # normalised peak of the matched filter, 0 to 1
    "delay_ms",  # speaker to microphone, on one clock
    "level_dbfs",  # of the chirp as heard
    "snr_db",  # the chirp as heard against the room just before it
    "distortion_percent",  # power outside the chirp's own track, of all that was heard above the noise
    "echo_db",  # strongest later arrival (> 60 ms) against the first
    "echo_ms",
    "clipped_ratio",
)
WORDS = frozenset({"power", "pattern", "muted_by"})
"""The readings that are words; all others are numbers and flags."""
TEXT_MAX = 256
DISPLAY_READINGS = ("connected", "power", "active_input", "cec", "width_px", "height_px")
"""power: "on", "standby", "unknown". active_input: true, false, or null where not told."""
PANEL_READINGS = ("button_held_s", "pattern")
HOST_READINGS = (
    "cpu_percent",
    "load_per_core",  # 5-minute load average divided by cores
    "memory_available_percent",
    "temperature_c",
    "throttled_bits",  # vcgencmd get_throttled's word; null where there is none
    "disk_free_percent",
    "disk_writable",
    "clock_synced",
    "uptime_s",
)
INTERFACE_READINGS = (
    "interface",
    "carrier",
    "has_address",  # one that leads out: not link-local
    "speed_mbps",  # as negotiated; absent for Wi-Fi
    "duplex",  # as negotiated, "full" or "half"
    "wifi_dbm",  # signal of Wi-Fi; absent for a cable
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
)
PATH_READINGS = (
    "gateway",  # address
    "gateway_answers",
    "gateway_rtt_ms",
    "dns_answers",
    "dns_ms",
    "dns_error",
    "clock_source",
    "clock_server",
    "clock_offset_ms",
    "hops",  # to the centre, where it answers
    "beyond_gateway",  # somebody behind the gateway answered
    "mtu_bytes",  # of the largest IP packet that came back
    "mtu_passes",  # packets as large as the kernel believes the path to take came back
    "broker_tcp_ms",
    "broker_tls_ms",
    "broker_tls_error",
    "broker_error",
    "broker_cert_time",  # the server's certificate is not valid at the time that the kit believes
)
"""Of the path to the centre; each is there only where it was found out."""

REOPEN = "reopen"
"""What every process can be asked: close the device, forget its backend, and open it again."""
PANEL_EVENTS = ("press", "hold", "release")
LIGHT_PATTERNS = (
    "off",
    "ready",  # solid green
    "testing",  # breathing green
    "degraded",  # amber, slow blink
    "not_ready",  # red, fast blink
    "enrolling",  # blue
    "identify",  # white, quick flashes
    "no_broker",  # magenta, double blink
    "picture",  # cyan, long and short: a picture of the room is taken, by order from afar
    "help",  # red and white in turn: someone in the room calls for help
)
ANNOUNCEMENTS = ("chime", "attention", "here")
TEST_CARDS = ("bars", "grid", "off")


class DeviceError(Exception):
    """A device did not do what it was asked, and said why.

    ``in_use_by`` names the program that holds the device, "other" where it cannot be known.
    """

    kind = "broken"

    def __init__(self, detail: str, *, in_use_by: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.in_use_by = in_use_by


class Absent(DeviceError):
    kind = "absent"


class Busy(DeviceError):
    kind = "busy"

    def __init__(self, detail: str, *, in_use_by: str | None = None) -> None:
        super().__init__(detail, in_use_by=in_use_by or "other")


class Unsupported(DeviceError):
    kind = "unsupported"


class BadRequest(DeviceError):
    kind = "bad_request"


class Forbidden(DeviceError):
    kind = "forbidden"


class Broken(DeviceError):
    kind = "broken"


ERRORS: dict[str, type[DeviceError]] = {
    error.kind: error for error in (Absent, Busy, Unsupported, BadRequest, Forbidden, Broken)
}


class ErrorDict(TypedDict):
    kind: str
    detail: str
    in_use_by: str | None


def error_to_dict(error: DeviceError) -> ErrorDict:
    return {"kind": error.kind, "detail": error.detail, "in_use_by": error.in_use_by}


def error_from_dict(data: Mapping[str, Any]) -> DeviceError:
    """The error that the other side named; an unknown kind becomes Broken."""
    kind = ERRORS.get(str(data.get("kind")), Broken)
    holder = data.get("in_use_by")
    return kind(str(data.get("detail", ""))[:1000], in_use_by=holder if _is_text(holder) else None)


@dataclass(frozen=True, slots=True)
class Look:
    """What one device showed at one time.

    ``readings``: names from the tables above, unit in the name; a reading that the device does not
    tell is left out, never invented. ``passive``: nothing was opened, so picture and sound are
    not judged. ``identity``: what stays the same across reboots (USB vendor, product, port path,
    EDID name). ``capabilities``: what it can be asked.
    """

    readings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    passive: bool = False
    in_use_by: str | None = None
    identity: Mapping[str, str] = field(default_factory=dict[str, str])
    capabilities: Sequence[str] = ()
    error: DeviceError | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "readings": dict(self.readings),
            "passive": self.passive,
            "in_use_by": self.in_use_by,
            "identity": dict(self.identity),
            "capabilities": list(self.capabilities),
            "error": None if self.error is None else error_to_dict(self.error),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Look:
        """What the other side told; :class:`Broken` as its error where it is no look. It comes from a process
        that may have been taken over, and goes to judges that compare numbers."""
        if not isinstance(data, dict):
            return cls(error=Broken("its answer is no look"))
        told = cast("dict[str, Any]", data)
        error = told.get("error")
        if isinstance(error, dict):
            return cls(error=error_from_dict(cast("dict[str, Any]", error)))
        readings, identity = told.get("readings", {}), told.get("identity", {})
        holder, capabilities = told.get("in_use_by"), told.get("capabilities", [])
        if not (
            error is None
            and _is_table(readings, _is_reading)
            and _is_table(identity, lambda _, value: _is_text(value))
            and (holder is None or _is_text(holder))
            and isinstance(capabilities, list | tuple)
            and all(_is_text(name) for name in cast("Sequence[Any]", capabilities))
        ):
            return cls(error=Broken("its answer is no look"))
        return cls(
            readings, bool(told.get("passive")), holder, identity, tuple(cast("list[str]", capabilities))
        )


def _is_table(value: Any, fits: Callable[[str, Any], bool]) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and len(name) <= TEXT_MAX and fits(name, each)
        for name, each in cast("dict[Any, Any]", value).items()
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_MAX


def _is_reading(name: str, value: Any) -> bool:
    """A number that every reader of JSON knows, a word only where one is expected, or null."""
    if isinstance(value, int | float):
        return abs(value) <= 2**53  # neither is infinity, nor what is no number
    return value is None or (name in WORDS and _is_text(value))

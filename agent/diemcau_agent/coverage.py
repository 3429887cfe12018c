"""Which codes a look tells of, seen or not, and whether it saw enough. Pure.

What the readings then mean: :mod:`.judges`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .codes import CODES


def covers(device: str, readings: Mapping[str, Any]) -> frozenset[str]:
    """The codes of ``device`` that a look with these readings tells of, seen or not.

    Where there are readings at all, the device is neither absent nor hung nor crashed.
    """
    seen = told(readings)
    codes = {code for code, needs in _NEEDS[device].items() if all(has(seen, name) for name in needs)}
    return frozenset(codes) | gone(device) if codes else frozenset()


def gone(device: str) -> frozenset[str]:
    """The codes of ``device`` being absent, hung or crashed, which any answer of its own disproves."""
    return frozenset(code.name for code in CODES.values() if code.bound == "gone" and device in code.devices)


def known(device: str, readings: Mapping[str, Any]) -> bool:
    """Whether enough was read to call ``device`` ok where no code holds."""
    seen = told(readings)
    if device == "microphone" and seen.get("muted") is True:
        return True
    return all(has(seen, name) for name in _CORE[device])


def has(readings: Mapping[str, Any], name: str) -> bool:
    """Whether the reading was told; ``a|b`` asks for either."""
    return any(readings.get(option) is not None for option in name.split("|"))


def told(readings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are there: null says that it could not be read."""
    return {name: value for name, value in readings.items() if value is not None}


_NEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "camera": {
        "frame_black": ("dark_ratio",),
        "frame_covered": ("luma_std",),
        "frame_frozen": ("motion_db",),
        "frame_overexposed": ("bright_ratio",),
        "frame_dark": ("luma_mean",),
        "frame_blurred": ("sharpness",),
    },
    "microphone": {
        "microphone_muted": ("muted",),
        "microphone_silent": ("level_dbfs",),
        "microphone_quiet": ("level_dbfs",),
        "microphone_clipping": ("clipped_ratio",),
        "microphone_hum": ("hum_db", "level_dbfs"),
        "microphone_noisy": ("noise_floor_dbfs",),
    },
    "speaker": {"speaker_muted": ("muted|volume_percent",)},
    "display": {
        "display_absent": ("connected",),
        "display_standby": ("power",),
        "display_wrong_input": ("active_input",),
        "display_no_cec": ("power|cec",),
    },
    "panel": {"button_stuck": ("button_held_s",)},
    "host": {
        "disk_full": ("disk_free_percent",),
        "disk_read_only": ("disk_writable",),
        "too_hot": ("temperature_c",),
        "under_voltage": ("throttled_bits",),
        "throttled": ("throttled_bits",),
        "memory_low": ("memory_available_percent",),
        "load_high": ("load_per_core",),
        "clock_unsynced": ("clock_synced",),
    },
    "line": {
        "cable": ("carrier",),
        "address": ("has_address",),
        "gateway": ("gateway_answers|broker_connected",),
        "broker": ("broker_connected",),
        "negotiated_slow": ("speed_mbps|duplex|wifi_dbm",),
        "wifi_weak": ("speed_mbps|duplex|wifi_dbm",),
        "dns": ("dns_answers",),
        "clock": ("broker_connected",),
        "mtu": ("mtu_passes",),
        "uplink_loss": ("loss_percent|beyond_gateway",),
        "uplink_delay": ("rtt_ms_p50|broker_rtt_ms_p50",),
        "uplink_jitter": ("jitter_ms",),
        "centre": ("broker_connected",),
        "reflector_silent": ("reflector_answers",),
    },
}
"""Which readings tell of a code. A code that no reading tells of is found by the self-test or an error."""

_CORE: dict[str, tuple[str, ...]] = {
    "camera": ("luma_mean", "motion_db", "sharpness"),
    "microphone": ("level_dbfs",),
    "speaker": ("muted|volume_percent",),
    "display": ("connected",),
    "panel": ("button_held_s",),
    "host": ("memory_available_percent", "disk_free_percent", "disk_writable", "clock_synced"),
    "line": ("carrier", "broker_connected"),
}
"""Without these nothing good can be said. Not every machine has a temperature, nor every card a hum."""

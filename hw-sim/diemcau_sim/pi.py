"""The readings of the simulated Raspberry Pi under the faults that are on. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

_THROTTLED_BITS = {"under_voltage": 0x1, "throttled": 0x4}
"""Bits of ``vcgencmd get_throttled`` that say "now"; 16 places above each stands "since the boot"."""


def throttled_now(faults: AbstractSet[str]) -> int:
    return sum(bit for code, bit in _THROTTLED_BITS.items() if code in faults)


def host(faults: AbstractSet[str], throttled_since_boot: int, uptime_s: float) -> dict[str, Any]:
    """contract.HOST_READINGS. ``throttled_since_boot``: the "now" bits that have been on once."""
    busy = "load_high" in faults
    return {
        "cpu_percent": 97.0 if busy else 4.0,
        "load_per_core": 5.0 if busy else 0.12,
        "memory_available_percent": 2.0 if "memory_low" in faults else 64.0,
        "temperature_c": 87.0 if "too_hot" in faults else 49.5,
        "throttled_bits": throttled_now(faults) | throttled_since_boot << 16,
        "disk_free_percent": 0.5 if "disk_full" in faults else 71.0,
        "disk_writable": "disk_read_only" not in faults,
        "clock_synced": "clock_unsynced" not in faults,
        "uptime_s": uptime_s,
    }


def interface(faults: AbstractSet[str]) -> dict[str, Any]:
    """contract.INTERFACE_READINGS of the only network interface."""
    carrier = "cable" not in faults
    return {
        "interface": "eth0",
        "carrier": carrier,
        "has_address": carrier,
        "speed_mbps": 1000 if carrier else None,
        "rx_errors": 0,
        "tx_errors": 0,
        "rx_dropped": 0,
        "tx_dropped": 0,
    }

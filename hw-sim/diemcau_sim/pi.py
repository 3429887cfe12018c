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


CUTS = frozenset({"cable", "address", "gateway", "clock", "centre", "broker"})
"""Faults under which nothing passes between room and broker."""


def interface(faults: AbstractSet[str]) -> dict[str, Any]:
    """contract.INTERFACE_READINGS of the only network interface; Wi-Fi, where its signal is what is wrong."""
    carrier, wifi = "cable" not in faults, "wifi_weak" in faults
    slow = "negotiated_slow" in faults
    return {
        "interface": "wlan0" if wifi else "eth0",
        "carrier": carrier,
        "has_address": carrier and "address" not in faults,
        "speed_mbps": None if wifi or not carrier else 10 if slow else 1000,
        "duplex": None if wifi or not carrier else "half" if slow else "full",
        "wifi_dbm": -84.0 if wifi else None,
        "rx_errors": 0,
        "tx_errors": 0,
        "rx_dropped": 0,
        "tx_dropped": 0,
    }


def path(faults: AbstractSet[str], *, near_only: bool) -> dict[str, Any]:
    """contract.PATH_READINGS: what is told of the path, from near to far; nothing beyond what is cut."""
    if faults & {"cable", "address"}:
        return {}
    near: dict[str, Any] = {"gateway": "192.0.2.1", "gateway_answers": "gateway" not in faults}
    if "gateway" in faults:
        return near if near_only else {**near, "dns_answers": False, "beyond_gateway": False}
    near["gateway_rtt_ms"] = 0.4
    if near_only:
        return near
    far: dict[str, Any] = {
        "dns_answers": "dns" not in faults,
        "clock_source": "none" if faults & {"clock", "clock_unsynced"} else "timesyncd",
        "beyond_gateway": True,
    }
    if not faults & {"centre", "broker"}:
        far["broker_tcp_ms"] = 1.2
    if "clock" in faults:
        far["broker_cert_time"] = True
    if "centre" not in faults:
        far |= {"mtu_passes": "mtu" not in faults, "mtu_bytes": 1280 if "mtu" in faults else 1500}
    return near | far

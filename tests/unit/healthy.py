"""What a room that is well reads."""

from __future__ import annotations

from typing import Any

GOOD: dict[str, dict[str, Any]] = {
    "camera": {
        "luma_mean": 0.45, "luma_std": 0.2, "dark_ratio": 0.02, "bright_ratio": 0.01,
        "sharpness": 400.0, "motion_db": -38.0, "fps": 30.0, "width_px": 1280, "height_px": 720,
    },
    "microphone": {
        "level_dbfs": -42.0, "peak_dbfs": -25.0, "noise_floor_dbfs": -56.0, "clipped_ratio": 0.0,
        "hum_db": -25.0, "muted": False, "gain_db": 0.0,
    },
    "speaker": {"volume_percent": 70, "muted": False},
    "display": {"connected": True, "power": "on", "active_input": True, "cec": True},
    "panel": {"button_held_s": 0.0, "pattern": "ready"},
    "host": {
        "cpu_percent": 4.0, "load_per_core": 0.2, "memory_available_percent": 60.0, "temperature_c": 51.0,
        "throttled_bits": 0, "disk_free_percent": 70.0, "disk_writable": True, "clock_synced": True,
        "uptime_s": 4000,
    },
    "line": {
        "carrier": True, "has_address": True, "broker_connected": True, "speed_mbps": 1000,
        "rtt_ms_p50": 18.0,
    },
}  # fmt: skip
LOOP: dict[str, Any] = {
    "found": True, "correlation": 0.9, "delay_ms": 60.0, "level_dbfs": -32.0, "snr_db": 24.0,
    "distortion_percent": 1.0, "echo_db": -30.0, "echo_ms": 90.0, "clipped_ratio": 0.0,
}  # fmt: skip

"""The limits of what is good, each with its source, and how a room's own baseline sharpens them. Pure."""

from __future__ import annotations

import msgspec

REFERENCE_DBFS = -20.0
"""The level at which the sound loop plays its chirp, unless told otherwise."""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, each with its source. Those of picture and sound hold for a room without a baseline;
    :func:`calibrated` sharpens them. Levels in dBFS are RMS."""

    black_ratio_min: float = 0.98
    """FFmpeg blackdetect's ``pic_th``: luma at most 0.10 on 98 % of the pixels."""
    motion_min_db: float = -60.0
    """FFmpeg freezedetect's ``noise``; a live sensor's own noise is far above it."""
    luma_std_min: float = 0.03
    """A hand or a cap before the lens: under 8 of 255 levels; any furnished room has more."""
    bright_ratio_max: float = 0.3
    saturated_ratio: float = 0.9
    """So much white has no noise to tell a live picture from a frozen one."""
    luma_min: float = 0.15
    sharpness_min: float = 40.0
    """Variance of the Laplacian at 320 pixels of width (Pech-Pacheco et al. 2000)."""
    sharpness_ratio_min: float = 0.4
    luma_ratio_min: float = 0.5
    """Of the room's own picture on its acceptance day."""

    silence_dbfs: float = -60.0
    """FFmpeg silencedetect's ``noise``, over 2 s."""
    level_min_dbfs: float = -52.0
    noise_floor_max_dbfs: float = -50.0
    hum_max_db: float = -6.0
    """Half of the sound's amplitude is mains hum, and the sound itself is loud enough to be heard."""
    hum_level_min_dbfs: float = -50.0
    clipped_ratio_max: float = 0.001
    """More than 0.1 % of the samples at or over -1 dBFS."""
    change_max_db: float = 10.0
    """How far level, noise floor and loop may move from the room's baseline: twice as quiet or loud."""

    loop_gain_min_db: float = -26.0
    """Chirp as heard against chirp as played; a conference speaker at table distance gives -8 to -18."""
    loop_snr_min_db: float = 15.0
    """ANSI S12.60: speech wants 15 dB over the noise to be followed by all."""
    distortion_max_percent: float = 10.0
    """At 10 % of total harmonic distortion the trade rates an amplifier as driven to its end."""
    echo_max_db: float = -10.0
    """An echo that is 10 dB weaker than the first sound no longer disturbs speech (Haas 1951)."""

    button_stuck_s: float = 10.0
    disk_free_min_percent: float = 5.0
    temperature_max_c: float = 80.0
    """The Pi's firmware starts to slow the ARM cores at 80 degrees."""
    memory_available_min_percent: float = 10.0
    load_per_core_max: float = 2.0
    """Over five minutes as many tasks wait as run."""
    speed_min_mbps: float = 100.0
    rtt_max_ms: float = 100.0
    loss_max_percent: float = 1.0
    jitter_max_ms: float = 30.0
    """Microsoft Teams' network guidance, client to edge; ITU-T Y.1541 class 0 has 100 ms and 50 ms."""
    wifi_min_dbm: float = -70.0
    """Cisco's site survey guide: voice wants -67 dBm at the cell's edge; 3 dB for a cheap card's error."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What is normal in this room, recorded on its acceptance day. ``time``: RFC 3339."""

    time: str
    readings: dict[str, dict[str, float]]
    """camera, microphone, loop -> reading -> value."""

    def reading(self, part: str, name: str) -> float | None:
        return self.readings.get(part, {}).get(name)


DEFAULTS = Thresholds()


def calibrated(baseline: Baseline | None, limits: Thresholds = DEFAULTS) -> Thresholds:
    """``limits`` sharpened by what is normal in this room."""
    if baseline is None:
        return limits
    change_db = limits.change_max_db
    changes: dict[str, float] = {}
    if (sharpness := baseline.reading("camera", "sharpness")) is not None:
        changes["sharpness_min"] = limits.sharpness_ratio_min * sharpness
    if (luma := baseline.reading("camera", "luma_mean")) is not None:
        changes["luma_min"] = min(limits.luma_min, limits.luma_ratio_min * luma)
    if (level := baseline.reading("microphone", "level_dbfs")) is not None:
        changes["level_min_dbfs"] = max(limits.silence_dbfs, level - change_db)
    if (floor := baseline.reading("microphone", "noise_floor_dbfs")) is not None:
        changes["noise_floor_max_dbfs"] = floor + change_db
    if (heard := baseline.reading("loop", "level_dbfs")) is not None:
        changes["loop_gain_min_db"] = heard - REFERENCE_DBFS - change_db
    return msgspec.structs.replace(limits, **changes)

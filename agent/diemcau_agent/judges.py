"""What readings mean: codes, worst first. Pure.

One cause gives one code: a black picture is not also dark, covered and blurred, a muted microphone
not also silent. A reading that is missing gives no code and clears none (:mod:`.coverage`).

The line's readings are those of :mod:`.line`: the interface's, the path's and the record's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diemcau_drivers.contract import PROCESS_OF

from .codes import CODES, worst
from .coverage import told
from .thresholds import DEFAULTS, REFERENCE_DBFS, Baseline, Thresholds, calibrated


def judge(
    device: str,
    readings: Mapping[str, Any],
    baseline: Baseline | None = None,
    limits: Thresholds = DEFAULTS,
) -> tuple[str, ...]:
    """Codes of ``device`` (a device, "host" or "line"), worst first. KeyError: no such device."""
    return worst(_JUDGES[device](told(readings), calibrated(baseline, limits)))


def judge_loop(
    readings: Mapping[str, Any],
    baseline: Baseline | None = None,
    limits: Thresholds = DEFAULTS,
    *,
    played_dbfs: float = REFERENCE_DBFS,
    microphone: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Codes of speaker and microphone from the sound loop (contract.LOOP_READINGS).

    ``played_dbfs``: the chirp's level. ``microphone``: what the microphone alone was found to suffer
    from; then level and purity of what it heard say nothing of the speaker. The caller sees to
    it that the microphone hears at all: only then is a chirp that was not found the speaker's.
    """
    limits = calibrated(baseline, limits)
    seen = told(readings)
    if seen.get("found") is False:
        return ("speaker_silent",), ()
    if seen.get("clipped_ratio", 0) > limits.clipped_ratio_max:
        return (), ("microphone_clipping",)
    if microphone:
        return (), ()
    if seen.get("level_dbfs", played_dbfs) - played_dbfs < limits.loop_gain_min_db:
        return ("speaker_quiet",), ()
    if seen.get("echo_db", limits.echo_max_db) > limits.echo_max_db:
        return ("room_echo",), ()
    if seen.get("snr_db", limits.loop_snr_min_db) < limits.loop_snr_min_db and played_dbfs >= REFERENCE_DBFS:
        return (), ("microphone_noisy",)
    if seen.get("distortion_percent", 0) > limits.distortion_max_percent:
        return ("speaker_distorted",), ()
    return (), ()


def failure_code(device: str, kind: str) -> str | None:
    """The code for a device that did not answer; ``kind`` as in contract's and worker's errors.

    None where the kind says nothing against the device (busy, unsupported, bad_request, forbidden)
    or the part has no such code. A hang that SIGKILL does not end ("stuck") keeps the hang's code.
    """
    match kind:
        case "absent":
            code = f"{device}_absent"
        case "hung" | "stuck":
            code = f"{PROCESS_OF.get(device, device)}_hung"
        case "crashed" | "broken":
            code = f"{PROCESS_OF.get(device, device)}_crashed"
        case _:
            return None
    return code if code in CODES else None


def ratios(device: str, readings: Mapping[str, Any], baseline: Baseline | None) -> dict[str, float]:
    """Readings that only a baseline gives: ``sharpness_ratio``."""
    normal = None if baseline is None or device != "camera" else baseline.reading("camera", "sharpness")
    sharpness = told(readings).get("sharpness")
    return {} if not normal or sharpness is None else {"sharpness_ratio": round(sharpness / normal, 3)}


def _camera(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    bright_ratio = seen.get("bright_ratio", 0)
    if seen.get("dark_ratio", 0) >= limits.black_ratio_min:
        return ("frame_black",)
    if bright_ratio < limits.saturated_ratio and seen.get("luma_std", 1) < limits.luma_std_min:
        return ("frame_covered",)
    if bright_ratio < limits.saturated_ratio and seen.get("motion_db", 0) < limits.motion_min_db:
        return ("frame_frozen",)
    if bright_ratio > limits.bright_ratio_max:
        return ("frame_overexposed",)
    if seen.get("luma_mean", 1) < limits.luma_min:
        return ("frame_dark",)
    if seen.get("sharpness", limits.sharpness_min) < limits.sharpness_min:
        return ("frame_blurred",)
    return ()


def _microphone(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    level_dbfs = seen.get("level_dbfs", 0)
    if seen.get("muted") is True:
        return ("microphone_muted",)
    if level_dbfs < limits.silence_dbfs:
        return ("microphone_silent",)
    if level_dbfs < limits.level_min_dbfs:
        return ("microphone_quiet",)
    if seen.get("clipped_ratio", 0) > limits.clipped_ratio_max:
        return ("microphone_clipping",)
    loud = seen.get("level_dbfs", limits.hum_level_min_dbfs) > limits.hum_level_min_dbfs
    if loud and seen.get("hum_db", limits.hum_max_db) > limits.hum_max_db:
        return ("microphone_hum",)
    if seen.get("noise_floor_dbfs", limits.noise_floor_max_dbfs) > limits.noise_floor_max_dbfs:
        return ("microphone_noisy",)
    return ()


def _speaker(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    muted = seen.get("muted") is True or seen.get("volume_percent", 100) <= 0
    return ("speaker_muted",) if muted else ()


def _display(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    if seen.get("connected") is False:
        return ("display_absent",)
    if seen.get("power") == "standby":
        return ("display_standby",)
    if seen.get("active_input") is False:
        return ("display_wrong_input",)
    if seen.get("cec") is False or seen.get("power") == "unknown":
        return ("display_no_cec",)
    return ()


def _panel(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    return ("button_stuck",) if seen.get("button_held_s", 0) >= limits.button_stuck_s else ()


def _host(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    """``throttled_bits`` as of ``vcgencmd get_throttled``: 0 under-voltage, 1 frequency capped, 2 throttled,
    3 soft temperature limit, all now; bits 16 and up are history and judge nothing."""
    bits = int(seen.get("throttled_bits", 0))
    too_hot = seen.get("temperature_c", 0) >= limits.temperature_max_c
    under_voltage = bool(bits & 0b0001)
    found = {
        "disk_full": seen.get("disk_free_percent", 100) < limits.disk_free_min_percent,
        "disk_read_only": seen.get("disk_writable") is False,
        "too_hot": too_hot,
        "under_voltage": under_voltage,
        # heat and weak power slow the kit down: they are the cause, and are named instead
        "throttled": bool(bits & 0b1110) and not too_hot and not under_voltage,
        "memory_low": seen.get("memory_available_percent", 100) < limits.memory_available_min_percent,
        "load_high": seen.get("load_per_core", 0) > limits.load_per_core_max,
        "clock_unsynced": seen.get("clock_synced") is False,
    }
    return tuple(code for code, holds in found.items() if holds)


def _line(seen: dict[str, Any], limits: Thresholds) -> tuple[str, ...]:
    """Every link of the path that is broken, from near to far (:func:`line_cause` names the first).

    A link that lets nothing pass hides what lies behind it. Where the broker cannot be reached, it is
    among the codes beside the cause that was found, since the room is then cut off.
    """
    if seen.get("carrier") is False:
        return ("cable",)
    if seen.get("has_address") is False:
        return ("address",)
    connected = seen.get("broker_connected") is not False
    # Who hears from behind the router need not ask the router. A connection alone is a poor witness: TCP
    # takes up to two keep-alives to find out.
    heard = [seen.get("reflector_answers"), seen.get("beyond_gateway")]
    passes = True in heard or (connected and False not in heard)
    if seen.get("gateway_answers") is False and not passes:
        return ("gateway",)
    found = {
        "negotiated_slow": 0 < seen.get("speed_mbps", 0) < limits.speed_min_mbps
        or seen.get("duplex") == "half",
        "wifi_weak": seen.get("wifi_dbm", 0) < limits.wifi_min_dbm,
        "dns": seen.get("dns_answers") is False,
        "clock": not connected and seen.get("broker_cert_time") is True,
        "mtu": seen.get("mtu_passes") is False,
        "uplink_loss": seen.get("loss_percent", 0) > limits.loss_max_percent
        or (not connected and _uplink_dead(seen)),
        "uplink_delay": seen.get("rtt_ms_p50", seen.get("broker_rtt_ms_p50", 0)) > limits.rtt_max_ms,
        "uplink_jitter": seen.get("jitter_ms", 0) > limits.jitter_max_ms,
        "centre": not connected and _centre_gone(seen),
        "broker": not connected,
        "reflector_silent": connected and seen.get("reflector_answers") is False,
    }
    return tuple(code for code, holds in found.items() if holds)


def _uplink_dead(seen: Mapping[str, Any]) -> bool:
    """The router answers, and nothing behind it does."""
    return (
        seen.get("gateway_answers") is True
        and seen.get("beyond_gateway") is False
        and seen.get("reflector_answers") is not True
        and "broker_tcp_ms" not in seen
    )


def _centre_gone(seen: Mapping[str, Any]) -> bool:
    """The provider's network answers, and of the centre neither server nor reflector does."""
    return (
        seen.get("beyond_gateway") is True
        and seen.get("reflector_answers") is False
        and "broker_tcp_ms" not in seen
    )


def line_cause(readings: Mapping[str, Any], limits: Thresholds = DEFAULTS) -> str | None:
    """The first broken link of the line, from near to far; None where none is."""
    return next(iter(_line(told(readings), limits)), None)


_JUDGES: dict[str, Callable[[dict[str, Any], Thresholds], tuple[str, ...]]] = {
    "camera": _camera,
    "microphone": _microphone,
    "speaker": _speaker,
    "display": _display,
    "panel": _panel,
    "host": _host,
    "line": _line,
}

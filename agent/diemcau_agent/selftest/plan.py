"""What a self-test asks, of whom, and what it expects: data. Pure.

A *question* is one call of one process; each of its *checks* becomes one step of the report. Questions
of one process follow each other, those of different processes run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from diemcau_agent import judges
from diemcau_agent.codes import CODES
from diemcau_agent.model import Scope
from diemcau_agent.thresholds import REFERENCE_DBFS, Baseline, Thresholds

BUDGET_S: dict[Scope, float] = {"quick": 9.8, "full": 59.5}
"""docs/wire.md promises 10 s and 60 s; the rest is for the report's own way."""


class Seen(msgspec.Struct, frozen=True):
    """What a check judges: the answer's readings and what was asked (``args``).

    ``microphone``: codes already found of the microphone in this run.
    """

    device: str
    readings: Mapping[str, Any]
    args: Mapping[str, Any]
    baseline: Baseline | None
    limits: Thresholds
    microphone: tuple[str, ...] = ()


def judge_device(seen: Seen) -> tuple[str, ...]:
    return judges.judge(seen.device, seen.readings, seen.baseline, seen.limits)


def judge_loop(seen: Seen) -> tuple[str, ...]:
    speaker, microphone = judges.judge_loop(
        seen.readings,
        seen.baseline,
        seen.limits,
        played_dbfs=float(seen.args["level_dbfs"]),
        microphone=seen.microphone,
    )
    return speaker + microphone


def judge_answered(seen: Seen) -> tuple[str, ...]:
    """It did what it was asked, or it would have raised."""
    return ()


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One step. ``codes``: what it can find. ``needs``: other devices that it works through.

    ``requires``: readings without which nothing was tested; ``optional`` where a good machine may lack
    them. ``title`` and ``expected``: English, the latter with names of :class:`.Thresholds` to fill in.
    """

    name: str
    device: str
    title: str
    expected: str
    codes: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    optional: bool = False
    judge: Callable[[Seen], tuple[str, ...]] = judge_device


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """``process``: a device's process, or "host" or "line", which the daemon reads itself.

    ``confirm``: a first look that finds fault is repeated, and the second counts. ``pause_s``: waited before.
    """

    process: str
    do: str
    args: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    deadline_s: float
    checks: tuple[Check, ...]
    scopes: tuple[Scope, ...] = ("quick", "full")
    confirm: bool = False
    pause_s: float = 0.0


# fmt: off
CAMERA_PICTURE = Check(
    name="camera_picture", device="camera", title="Camera picture",
    expected="a picture that lives (motion over {motion_min_db:.0f} dB), brightness at least {luma_min:.2f}, "
             "sharpness at least {sharpness_min:.0f}",
    codes=("frame_black", "frame_frozen", "frame_covered", "frame_overexposed", "frame_dark",
           "frame_blurred"),
    measures=("luma_mean", "motion_db", "sharpness", "fps"),
    requires=("luma_mean", "motion_db", "sharpness"),
)
CAMERA_STEADY = msgspec.structs.replace(
    CAMERA_PICTURE, name="camera_steady", title="Camera picture, a while later"
)
CAMERA_CONTROLS = Check(
    name="camera_controls", device="camera", title="Camera controls",
    expected="the camera tells its power, zoom and preset",
    measures=("power", "zoom", "preset"), judge=judge_answered,
)
MICROPHONE_LEVEL = Check(
    name="microphone_level", device="microphone", title="Microphone level",
    expected="not muted, level at least {level_min_dbfs:.0f} dBFS, "
             "noise floor at most {noise_floor_max_dbfs:.0f} dBFS",
    codes=("microphone_silent", "microphone_muted", "microphone_quiet", "microphone_clipping",
           "microphone_hum", "microphone_noisy"),
    measures=("level_dbfs", "noise_floor_dbfs", "hum_db", "clipped_ratio", "muted"),
    requires=("level_dbfs",),
)
SPEAKER_VOLUME = Check(
    name="speaker_volume", device="speaker", title="Speaker volume",
    expected="not muted, volume over 0 %",
    codes=("speaker_muted",), measures=("volume_percent", "muted"),
    requires=("muted|volume_percent",), optional=True,
)
SOUND_LOOP = Check(
    name="sound_loop", device="speaker", title="Sound loop",
    expected="the test sound is heard at no less than {loop_gain_min_db:.0f} dB of what was played, "
             "{loop_snr_min_db:.0f} dB over the noise, distortion at most {distortion_max_percent:.0f} %, "
             "no echo over {echo_max_db:.0f} dB",
    codes=("speaker_silent", "speaker_quiet", "speaker_distorted", "room_echo",
           "microphone_clipping", "microphone_noisy"),
    measures=("level_dbfs", "delay_ms", "snr_db", "correlation", "distortion_percent", "echo_db"),
    requires=("found",), needs=("microphone",), judge=judge_loop,
)
SOUND_LOOP_LOW = msgspec.structs.replace(
    SOUND_LOOP, name="sound_loop_low", title="Sound loop, low",  # so low that the noise is not judged by it
    expected="the test sound is heard at no less than {loop_gain_min_db:.0f} dB of what was played, "
             "distortion at most {distortion_max_percent:.0f} %, no echo over {echo_max_db:.0f} dB",
)
SOUND_LOOP_HIGH = msgspec.structs.replace(SOUND_LOOP, name="sound_loop_high", title="Sound loop, high")
ANNOUNCEMENT = Check(
    name="speaker_announcement", device="speaker", title="Announcement",
    expected="the chime is played", measures=("seconds",), judge=judge_answered,
)
DISPLAY_CONNECTED = Check(
    name="display_connected", device="display", title="Display connected",
    expected="a display is connected",
    codes=("display_absent",), measures=("connected", "width_px", "height_px"), requires=("connected",),
)
DISPLAY_POWER = Check(
    name="display_power", device="display", title="Display power and input",
    expected="the display is on and shows this kit",
    codes=("display_standby", "display_wrong_input", "display_no_cec"),
    measures=("power", "active_input"), requires=("power",),
)
PANEL_BUTTON = Check(
    name="panel_button", device="panel", title="Button",
    expected="held for less than {button_stuck_s:.0f} s",
    codes=("button_stuck",), measures=("button_held_s",), requires=("button_held_s",),
)
PANEL_LIGHTS = Check(
    name="panel_lights", device="panel", title="Lights",
    expected="the lights take the pattern that they are given", measures=("pattern",), judge=judge_answered,
)
HOST_DISK = Check(
    name="host_disk", device="host", title="Memory card",
    expected="can be written, at least {disk_free_min_percent:.0f} % free",
    codes=("disk_read_only", "disk_full"),
    measures=("disk_free_percent", "disk_writable"), requires=("disk_free_percent", "disk_writable"),
)
HOST_CLOCK = Check(
    name="host_clock", device="host", title="Clock",
    expected="set by a time server",
    codes=("clock_unsynced",), measures=("clock_synced",), requires=("clock_synced",),
)
HOST_LOAD = Check(
    name="host_load", device="host", title="Memory and load",
    expected="at least {memory_available_min_percent:.0f} % of memory free, "
             "load per core at most {load_per_core_max:.1f}",
    codes=("memory_low", "load_high"),
    measures=("memory_available_percent", "load_per_core", "cpu_percent"),
    requires=("memory_available_percent", "load_per_core"),
)
HOST_POWER = Check(
    name="host_power", device="host", title="Temperature and power supply",
    expected="under {temperature_max_c:.0f} °C, full voltage, not slowed down",
    codes=("too_hot", "under_voltage", "throttled"),
    measures=("temperature_c", "throttled_bits"), requires=("temperature_c", "throttled_bits"), optional=True,
)
LINE = Check(
    name="line", device="line", title="Line to the centre",
    expected="connected to the centre at {speed_min_mbps:.0f} Mbit/s or more, "
             "there and back within {rtt_max_ms:.0f} ms, jitter within {jitter_max_ms:.0f} ms, "
             "loss at most {loss_max_percent:.0f} %",
    codes=tuple(name for name, code in CODES.items() if code.devices == ("line",)),
    measures=("carrier", "has_address", "broker_connected", "speed_mbps", "rtt_ms_p50", "jitter_ms",
              "loss_percent", "mos", "gateway_answers", "dns_answers", "mtu_bytes", "broker_tcp_ms",
              "broker_tls_ms", "reflector_answers", "cause"),
    requires=("broker_connected",),
)
# fmt: on

_LOOK = {"passive": False}
_SOUND = (MICROPHONE_LEVEL, SPEAKER_VOLUME)


def _loop(check: Check, level_dbfs: float, *scopes: Scope) -> Question:
    args = {"seconds": 2.0, "level_dbfs": level_dbfs}
    return Question(process="audio", do="loop", args=args, deadline_s=4.5, checks=(check,), scopes=scopes)


# fmt: off
QUESTIONS: tuple[Question, ...] = (
    Question(process="camera", do="probe", args=_LOOK, deadline_s=4.5, checks=(CAMERA_PICTURE,),
             confirm=True),
    Question(process="camera", do="state", deadline_s=4.5, checks=(CAMERA_CONTROLS,), scopes=("full",)),
    Question(process="camera", do="probe", args=_LOOK, deadline_s=4.5, checks=(CAMERA_STEADY,), confirm=True,
             pause_s=5.0, scopes=("full",)),
    Question(process="audio", do="probe", args={**_LOOK, "seconds": 2.0}, deadline_s=5.0, checks=_SOUND,
             scopes=("quick",)),
    Question(process="audio", do="probe", args={**_LOOK, "seconds": 5.0}, deadline_s=9.0, checks=_SOUND,
             scopes=("full",)),
    _loop(SOUND_LOOP_LOW, REFERENCE_DBFS - 6.0, "full"),
    _loop(SOUND_LOOP, REFERENCE_DBFS, "quick", "full"),
    _loop(SOUND_LOOP_HIGH, REFERENCE_DBFS + 6.0, "full"),
    Question(process="audio", do="announce", args={"name": "chime"}, deadline_s=8.0, checks=(ANNOUNCEMENT,),
             scopes=("full",)),
    Question(process="display", do="probe", args=_LOOK, deadline_s=8.0,
             checks=(DISPLAY_CONNECTED, DISPLAY_POWER)),
    Question(process="panel", do="probe", deadline_s=3.0, checks=(PANEL_BUTTON,)),
    Question(process="panel", do="lights", args={"pattern": "testing"}, deadline_s=3.0,
             checks=(PANEL_LIGHTS,)),
    Question(process="host", do="probe", deadline_s=8.0,
             checks=(HOST_DISK, HOST_CLOCK, HOST_LOAD, HOST_POWER)),
    Question(process="line", do="probe", deadline_s=8.0, checks=(LINE,)),
)
# fmt: on

CHECKS: dict[str, Check] = {check.name: check for question in QUESTIONS for check in question.checks}
"""Every step's name -> its check."""

BLOCKING = frozenset(name for name, code in CODES.items() if code.bound == "gone") | {
    "microphone_silent",
    "microphone_muted",
    "speaker_muted",
}
"""Once one of these is found of a device, no more can be told of it, nor through it."""

_ALWAYS = ("host", "line")


def planned(scope: Scope, expected: Mapping[str, bool]) -> tuple[Question, ...]:
    """The questions of a run in a room that should have ``expected`` (device -> bool).

    What it should not have is left out, and so is what can only be tested through it.
    """
    questions: list[Question] = []
    for question in QUESTIONS:
        checks = tuple(
            check
            for check in question.checks
            if all(device in _ALWAYS or expected.get(device) for device in (check.device, *check.needs))
        )
        if scope in question.scopes and checks:
            questions.append(msgspec.structs.replace(question, checks=checks))
    return tuple(questions)

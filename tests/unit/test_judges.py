"""Readings in, codes out: one cause gives one code, and a missing reading none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import coverage, judges
from diemcau_agent.codes import CODES
from diemcau_agent.thresholds import DEFAULTS, Baseline, Thresholds, calibrated
from diemcau_drivers import contract
from healthy import GOOD, LOOP

BASELINE = Baseline(
    time="2026-11-22T07:30:00.000Z",
    readings={
        "camera": {"sharpness": 1000.0, "luma_mean": 0.2},
        "microphone": {"level_dbfs": -35.0, "noise_floor_dbfs": -45.0},
        "loop": {"level_dbfs": -40.0},
    },
)


@pytest.mark.parametrize("device", GOOD)
def test_a_healthy_room_has_no_code_and_is_known(device: str) -> None:
    assert judges.judge(device, GOOD[device]) == ()
    assert coverage.known(device, GOOD[device])


BROKEN: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    # black is also dark, even and without detail or motion: one cause, one code
    ("camera", {"dark_ratio": 1.0, "luma_mean": 0.0, "luma_std": 0.0, "sharpness": 0.0, "motion_db": -120.0},
     ("frame_black",)),
    ("camera", {"motion_db": -120.0}, ("frame_frozen",)),
    ("camera", {"luma_std": 0.01, "luma_mean": 0.12, "sharpness": 1.0, "motion_db": -70.0},
     ("frame_covered",)),
    ("camera", {"bright_ratio": 0.6, "sharpness": 5.0}, ("frame_overexposed",)),
    ("camera", {"bright_ratio": 0.99, "luma_std": 0.001, "sharpness": 0.0, "motion_db": -120.0},
     ("frame_overexposed",)),
    ("camera", {"bright_ratio": 0.4, "motion_db": -120.0}, ("frame_frozen",)),
    ("camera", {"luma_mean": 0.1, "sharpness": 5.0}, ("frame_dark",)),
    ("camera", {"sharpness": 5.0}, ("frame_blurred",)),
    ("microphone", {"muted": True, "level_dbfs": -120.0, "noise_floor_dbfs": -120.0}, ("microphone_muted",)),
    ("microphone", {"level_dbfs": -75.0}, ("microphone_silent",)),
    ("microphone", {"level_dbfs": -56.0}, ("microphone_quiet",)),
    ("microphone", {"clipped_ratio": 0.02, "noise_floor_dbfs": -20.0, "level_dbfs": -6.0},
     ("microphone_clipping",)),
    ("microphone", {"hum_db": -1.0, "level_dbfs": -30.0, "noise_floor_dbfs": -31.0}, ("microphone_hum",)),
    ("microphone", {"hum_db": -1.0, "level_dbfs": -51.0}, ()),
    ("microphone", {"noise_floor_dbfs": -35.0}, ("microphone_noisy",)),
    ("speaker", {"muted": True}, ("speaker_muted",)),
    ("speaker", {"volume_percent": 0}, ("speaker_muted",)),
    ("display", {"connected": False, "power": "unknown", "cec": False}, ("display_absent",)),
    ("display", {"power": "standby", "active_input": False}, ("display_standby",)),
    ("display", {"active_input": False}, ("display_wrong_input",)),
    ("display", {"cec": False, "power": "unknown", "active_input": None}, ("display_no_cec",)),
    ("panel", {"button_held_s": 11.0}, ("button_stuck",)),
    ("host", {"disk_free_percent": 4.9}, ("disk_full",)),
    ("host", {"disk_writable": False}, ("disk_read_only",)),
    # heat and weak power slow the kit down: the cause is named, not its consequence
    ("host", {"temperature_c": 83.0, "throttled_bits": 0b1110}, ("too_hot",)),
    ("host", {"throttled_bits": 0b0101}, ("under_voltage",)),
    ("host", {"throttled_bits": 0b0100}, ("throttled",)),
    ("host", {"throttled_bits": 0xF0000}, ()),
    ("host", {"memory_available_percent": 3.0}, ("memory_low",)),
    ("host", {"load_per_core": 5.0}, ("load_high",)),
    ("host", {"clock_synced": False}, ("clock_unsynced",)),
    ("host", {"clock_synced": False, "disk_free_percent": 1.0}, ("disk_full", "clock_unsynced")),
    ("line", {"carrier": False, "has_address": False, "broker_connected": False, "speed_mbps": 0},
     ("cable",)),
    ("line", {"has_address": False, "broker_connected": False}, ("address",)),
    ("line", {"broker_connected": False}, ("broker",)),
    ("line", {"speed_mbps": 10}, ("negotiated_slow",)),
    ("line", {"duplex": "half"}, ("negotiated_slow",)),
    ("line", {"wifi_dbm": -78.0}, ("wifi_weak",)),
    ("line", {"gateway_answers": False, "beyond_gateway": False, "reflector_answers": False,
              "dns_answers": False, "broker_connected": False}, ("gateway",)),
    ("line", {"gateway_answers": False, "beyond_gateway": False}, ("gateway",)),  # TCP has not found out yet
    ("line", {"gateway_answers": False, "beyond_gateway": True}, ()),  # it only does not like to be asked
    ("line", {"dns_answers": False}, ("dns",)),
    ("line", {"mtu_passes": False}, ("mtu",)),
    ("line", {"loss_percent": 1.5}, ("uplink_loss",)),
    ("line", {"rtt_ms_p50": 250.0}, ("uplink_delay",)),
    ("line", {"rtt_ms_p50": None, "broker_rtt_ms_p50": 250.0}, ("uplink_delay",)),
    ("line", {"jitter_ms": 45.0}, ("uplink_jitter",)),
    ("line", {"reflector_answers": False, "loss_percent": None}, ("reflector_silent",)),
    # the room is cut off: the broker is not there, and why
    ("line", {"broker_connected": False, "dns_answers": False}, ("broker", "dns")),
    ("line", {"broker_connected": False, "broker_cert_time": True, "broker_tcp_ms": 3.0},
     ("broker", "clock")),
    ("line", {"broker_connected": False, "gateway_answers": True, "beyond_gateway": False,
              "reflector_answers": False, "loss_percent": None}, ("broker", "uplink_loss")),
    ("line", {"broker_connected": False, "beyond_gateway": True, "reflector_answers": False,
              "loss_percent": None}, ("broker", "centre")),
    ("line", {"broker_connected": False, "beyond_gateway": True, "reflector_answers": False,
              "loss_percent": None, "broker_tcp_ms": 9.0}, ("broker",)),  # its machine is there
    ("line", {"broker_connected": False, "beyond_gateway": True}, ("broker",)),
]  # fmt: skip


@pytest.mark.parametrize(("device", "readings", "codes"), BROKEN)
def test_one_cause_gives_one_code(device: str, readings: dict[str, Any], codes: tuple[str, ...]) -> None:
    assert judges.judge(device, {**GOOD[device], **readings}) == codes


def test_every_code_that_a_probe_finds_is_found_here() -> None:
    found = {code for _, _, codes in BROKEN for code in codes}
    assert found >= {name for name, code in CODES.items() if code.bound in ("probe", "host_line", "survey")}


@pytest.mark.parametrize(
    ("readings", "cause"),
    [
        ({"carrier": False, "broker_connected": False}, "cable"),
        ({"speed_mbps": 10, "loss_percent": 4.0}, "negotiated_slow"),
        ({"broker_connected": False, "dns_answers": False}, "dns"),
        ({"broker_connected": False, "beyond_gateway": True, "reflector_answers": False}, "centre"),
        ({"broker_connected": False}, "broker"),
        ({"loss_percent": 5.0, "rtt_ms_p50": 300.0, "jitter_ms": 50.0}, "uplink_loss"),
        ({"rtt_ms_p50": 300.0, "jitter_ms": 50.0}, "uplink_delay"),
        ({}, None),
    ],
)
def test_the_first_broken_link_is_named_from_near_to_far(readings: dict[str, Any], cause: str | None) -> None:
    assert judges.line_cause({**GOOD["line"], **readings}) == cause


@pytest.mark.parametrize("device", GOOD)
def test_nothing_read_is_neither_good_nor_bad(device: str) -> None:
    for readings in ({}, dict.fromkeys(GOOD[device])):
        assert judges.judge(device, readings) == ()
        assert not coverage.known(device, readings)
        assert coverage.covers(device, readings) == frozenset()


def test_a_muted_microphone_is_known_without_its_level() -> None:
    assert coverage.known("microphone", {"muted": True})
    assert not coverage.known("microphone", {"muted": False})


def test_what_was_not_read_is_not_covered() -> None:
    covers = coverage.covers("host", {"disk_free_percent": 50.0, "throttled_bits": None})
    assert covers == {"disk_full"}
    assert coverage.covers("microphone", {"muted": False}) == {
        "microphone_muted", "microphone_absent", "audio_hung", "audio_crashed",
    }  # fmt: skip


NUMBER = st.none() | st.floats(-130, 110, allow_nan=False)
VALUE = {
    **{name: st.none() | st.booleans() for name in (
        "muted", "connected", "active_input", "cec", "disk_writable", "clock_synced", "carrier",
        "has_address", "broker_connected")},
    "power": st.sampled_from([None, "on", "standby", "unknown"]),
    "pattern": st.sampled_from([None, *contract.LIGHT_PATTERNS]),
    "throttled_bits": st.none() | st.integers(0, 0xFFFFF),
}  # fmt: skip


@given(data=st.data(), device=st.sampled_from(sorted(GOOD)))
def test_whatever_is_read_codes_are_the_devices_own_and_covered(data: st.DataObject, device: str) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(GOOD[device]))))
    readings = {name: data.draw(VALUE.get(name, NUMBER), label=name) for name in sorted(names)}
    codes = judges.judge(device, readings)
    assert all(device in CODES[code].devices for code in codes)
    assert set(codes) <= coverage.covers(device, readings)
    assert len(codes) <= 1 or device in ("host", "line")


def test_a_healthy_loop_has_no_code_at_any_level() -> None:
    for played in (-26.0, -20.0, -14.0):
        heard = {**LOOP, "level_dbfs": played - 12.0, "snr_db": played + 44.0}
        assert judges.judge_loop(heard, played_dbfs=played) == ((), ())


@pytest.mark.parametrize(
    ("readings", "speaker", "microphone"),
    [
        ({"found": False, "level_dbfs": None}, ("speaker_silent",), ()),
        ({"level_dbfs": -50.0, "snr_db": 8.0}, ("speaker_quiet",), ()),
        ({"distortion_percent": 30.0}, ("speaker_distorted",), ()),
        ({"echo_db": -3.0, "distortion_percent": 30.0}, ("room_echo",), ()),
        ({"snr_db": 9.0}, (), ("microphone_noisy",)),
        ({"clipped_ratio": 0.05, "distortion_percent": 30.0}, (), ("microphone_clipping",)),
    ],
)
def test_the_loop_names_one_cause(
    readings: dict[str, Any], speaker: tuple[str, ...], microphone: tuple[str, ...]
) -> None:
    assert judges.judge_loop({**LOOP, **readings}) == (speaker, microphone)


def test_a_microphone_at_fault_does_not_accuse_the_speaker() -> None:
    heard = {**LOOP, "level_dbfs": -50.0, "distortion_percent": 40.0}
    assert judges.judge_loop(heard, microphone=("microphone_quiet",)) == ((), ())


def test_what_the_loop_did_not_tell_gives_no_code() -> None:
    assert judges.judge_loop({}) == ((), ())
    assert judges.judge_loop(dict.fromkeys(LOOP)) == ((), ())


@pytest.mark.parametrize(
    ("device", "kind", "code"),
    [
        ("camera", "absent", "camera_absent"),
        ("camera", "hung", "camera_hung"),
        ("camera", "stuck", "camera_hung"),
        ("camera", "broken", "camera_crashed"),
        ("microphone", "absent", "microphone_absent"),
        ("microphone", "hung", "audio_hung"),
        ("speaker", "crashed", "audio_crashed"),
        ("display", "stuck", "display_hung"),
        ("panel", "crashed", "panel_crashed"),
        ("camera", "busy", None),
        ("camera", "unsupported", None),
        ("camera", "bad_request", None),
        ("host", "hung", None),
        ("line", "absent", None),
    ],
)
def test_a_failure_has_the_code_of_its_device(device: str, kind: str, code: str | None) -> None:
    assert judges.failure_code(device, kind) == code


def test_every_kind_of_device_error_is_decided() -> None:
    kinds = [*contract.ERRORS, "hung", "crashed", "stuck"]
    decided = {kind: judges.failure_code("camera", kind) for kind in kinds}
    assert {kind for kind, code in decided.items() if code is None} == {
        "busy", "unsupported", "bad_request", "forbidden",
    }  # fmt: skip


class TestBaseline:
    """A room is judged against its own acceptance day."""

    def test_sharpens_what_is_blurred(self) -> None:
        readings = {**GOOD["camera"], "sharpness": 350.0}
        assert judges.judge("camera", readings) == ()
        assert judges.judge("camera", readings, BASELINE) == ("frame_blurred",)
        assert judges.ratios("camera", readings, BASELINE) == {"sharpness_ratio": 0.35}

    def test_lets_a_room_that_was_accepted_dim_be_dim(self) -> None:
        readings = {**GOOD["camera"], "luma_mean": 0.12, "sharpness": 900.0}
        assert judges.judge("camera", readings) == ("frame_dark",)
        assert judges.judge("camera", readings, BASELINE) == ()

    def test_moves_the_sounds_limits_with_the_room(self) -> None:
        loud = {**GOOD["microphone"], "noise_floor_dbfs": -44.0}
        assert judges.judge("microphone", loud) == ("microphone_noisy",)
        assert judges.judge("microphone", loud, BASELINE) == ()
        quieter = {**GOOD["microphone"], "level_dbfs": -47.0}
        assert judges.judge("microphone", quieter) == ()
        assert judges.judge("microphone", quieter, BASELINE) == ("microphone_quiet",)

    def test_moves_the_loops_limit_with_the_room(self) -> None:
        heard = {**LOOP, "level_dbfs": -48.0}
        assert judges.judge_loop(heard) == (("speaker_quiet",), ())
        assert judges.judge_loop(heard, BASELINE) == ((), ())

    def test_never_calls_silence_normal(self) -> None:
        dead = Baseline(time="", readings={"microphone": {"level_dbfs": -90.0}})
        assert calibrated(dead).level_min_dbfs == DEFAULTS.silence_dbfs

    def test_of_an_unknown_part_changes_nothing(self) -> None:
        assert calibrated(None) is DEFAULTS
        assert calibrated(Baseline(time="", readings={})) == Thresholds()
        assert judges.ratios("microphone", GOOD["microphone"], BASELINE) == {}
        assert judges.ratios("camera", GOOD["camera"], None) == {}

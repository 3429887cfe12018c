"""Hysteresis and readiness (docs/wire.md, Health)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.codes import CODES
from diemcau_agent.health import DeviceHealth, Observation, readiness, update

CAMERA = frozenset(name for name, code in CODES.items() if code.devices == ("camera",))


def look(*codes: str, **more: object) -> Observation:
    return Observation(codes, CAMERA, readings={"luma_mean": 0.4}, **more)  # pyright: ignore[reportArgumentType]


def after(*observations: Observation) -> DeviceHealth:
    health = DeviceHealth()
    for index, observation in enumerate(observations):
        health = update(health, observation, 100.0 + index)
    return health


def test_a_device_is_unknown_until_it_was_looked_at_and_ok_after_one_good_look() -> None:
    assert after().state == "unknown"
    assert after(look()).state == "ok"


def test_one_passing_shadow_raises_nothing_but_asks_for_a_second_look() -> None:
    health = after(look(), look("frame_dark"))
    assert (health.state, health.code, health.unsettled) == ("ok", None, True)


def test_a_standing_fault_is_never_shown_as_good_after_a_start() -> None:
    assert after(look("frame_dark")).state == "unknown"
    assert after(look("frame_dark"), look("frame_dark")).state == "degraded"
    assert after(look("frame_dark"), look()).state == "ok"


def test_two_looks_of_three_raise_a_code_and_two_good_ones_in_a_row_clear_it() -> None:
    assert after(look("frame_dark"), look(), look("frame_dark")).code == "frame_dark"
    raised = after(look("frame_dark"), look("frame_dark"))
    assert (raised.state, raised.unsettled) == ("degraded", False)
    once = update(raised, look(), 200.0)
    assert (once.code, once.unsettled) == ("frame_dark", True)
    assert update(once, look(), 201.0).state == "ok"


@pytest.mark.parametrize("code", ["camera_absent", "camera_hung", "camera_crashed"])
def test_a_device_gone_hung_or_crashed_shows_at_once_and_leaves_with_the_first_good_look(code: str) -> None:
    gone = after(look(), Observation((code,), CAMERA, known=False))
    assert gone.code == code
    assert update(gone, look(), 200.0).state == "ok"


def test_a_device_that_came_back_is_not_ok_before_it_was_looked_at() -> None:
    gone = after(look(), Observation(("camera_absent",), CAMERA, known=False))
    back = update(gone, Observation((), frozenset({"camera_absent"}), known=False, partial=True), 200.0)
    assert (back.state, back.readings) == ("unknown", {})


def test_a_self_tests_finding_enters_at_once() -> None:
    found = after(look(), look("frame_blurred", decisive=True))
    assert found.code == "frame_blurred"
    assert update(found, look(decisive=True), 200.0).state == "ok"


def test_a_passive_look_leaves_what_it_cannot_see() -> None:
    frozen = after(look("frame_frozen"), look("frame_frozen"))
    passive = Observation((), frozenset({"camera_absent"}), known=False, in_use_by="chromium")
    held = update(frozen, passive, 200.0)
    assert (held.code, held.in_use_by) == ("frame_frozen", "chromium")


def test_a_hang_that_sigkill_does_not_end_is_stuck() -> None:
    assert after(Observation(("camera_hung",), CAMERA, known=False, stuck=True)).state == "stuck"


def test_since_moves_only_when_the_state_or_its_code_does() -> None:
    health = after(look(), look(), look("frame_dark"), look("frame_dark"), look("frame_dark"))
    assert (health.since_s, health.checked_s) == (103.0, 104.0)


@given(st.lists(st.sets(st.sampled_from(sorted(CAMERA)), max_size=3), min_size=1, max_size=30))
def test_whatever_is_seen_the_state_is_that_of_its_worst_code(rounds: list[set[str]]) -> None:
    health = after(*(look(*codes) for codes in rounds))
    good = "ok" if health.known else "unknown"
    assert health.state == (CODES[health.codes[0]].state if health.codes else good)
    if all(looks[-1] == (code in health.codes) for code, looks in health.seen.items()):
        assert not health.unsettled


@given(st.sets(st.sampled_from(sorted(CAMERA)), max_size=3), st.integers(2, 6))
def test_a_steady_cause_is_judged_after_two_looks_whatever_came_before(codes: set[str], count: int) -> None:
    health = after(look("frame_blurred"), look(), *(look(*codes) for _ in range(max(count, 3))))
    assert set(health.codes) == codes


def parts(**codes: str) -> dict[str, DeviceHealth]:
    names: list[str] = ["camera", "display", "host", "line"]
    room = dict.fromkeys(names, DeviceHealth("ok", checked_s=1.0, known=True))
    for part, code in codes.items():
        room[part] = DeviceHealth(CODES[code].state, (code,), checked_s=1.0)
    return room


def test_readiness_names_every_code_in_the_way_worst_first() -> None:
    assert readiness(parts()) == ("ready", ())
    assert readiness(parts(camera="frame_blurred")) == ("degraded", ("frame_blurred",))
    both = parts(camera="frame_blurred", line="broker")
    assert readiness(both) == ("not_ready", ("broker", "frame_blurred"))
    assert readiness(parts(display="display_absent"))[0] == "not_ready"


def test_a_television_without_cec_alone_is_not_in_the_way() -> None:
    assert readiness(parts(display="display_no_cec")) == ("ready", ())


def test_what_was_never_checked_is_unknown_and_what_failed_outweighs_it() -> None:
    room = parts()
    room["camera"] = DeviceHealth()
    assert readiness(room)[0] == "unknown"
    room["line"] = DeviceHealth("failed", ("broker",), checked_s=1.0)
    assert readiness(room)[0] == "not_ready"


def test_checked_but_not_known_degrades() -> None:
    room = parts()
    room["camera"] = DeviceHealth("unknown", checked_s=1.0)
    assert readiness(room)[0] == "degraded"


def test_what_is_stuck_stays_so_until_a_look_gets_through() -> None:
    stuck = after(look(), Observation(("camera_hung",), CAMERA, known=False, stuck=True))
    present = Observation((), frozenset({"camera_absent"}), known=False, partial=True)
    assert update(stuck, present, 200.0).state == "stuck"
    assert update(update(stuck, present, 200.0), look(), 201.0).state == "ok"


def test_what_cannot_be_read_any_more_is_not_known_any_more() -> None:
    blind = Observation((), frozenset(), known=False, blind=True)
    lost = update(after(look()), blind, 200.0)
    assert (lost.state, lost.checked_s, lost.since_s) == ("unknown", 100.0, 200.0)
    assert update(lost, look(), 201.0).state == "ok"

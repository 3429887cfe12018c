"""The ladder's promises, whatever a device does: no endless loop, no shrinking pause, none while frozen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from diemcau_agent.codes import CODES
from diemcau_agent.health import DeviceHealth
from diemcau_agent.ladder import PAUSES_S, STEPS, STEPS_AN_HOUR, WELL_S, Ladder, Step, Trouble, trouble

HUNG = Trouble("camera", "camera_hung", ("respawn", "rebind"), useless=True, held=False)
FROZEN = Trouble("camera", "frame_frozen", ("reopen", "respawn", "rebind"), useless=True, held=False)
HALF = Trouble("microphone", "microphone_absent", ("reopen", "respawn"), useless=False, held=False)


def climb(ladder: Ladder, found: Trouble, now_s: float, until_s: float) -> list[tuple[float, Step]]:
    """The steps that are taken and fail, looked at each second."""
    told: list[tuple[float, Step]] = []
    while now_s <= until_s:
        ladder = ladder.seen(found, now_s)
        step = ladder.due(found, now_s, conference=False)
        if step is not None:
            told.append((now_s, step))
            ladder = ladder.after(step, now_s, possible=True)
        now_s += 1.0
    return told


def test_the_first_step_is_taken_at_once_and_the_pauses_grow_to_an_hour() -> None:
    told = climb(Ladder(), FROZEN, 0.0, 4 * 3600.0)
    assert [step for _, step in told[:4]] == ["reopen", "respawn", "rebind", "rebind"]
    assert [at for at, _ in told] == [0, 10, 40, 160, 760, 4360, 7960, 11560]


def test_what_was_well_for_ten_minutes_begins_anew_and_what_was_not_goes_on() -> None:
    ladder = Ladder().seen(HUNG, 0).after("respawn", 0, possible=True).seen(None, 1)
    assert ladder.seen(None, WELL_S).seen(HUNG, WELL_S + 0.5).taken == 1
    assert ladder.seen(None, WELL_S + 1).seen(HUNG, WELL_S + 2) == Ladder()


@pytest.mark.parametrize("mends_after", [1, 2, 3, 4, 5, 6])
def test_a_device_that_is_well_just_long_enough_after_each_climb_is_not_restarted_endlessly(
    mends_after: int,
) -> None:
    """The worst that a device can do to us: to come back each time, and fail once all is forgotten."""
    ladder, now_s, taken, well_until_s = Ladder(), 0.0, list[float](), 0.0
    while now_s < 6 * 3600:
        found = HUNG if now_s >= well_until_s else None
        ladder = ladder.seen(found, now_s)
        if found is not None and ladder.due(found, now_s, conference=False) is not None:
            taken.append(now_s)
            ladder = ladder.after("respawn", now_s, possible=True)
            if ladder.taken == mends_after:
                ladder = ladder.seen(None, now_s)
                well_until_s = now_s + WELL_S + 5
        now_s += 5
    assert taken
    assert max(sum(at <= later < at + 3600 for later in taken) for at in taken) <= STEPS_AN_HOUR


def test_a_device_that_nobody_can_see_is_not_called_well_by_that() -> None:
    ladder = Ladder().seen(HUNG, 0).after("respawn", 0, possible=True)
    assert ladder.seen(None, 1, known=False).seen(None, 2 * WELL_S, known=False).taken == 1


def test_a_step_that_is_not_possible_gives_way_at_once_and_is_not_tried_again() -> None:
    ladder = Ladder().seen(HUNG, 0).after("respawn", 0, possible=True)
    assert ladder.due(HUNG, 10, conference=False) == "rebind"
    ladder = ladder.after("rebind", 10, possible=False)
    assert ladder.due(HUNG, 10, conference=False) == "respawn"
    stuck = Trouble("camera", "camera_hung", ("rebind",), useless=True, held=False)
    assert ladder.due(stuck, 1e9, conference=False) is None


def test_while_a_conference_is_on_only_what_is_of_no_use_any_more_is_touched() -> None:
    assert Ladder().due(HALF, 0, conference=True) is None
    assert Ladder().due(HALF, 0, conference=False) == "reopen"
    assert Ladder().due(HUNG, 0, conference=True) == "respawn"


def health(state: Any, *codes: str, in_use_by: str | None = None) -> DeviceHealth:
    return DeviceHealth(state=state, codes=codes, in_use_by=in_use_by)


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ({"camera": health("ok")}, None),
        ({"camera": health("degraded", "frame_blurred")}, None),
        ({"camera": health("absent", "camera_absent")}, ("camera", "reopen", True, False)),
        ({"camera": health("stuck", "camera_hung")}, ("camera", "rebind", True, False)),
        ({"camera": health("failed", "frame_frozen", in_use_by="x")}, ("camera", "reopen", True, True)),
        (
            {"microphone": health("absent", "microphone_absent"), "speaker": health("ok")},
            ("microphone", "reopen", False, False),
        ),
        (
            {"microphone": health("failed", "audio_hung"), "speaker": health("failed", "audio_hung")},
            ("microphone", "respawn", True, False),
        ),
    ],
)
def test_what_ails_a_process(
    devices: dict[str, DeviceHealth], found: tuple[str, Step, bool, bool] | None
) -> None:
    now = trouble(devices)
    told = None if now is None else (now.device, now.steps[0], now.useless, now.held)
    assert told == found


def test_only_codes_that_a_restart_may_mend_are_in_the_table() -> None:
    assert set(STEPS) <= set(CODES)
    assert all(CODES[code].state in ("failed", "absent") for code in STEPS)
    assert all(code in STEPS for code in CODES if code.endswith(("_hung", "_crashed")))


class Restarts(RuleBasedStateMachine):
    """A device that fails and mends as it likes, in a room that has conferences as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.ladder = Ladder()
        self.found: Trouble | None = None
        self.conference = False
        self.rebindable = True
        self.taken: list[float] = []
        self.pause_s = 0.0
        self.impossible = 0

    @rule(found=st.sampled_from([None, None, HUNG, FROZEN, HALF]))
    def becomes(self, found: Trouble | None) -> None:
        self.found = found

    @rule(on=st.booleans())
    def confers(self, on: bool) -> None:
        self.conference = on

    @rule(possible=st.booleans())
    def may_rebind(self, possible: bool) -> None:
        self.rebindable = possible

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 30.0, 120.0, 599.0, 601.0, 3600.0]), mends=st.booleans())
    def is_looked_at(self, seconds: float, mends: bool) -> None:
        self.now_s += seconds
        before, self.ladder = self.ladder, self.ladder.seen(self.found, self.now_s)
        if self.ladder.taken < before.taken:
            self.pause_s, self.impossible = 0.0, 0
        for _ in range(3):
            if self.found is None:
                break
            step = self.ladder.due(self.found, self.now_s, conference=self.conference)
            if step is None:
                break
            assert self.found.useless or not self.conference
            possible = step != "rebind" or self.rebindable
            self.ladder = self.ladder.after(step, self.now_s, possible=possible)
            if possible:
                self.taken.append(self.now_s)
                pause_s = self.ladder.due_s - self.now_s
                assert pause_s >= self.pause_s
                self.pause_s = pause_s
                if mends:
                    self.found = None
                    self.ladder = self.ladder.seen(None, self.now_s)
            else:
                self.impossible += 1
        if self.found is not None:
            assert self.ladder.due(self.found, self.now_s, conference=self.conference) is None

    @invariant()
    def never_more_than_so_many_an_hour(self) -> None:
        latest = [at for at in self.taken if at > self.now_s - 3600]
        assert len(latest) <= STEPS_AN_HOUR

    @invariant()
    def what_is_not_possible_is_told_once(self) -> None:
        assert self.impossible <= 1

    @invariant()
    def pauses_are_of_the_table(self) -> None:
        assert self.pause_s in (0.0, *PAUSES_S)


Restarts.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestRestarts = Restarts.TestCase

"""The self-test's data: what it promises holds before anything runs."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from diemcau_agent.codes import CODES
from diemcau_agent.model import Scope
from diemcau_agent.selftest.plan import BLOCKING, BUDGET_S, CHECKS, QUESTIONS, Check, Question, planned
from diemcau_agent.text import expectation
from diemcau_agent.thresholds import DEFAULTS
from diemcau_drivers import contract

SCOPES: tuple[Scope, ...] = ("quick", "full")
ALL: dict[str, bool] = dict.fromkeys(contract.DEVICES, True)


def names(scope: Scope, expected: dict[str, bool] | None = None) -> list[str]:
    return [check.name for question in planned(scope, expected or ALL) for check in question.checks]


@pytest.mark.parametrize("scope", SCOPES)
def test_each_step_has_one_name(scope: Scope) -> None:
    assert max(Counter(names(scope)).values()) == 1


def test_quick_is_part_of_full() -> None:
    assert set(names("quick")) < set(names("full"))


@pytest.mark.parametrize("scope", SCOPES)
def test_every_device_the_host_and_the_line_are_tested(scope: Scope) -> None:
    assert {CHECKS[name].device for name in names(scope)} == {*contract.DEVICES, "host", "line"}


def test_the_deadlines_of_a_quick_test_fit_its_budget() -> None:
    """Even where each call takes all the time it may (a look is repeated only where it found fault)."""
    lanes: Counter[str] = Counter()
    for question in planned("quick", ALL):
        lanes[question.process] += round(question.deadline_s * 1000) * (2 if question.confirm else 1)
    assert max(lanes.values()) <= BUDGET_S["quick"] * 1000


def test_the_deadlines_of_a_full_test_fit_its_budget() -> None:
    lanes: Counter[str] = Counter()
    for question in planned("full", ALL):
        took_s = question.deadline_s * (2 if question.confirm else 1) + question.pause_s
        lanes[question.process] += round(took_s * 1000)
    assert max(lanes.values()) <= BUDGET_S["full"] * 1000


def test_budgets_keep_the_promise() -> None:
    assert BUDGET_S["quick"] < 10
    assert BUDGET_S["full"] < 60


def test_the_sound_loop_rises() -> None:
    levels = [q.args["level_dbfs"] for q in planned("full", ALL) if q.do == "loop"]
    assert len(levels) == 3
    assert levels == sorted(set(levels))


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_a_check_finds_only_codes_of_what_it_tests(check: Check) -> None:
    for code in check.codes:
        assert {check.device, *check.needs} & set(CODES[code].devices)


def test_every_code_that_is_not_of_a_broken_process_belongs_to_a_check() -> None:
    tested = {code for check in CHECKS.values() for code in check.codes}
    assert set(CODES) - tested == {name for name, code in CODES.items() if code.bound == "gone"} - {
        "display_absent"
    }


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: f"{q.process}-{q.do}-{'-'.join(q.scopes)}")
def test_a_question_is_one_that_the_process_knows(question: Question) -> None:
    """By the contract's own table."""
    known = {tuple(line.split()[:2]) for line in (contract.__doc__ or "").splitlines() if "  " in line}
    assert (question.process, question.do) in known | {("line", "probe")}


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_what_is_measured_and_required_is_read_somewhere(check: Check) -> None:
    readings = {
        "camera": (*contract.CAMERA_READINGS, "power", "zoom", "preset"),
        "microphone": contract.MICROPHONE_READINGS,
        "speaker": (*contract.SPEAKER_READINGS, *contract.LOOP_READINGS, "seconds"),
        "display": contract.DISPLAY_READINGS,
        "panel": contract.PANEL_READINGS,
        "host": contract.HOST_READINGS,
        "line": (
            *contract.INTERFACE_READINGS, *contract.PATH_READINGS, "broker_connected", "cause",
            "reflector_answers", "rtt_ms_p50", "loss_percent", "jitter_ms", "mos",
        ),
    }[check.device]  # fmt: skip
    wanted = {option for name in (*check.measures, *check.requires) for option in name.split("|")}
    assert wanted <= set(readings)


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
@pytest.mark.parametrize("language", ["vi", "en"])
def test_an_expectation_is_one_sentence_with_its_numbers(check: Check, language: str) -> None:
    told = expectation(check.expected, language)
    assert told
    assert not set("{}\n") & set(told)


def test_an_expectation_names_thresholds_only() -> None:
    names = {field.name for field in msgspec.structs.fields(type(DEFAULTS))}
    for check in CHECKS.values():
        for part in check.expected.split("{")[1:]:
            assert part.split(":")[0].split("}")[0] in names


def test_what_a_room_should_not_have_is_left_out() -> None:
    without = names("full", {**ALL, "camera": False})
    assert "camera_picture" not in without
    assert "microphone_level" in without


@pytest.mark.parametrize("missing", ["microphone", "speaker"])
def test_the_loop_needs_both_ends(missing: str) -> None:
    assert not [name for name in names("full", {**ALL, missing: False}) if "loop" in name]


def test_a_question_without_checks_is_not_asked() -> None:
    nothing: dict[str, bool] = dict.fromkeys(contract.DEVICES, False)
    assert {question.process for question in planned("quick", nothing)} == {"host", "line"}


def test_blocking_codes_exist() -> None:
    assert set(CODES) >= BLOCKING

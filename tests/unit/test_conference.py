"""A conference as it comes, and what of it holds when."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.conference import (
    FORGET_S,
    LIMIT,
    MAX_BYTES,
    REVISIONS,
    ConferenceError,
    Conferences,
    read,
)
from diemcau_agent.model import Conference
from diemcau_agent.thresholds import DEFAULTS, Thresholds

START, END = 1_800_000_000, 1_800_007_200
GOOD: dict[str, Any] = {
    "schema": "diemcau.conference/1", "id": "national-1", "iss": "operator-1", "revision": 1,
    "start": START, "end": END, "groups": ["district-7", "lao-cai"], "listen_only": ["lao-cai"],
    "freeze": {"before_s": 1800, "after_s": 600}, "thresholds": {"rtt_max_ms": 80, "loss_max_percent": 0.5},
}  # fmt: skip
BEFORE = float(START - 100_000)


def conference(**changes: Any) -> Conference:
    return read(json.dumps({**GOOD, **changes}).encode())


class Known(Conferences):
    """This room is in district-7; ``gone``: the keys that were revoked."""

    def __init__(self, folder: Path, groups: tuple[str, ...] = ("all", "district-7")) -> None:
        self.gone: set[str] = set()
        super().__init__(folder / "conferences.json", lambda: groups, lambda iss: iss in self.gone)

    def again(self) -> Known:
        """After a restart."""
        self.path.write_bytes(self.kept())
        after = Known(self.path.parent)
        after.gone = self.gone
        after.load()
        return after


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path)


# --- The document

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(st.sampled_from([*GOOD, "state", "extra"]), json_values, max_size=4)


@given(fields)
def test_any_json_is_a_conference_or_an_error_that_names_a_field(changes: dict[str, Any]) -> None:
    text = json.dumps({**GOOD, **changes}).encode()
    found = reasons(text)
    if found is None:
        taken = read(text)
        assert taken.start < taken.end <= taken.start + 48 * 3600
        return
    code, told = found
    names = {reason.split(":")[0].split(".")[0].split("[")[0] for reason in told.split("; ")}
    assert code == "malformed" or names & {*Conference.__struct_fields__}, told


def reasons(text: bytes) -> tuple[str, str] | None:
    """Code and words of what is wrong with it; ``malformed``: numbers or nesting that JSON has not."""
    try:
        read(text)
    except ConferenceError as error:
        return error.code, str(error)
    return None


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_conference_or_an_error(text: bytes) -> None:
    with pytest.raises(ConferenceError) as error:
        read(text)
    assert error.value.code in ("malformed", "bad_args")
    assert str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"end": START}, f"end: got {START}, expected after start {START}, by 172800 s at most"),
        ({"end": START + 172_801}, "end: got"),
        ({"start": "now"}, 'start: got "now", expected a whole number'),
        ({"start": 2**40, "end": 2**40 + 1}, "start: got"),
        ({"groups": []}, "groups: got []"),
        ({"groups": ["Sa Pa"]}, "groups[0]: got"),
        ({"listen_only": ["Hà Nội"]}, "listen_only[0]: got"),
        ({"freeze": {"before_s": -1}}, "freeze.before_s: got -1"),
        ({"freeze": {"before_s": 86_401}}, "freeze.before_s: got 86401"),
        ({"thresholds": {"rtt_max": 80}}, "thresholds.rtt_max: unknown, expected one of"),
        ({"thresholds": {"rtt_max_ms": "80"}}, "thresholds.rtt_max_ms: got"),
        ({"revision": 0}, "revision: got 0"),
        ({"state": "over"}, 'state: got "over"'),
        ({"schema": "diemcau.conference/2"}, "schema: got"),
        ({"id": "x"}, "id: got"),
    ],
)
def test_each_error_names_its_field(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConferenceError) as error:
        conference(**changes)
    assert reason in str(error.value)


def test_every_error_is_told_at_once() -> None:
    with pytest.raises(ConferenceError) as error:
        conference(revision=0, start="now")
    assert "revision:" in str(error.value)
    assert "start:" in str(error.value)


def test_a_number_beyond_all_bounds_is_no_threshold() -> None:
    text = json.dumps(GOOD).replace('"rtt_max_ms": 80', '"rtt_max_ms": 1e999').encode()
    with pytest.raises(ConferenceError):
        read(text)


def test_what_is_too_large_or_too_deep_is_not_looked_at() -> None:
    with pytest.raises(ConferenceError) as error:
        read(b" " * (MAX_BYTES + 1))
    assert error.value.code == "too_large"
    with pytest.raises(ConferenceError) as error:
        read(b"[" * 100_000)
    assert error.value.code == "malformed"


# --- What holds when


def test_the_room_is_left_alone_from_before_its_start_until_after_its_end(known: Known) -> None:
    assert known.take(conference(), BEFORE)
    for moment, on in ((START - 1801, False), (START - 1800, True), (END + 599, True), (END + 600, False)):
        assert known.frozen(moment) is on
        assert (known.on(moment) is not None) is on


def test_without_a_freeze_it_is_on_but_nothing_is_frozen(known: Known) -> None:
    assert known.take(conference(freeze=None), BEFORE)
    assert not known.frozen(START)
    assert known.on(START) is not None
    assert known.on(START - 1) is None
    assert known.on(END) is None


def test_a_conference_of_others_is_none_of_ours(known: Known) -> None:
    assert not known.take(conference(groups=["hanoi"], listen_only=[]), BEFORE)
    assert known.on(START) is None


def test_all_are_in_all(known: Known) -> None:
    assert known.take(conference(groups=["all"], listen_only=[]), BEFORE)
    assert known.frozen(START)


def test_a_greater_revision_takes_its_place_and_no_other(known: Known) -> None:
    assert known.take(conference(revision=2), BEFORE)
    assert not known.take(conference(revision=2), BEFORE)
    for changes in ({"revision": 1}, {"revision": 2, "end": END + 1}):
        with pytest.raises(ConferenceError) as error:
            known.take(conference(**changes), BEFORE)
        assert error.value.code == "old_revision"
    assert known.take(conference(revision=3, start=START + 9000, end=END + 9000), BEFORE)
    assert not known.frozen(START)
    assert known.frozen(START + 9000)


@pytest.mark.parametrize("changes", [{"state": "cancelled"}, {"groups": ["hanoi"], "listen_only": []}])
def test_a_cancelled_one_or_one_that_leaves_us_out_frees_the_room_and_stays_so(
    known: Known, changes: dict[str, Any]
) -> None:
    known.take(conference(), BEFORE)
    assert known.take(conference(revision=2, **changes), BEFORE)
    assert not known.frozen(START)
    known = known.again()
    with suppress(ConferenceError):  # that it is old is an error where the newer is still known
        assert not known.take(conference(), BEFORE)
    assert not known.frozen(START)


def test_it_is_known_after_a_restart(known: Known) -> None:
    known.take(conference(), BEFORE)
    after = known.again()
    assert after.frozen(START)
    assert not after.take(conference(), BEFORE)


def test_a_damaged_file_is_as_none(known: Known) -> None:
    for text in (b"", b"\0" * 100, b"{}", b'{"conferences": [1], "revisions": {}}', b"[" * 5000):
        known.path.write_bytes(text)
        known.load()
        assert known.on(START) is None


def test_a_kept_threshold_that_this_version_does_not_know_ends_nothing(known: Known) -> None:
    known.take(conference(), BEFORE)
    known.path.write_bytes(known.kept().replace(b"rtt_max_ms", b"rtt_max_us"))
    after = Known(known.path.parent)
    after.load()
    assert after.limits(START) == DEFAULTS


def test_one_that_ended_is_forgotten_but_its_revision_is_not(known: Known) -> None:
    known.take(conference(revision=2), BEFORE)
    later = END + 600 + FORGET_S
    known.take(conference(id="national-2", start=int(later), end=int(later) + 60), later)
    assert [one.id for one in msgspec.json.decode(known.kept(), type=_File).conferences] == ["national-2"]
    known = known.again()
    assert not known.take(conference(revision=1, start=int(later), end=int(later) + 60), later)
    assert known.take(conference(revision=3, start=int(later), end=int(later) + 60), later)


def test_one_that_is_over_when_it_comes_is_not_kept(known: Known) -> None:
    assert not known.take(conference(), END + 600.0)
    assert known.kept() == Known(known.path.parent).kept()


def test_without_a_true_clock_nothing_is_forgotten(known: Known) -> None:
    known.take(conference(), None)
    known.take(conference(id="national-2", start=START + 10**8, end=END + 10**8), None)
    assert known.frozen(START)


def test_no_more_are_kept_than_have_room(known: Known) -> None:
    for number in range(LIMIT):
        assert known.take(conference(id=f"meeting-{number:03d}"), BEFORE)
    with pytest.raises(ConferenceError) as error:
        known.take(conference(), BEFORE)
    assert error.value.code == "too_many"
    assert known.take(conference(id="meeting-000", revision=2), BEFORE)
    later = END + 600 + FORGET_S
    assert known.take(conference(start=int(later), end=int(later) + 60), later)


def test_revisions_that_are_remembered_are_bounded_too(known: Known) -> None:
    for number in range(REVISIONS + 10):
        known.take(conference(id=f"meeting-{number:05d}"), BEFORE)
        known.take(conference(id=f"meeting-{number:05d}", revision=2, groups=["x-1"], listen_only=[]), BEFORE)
    kept = msgspec.json.decode(known.kept(), type=_File)
    assert len(kept.revisions) == REVISIONS
    assert kept.conferences == []


def test_whose_key_was_revoked_plans_nothing_and_blocks_nobody(known: Known) -> None:
    known.take(conference(iss="thief-1", revision=2**53), BEFORE)
    for number in range(LIMIT - 1):
        known.take(conference(iss="thief-1", id=f"meeting-{number:03d}"), BEFORE)
    known.gone.add("thief-1")
    assert not known.frozen(START)
    assert known.take(conference(revision=1), BEFORE)
    assert known.frozen(START)


def test_bounds_of_its_own_hold_while_it_is_on(known: Known) -> None:
    usual = Thresholds(button_stuck_s=5.0)
    known.take(conference(), BEFORE)
    assert known.limits(START, usual) == Thresholds(button_stuck_s=5.0, rtt_max_ms=80, loss_max_percent=0.5)
    assert known.limits(END + 600, usual) == usual


def test_people_see_the_one_that_is_on_or_the_next(known: Known) -> None:
    assert known.summary(BEFORE) is None
    known.take(conference(id="national-2", start=START + 90_000, end=END + 90_000), BEFORE)
    known.take(conference(), BEFORE)
    first, then, last = (known.summary(moment) for moment in (BEFORE, START, END + 600))
    assert first == {
        "id": "national-1", "start": "2027-01-15T08:00:00.000Z", "end": "2027-01-15T10:00:00.000Z",
        "on": False, "frozen": False, "listen_only": False,
    }  # fmt: skip
    assert first is not None
    assert then == {**first, "on": True, "frozen": True}
    assert last is not None
    assert (last["id"], last["on"]) == ("national-2", False)
    assert known.summary(END + 100_000) is None


class _File(msgspec.Struct):
    conferences: list[Conference]
    revisions: dict[str, int]

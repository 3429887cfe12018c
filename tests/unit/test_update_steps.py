"""An update from step to step, with the power cut anywhere, and a new version that is not well."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import files
from diemcau_agent.update.look import Look, Part
from diemcau_agent.update.record import Pending, Record
from diemcau_agent.update.release import Release
from diemcau_agent.update.steps import STEADY_S, UNDO_TRIES, WATCH_S, StepFailed, finish

RELEASE = Release(version="1.2.0", arch="arm64", sha256="ab" * 32, size=1000, serial=7)
OLD, NEW = "1.1.0", "1.2.0"
MEMORY = Path("/dev/shm")


class PowerCut(BaseException):
    pass


class Kit:
    """dpkg, an agent and a clock. ``cuts``: after so many moments more the power goes, once each."""

    def __init__(self, folder: Path, cuts: list[int]) -> None:
        self.folder = folder
        self.cuts = cuts
        self.installed = OLD
        self.half = False
        """Whether dpkg was cut in the middle: then nothing is well."""
        self.packed: str | None = None
        self.now_s = 1000.0
        self.session = 1
        self.well = {OLD: True, NEW: True}
        self.starts_again_s: float | None = None
        self.failing: dict[str, int] = {}
        self.conference = False

    @property
    def record(self) -> Record:
        return Record(self.folder)

    def moment(self) -> None:
        if self.cuts:
            self.cuts[0] -= 1
            if self.cuts[0] <= 0:
                self.cuts.pop(0)
                raise PowerCut

    def look(self) -> Look | None:
        self.moment()
        if self.half or not self.well[self.installed]:
            return None
        session = self.session
        if self.starts_again_s is not None and self.installed == NEW:
            session += int(self.now_s // self.starts_again_s)
        return Look(self.installed, session, True, {"camera": Part("ok", None, True)}, self.conference)

    def pack_before(self) -> None:
        self.moment()
        assert not self.half
        self.packed = self.installed
        self.moment()

    def put(self, which: Literal["new", "before"]) -> None:
        self.moment()
        if self.failing.get(which, 0):
            self.failing[which] -= 1
            raise StepFailed(f"dpkg {which}: exit code 1")
        self.half = True
        self.moment()
        assert which == "before" or (self.folder / "new.deb").exists()
        assert self.packed == OLD  # there is always a way back
        self.installed = NEW if which == "new" else self.packed
        self.half = False
        self.session += 1
        self.moment()

    def sleep(self, seconds: float) -> None:
        self.moment()
        self.now_s += seconds

    def monotonic(self) -> float:
        return self.now_s

    def begin(self) -> None:
        (self.folder / "new.deb").write_bytes(b"")
        self.record.begin(Pending("command-1", RELEASE, OLD))

    def run(self) -> int:
        """Until nothing is pending, the power cut or not; how often it was."""
        cuts = 0
        while True:
            try:
                finish(self.record, self, cut_short=cuts > 0)
            except PowerCut:
                cuts += 1
                continue
            return cuts


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    made = Kit(tmp_path, [])
    made.begin()
    return made


def test_a_version_that_is_well_stays_and_its_serial_is_the_least_from_then_on(kit: Kit) -> None:
    kit.run()
    assert (kit.installed, kit.record.pending) == (NEW, None)
    ending = kit.record.ending("command-1")
    assert (ending.state, ending.before, ending.to, ending.reason) == ("installed", OLD, NEW, "")
    assert (kit.record.past.serial, kit.record.past.sha256) == (7, RELEASE.sha256)
    assert kit.record.past.ids == ("command-1",)
    assert not kit.record.new.exists()
    assert kit.now_s >= 1000.0 + STEADY_S


def test_one_that_is_never_ready_is_taken_back_after_three_minutes_and_says_so(kit: Kit) -> None:
    kit.well[NEW] = False
    kit.run()
    assert kit.installed == OLD
    ending = kit.record.ending("command-1")
    assert (ending.state, ending.reason) == ("rolled_back", "the agent is not READY")
    assert kit.record.past.serial == 0  # the same release may be tried again
    assert WATCH_S <= kit.now_s - 1000.0 <= WATCH_S + STEADY_S + 30


def test_one_that_dies_again_and_again_is_taken_back(kit: Kit) -> None:
    kit.starts_again_s = STEADY_S / 2
    kit.run()
    assert kit.installed == OLD
    assert kit.record.ending("command-1").reason == "the agent was started again and again"


def test_a_package_that_dpkg_does_not_take_is_undone(kit: Kit) -> None:
    kit.failing = {"new": 1}
    kit.run()
    assert (kit.installed, kit.half) == (OLD, False)
    assert kit.record.ending("command-1").state == "rolled_back"
    assert "dpkg new: exit code 1" in kit.record.ending("command-1").reason


def test_the_way_back_is_tried_more_than_once_and_then_said_to_be_lost(kit: Kit) -> None:
    kit.failing = {"new": 1, "before": UNDO_TRIES - 1}
    kit.run()
    assert kit.record.ending("command-1").state == "rolled_back"
    kit.begin()
    kit.failing = {"new": 1, "before": UNDO_TRIES}
    kit.run()
    assert kit.record.pending is None
    assert "and back: dpkg before" in kit.record._kept().outcomes[-1].ending.reason


def test_a_conference_that_began_while_the_version_before_was_packed_is_not_disturbed(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = kit.pack_before

    def slowly() -> None:
        packed()
        kit.conference = True

    monkeypatch.setattr(kit, "pack_before", slowly)
    kit.run()
    assert (kit.installed, kit.record.pending) == (OLD, None)
    ending = kit.record.ending("command-1")
    assert (ending.state, ending.reason) == ("not_installed", "a conference is on")
    assert not kit.record.new.exists()


def test_one_that_begins_once_dpkg_has_run_takes_nothing_back(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = kit.put

    def and_then(which: Literal["new", "before"]) -> None:
        put(which)
        kit.conference = True

    monkeypatch.setattr(kit, "put", and_then)
    kit.run()
    assert kit.record.ending("command-1").state == "installed"


def test_without_a_package_of_the_version_before_nothing_is_begun(kit: Kit) -> None:
    class NoRoom(Kit):
        def pack_before(self) -> None:
            raise StepFailed("before.deb: No space left on device")

    full = NoRoom(kit.folder, [])
    full.run()
    assert full.installed == OLD
    ending = full.record.ending("command-1")
    assert (ending.state, ending.reason) == ("not_installed", "before.deb: No space left on device")


@given(
    st.lists(st.integers(1, 30), max_size=6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([{}, {"new": 1}, {"before": 1}, {"new": 1, "before": 2}]),
)
def test_wherever_the_power_goes_it_ends_with_the_new_one_well_or_the_old_one(
    cuts: list[int], well: bool, steady: bool, failing: dict[str, int]
) -> None:
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        kit = Kit(folder, list(cuts))
        kit.well[NEW] = well
        kit.starts_again_s = None if steady else STEADY_S / 2
        kit.failing = dict(failing)
        kit.begin()
        happened = kit.run()
        ending = kit.record.ending("command-1")
        assert not kit.half
        assert kit.record.pending is None
        assert not kit.record.new.exists()
        assert kit.record.past.ids == ("command-1",)
        assert kit.installed == (NEW if ending.state == "installed" else OLD)
        if ending.state == "installed":
            assert well
            assert steady
            assert kit.record.past.serial == 7
        else:
            assert kit.record.past.serial == 0
            assert ending.reason
        if not happened and not failing:
            assert (ending.state == "installed") == (well and steady)
    finally:
        shutil.rmtree(folder)


def test_every_step_is_on_the_card_before_it_begins(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    put = kit.put

    def watched(which: Literal["new", "before"]) -> None:
        pending = kit.record.pending
        assert pending is not None
        seen.append((which, pending.step))
        put(which)

    kit.well[NEW] = False
    monkeypatch.setattr(kit, "put", watched)
    kit.run()
    assert seen == [("new", "installing"), ("before", "undoing")]


def test_a_damaged_record_is_as_none_and_a_kit_goes_on(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.begin(Pending("command-1", RELEASE, OLD))
    files.replace(tmp_path / "record.json", msgspec.json.encode({"past": 3}))
    assert record.pending is None
    assert record.ending("command-1").state == "unknown"
    record.begin(Pending("command-2", RELEASE, OLD))
    assert record.past.ids == ("command-2",)

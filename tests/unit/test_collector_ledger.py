"""What one message changes: once each, in its own time, with losses told."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest

from diemcau_fleet.collector import gaps, spools
from diemcau_fleet.collector.batch import Row
from diemcau_fleet.collector.gaps import Key
from diemcau_fleet.collector.ledger import Ledger
from point_documents import MONO_S, OTHER_SPOOL, SPOOL, WALL_S, message

NOW_MS = WALL_S * 1000
EVENTS = Key("xp-0417", SPOOL, "event")
TELEMETRY = Key("xp-0417", SPOOL, "telemetry")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def take(ledger: Ledger, name: str, point: str = "xp-0417", *, live: bool = True, **changed: Any) -> None:
    ledger.take(*message(name, point, **changed), NOW_MS, live=live)


def unsynced(mono_s: float) -> dict[str, Any]:
    return {"mono_s": mono_s, "clock": "unsynced", "time": "1970-01-01T00:16:40.000Z"}


def row(ledger: Ledger, seq: int) -> Row:
    (found,) = [row for row in ledger.batch.rows if row.seq == seq]
    return found


def test_each_document_is_taken_once_however_often_and_in_whatever_order_it_comes(ledger: Ledger) -> None:
    numbers = [*range(1, 101)] * 3
    random.Random(7).shuffle(numbers)
    for seq in numbers:
        take(ledger, "event", seq=seq)
    assert sorted(row.seq for row in ledger.batch.rows) == [*range(1, 101)]
    assert (ledger.counts.documents, ledger.counts.duplicates) == (100, 200)
    assert not ledger.open


def test_point_spool_and_stream_each_have_numbers_of_their_own(ledger: Ledger) -> None:
    take(ledger, "event")
    take(ledger, "telemetry")
    take(ledger, "event", spool=OTHER_SPOOL)
    take(ledger, "event", "xp-0418")
    assert (ledger.counts.documents, ledger.counts.duplicates) == (4, 0)


def test_a_gap_is_open_until_it_is_filled(ledger: Ledger) -> None:
    take(ledger, "event", seq=1)
    take(ledger, "event", seq=4)
    assert [list(tracker.gaps()) for tracker in ledger.open.values()] == [[(2, 3)]]
    take(ledger, "event", seq=2)
    take(ledger, "event", seq=3)
    assert not ledger.open


@pytest.mark.parametrize(
    ("history", "missing"), [(10_000, [(1, 499)]), (100, [(400, 499)]), (0, [])], ids=["all", "bound", "now"]
)
def test_what_lies_before_the_first_seen_is_missed_within_the_bound(
    history: int, missing: list[tuple[int, int]]
) -> None:
    ledger = Ledger(history)
    take(ledger, "telemetry", seq=500)
    assert [*ledger.trackers[TELEMETRY].gaps()] == missing


def test_what_a_point_says_it_dropped_is_lost_and_not_a_gap(ledger: Ledger) -> None:
    take(ledger, "telemetry", seq=1)
    take(ledger, "telemetry", seq=5)
    data = {"stream": "telemetry", "from": 2, "to": 4, "count": 3, "reason": "full"}
    take(ledger, "event", kind="dropped", data=data)
    assert not ledger.open
    assert [(loss.key, loss.range, loss.reason) for loss in ledger.batch.losses] == [
        (TELEMETRY, (2, 4), "full")
    ]
    assert ledger.counts.lost == 3


def test_a_drop_of_another_spool_closes_that_spools_gap(ledger: Ledger) -> None:
    take(ledger, "telemetry", seq=1)
    take(ledger, "telemetry", seq=3)
    data = {"spool": SPOOL, "stream": "telemetry", "from": 2, "to": 2, "count": 1, "reason": "full"}
    take(ledger, "event", spool=OTHER_SPOOL, kind="dropped", data=data)
    assert not ledger.open


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"stream": "audit", "from": 1, "to": 2},
        {"stream": "event", "from": 3, "to": 2},
        {"stream": "event", "from": -5, "to": 2},
        {"stream": "event", "from": 1, "to": 2**60},
        {"stream": "telemetry", "from": 2, "to": 4, "count": 2},
        {"spool": "never-seen", "stream": "telemetry", "from": 2, "to": 4},
    ],
)
def test_a_drop_that_cannot_be_understood_closes_nothing(ledger: Ledger, data: Any) -> None:
    take(ledger, "telemetry", seq=1)
    take(ledger, "telemetry", seq=5)
    take(ledger, "event", kind="dropped", data=data)
    assert list(ledger.open) == [TELEMETRY]
    assert ledger.counts.lost == 0
    assert ledger.counts.documents == 3  # the event itself is kept


def test_what_was_lost_and_comes_all_the_same_is_kept(ledger: Ledger) -> None:
    take(ledger, "telemetry", seq=2)
    ledger.lose(TELEMETRY, 1, 1, "missing at the point")
    take(ledger, "telemetry", seq=1)
    assert ledger.counts.documents == 2


def test_times_before_the_clock_was_set_are_corrected_once_it_is(ledger: Ledger) -> None:
    take(ledger, "event", seq=1, **unsynced(mono_s=10))
    assert row(ledger, 1).time_corrected_ms is None
    take(ledger, "health", mono_s=MONO_S)  # any document of the boot will do
    assert ledger.batch.corrected == {("xp-0417", "boot-1"): (WALL_S - MONO_S) * 1000}
    take(ledger, "event", seq=2, **unsynced(mono_s=20))
    assert row(ledger, 2).time_corrected_ms == (WALL_S - MONO_S + 20) * 1000
    assert row(ledger, 2).time_ms == 1_000_000  # what the kit said stays


def test_one_boots_offset_corrects_no_other_boot_and_no_other_point(ledger: Ledger) -> None:
    take(ledger, "health", mono_s=MONO_S)
    take(ledger, "event", seq=1, boot="boot-2", **unsynced(mono_s=20))
    take(ledger, "event", "xp-0418", seq=3, **unsynced(mono_s=20))
    assert row(ledger, 1).time_corrected_ms is None
    assert row(ledger, 3).time_corrected_ms is None


def test_a_stored_copys_age_is_known_once_its_boot_has_a_true_time(ledger: Ledger) -> None:
    take(ledger, "status", live=False, **unsynced(mono_s=MONO_S))
    assert ledger.presence("xp-0417", NOW_MS) == "unknown"
    take(ledger, "event", mono_s=MONO_S)
    assert ledger.presence("xp-0417", NOW_MS) == "online"


def test_an_older_retained_document_that_comes_later_changes_nothing(ledger: Ledger) -> None:
    take(ledger, "health", session=2, mono_s=50, boot="boot-2", readiness="not_ready")
    take(ledger, "health", session=1, mono_s=5000, readiness="ready")
    assert ledger.held["xp-0417", "health"].says == "not_ready"


def test_a_new_cards_health_counts_from_its_first_event_on(ledger: Ledger) -> None:
    take(ledger, "event", session=500)
    take(ledger, "health", session=500, readiness="ready")
    take(ledger, "event", spool=OTHER_SPOOL, session=1, boot="boot-2", mono_s=5)
    take(ledger, "health", session=1, boot="boot-2", mono_s=6, readiness="not_ready")
    assert ledger.held["xp-0417", "health"].says == "not_ready"
    take(ledger, "health", session=500, mono_s=MONO_S + 9, readiness="ready")  # late, by a bridge
    assert ledger.held["xp-0417", "health"].says == "not_ready"


def test_a_new_spool_that_was_seen_first_is_put_behind_the_one_it_replaces(ledger: Ledger) -> None:
    data = {"previous": SPOOL, "reason": "corrupt", "kept": None}
    take(ledger, "event", spool=OTHER_SPOOL)
    take(ledger, "event", spool=SPOOL)
    assert ledger.spools.newest("xp-0417") == SPOOL
    take(ledger, "event", spool=OTHER_SPOOL, seq=2, kind="spool_replaced", data=data)
    assert ledger.spools.newest("xp-0417") == OTHER_SPOOL
    assert ledger.batch.spools == {("xp-0417", SPOOL), ("xp-0417", OTHER_SPOOL)}


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_spools_are_in_the_points_own_order_however_they_come(ledger: Ledger, order: tuple[int, ...]) -> None:
    for number in order:
        data = {"previous": f"spool-{number - 1}", "reason": "corrupt", "kept": None}
        take(ledger, "event", spool=f"spool-{number}", kind="spool_replaced", data=data)
    spools = ledger.spools.of("xp-0417")
    assert sorted(spools, key=lambda uuid: spools[uuid].order) == [f"spool-{number}" for number in range(4)]


def test_spools_that_replace_each_other_in_a_circle_do_no_harm(ledger: Ledger) -> None:
    for spool, before in ((SPOOL, OTHER_SPOOL), (OTHER_SPOOL, SPOOL), ("alone", "alone")):
        take(ledger, "event", spool=spool, kind="spool_replaced", data={"previous": before})
    assert ledger.spools.newest("xp-0417") == "alone"


def test_a_new_cards_health_counts_though_its_spool_was_seen_before_the_old_one(ledger: Ledger) -> None:
    take(ledger, "event", spool=OTHER_SPOOL, session=1, boot="boot-2", mono_s=5, seq=2)
    take(ledger, "event", session=500)
    take(ledger, "health", session=500, readiness="ready")
    data = {"previous": SPOOL}
    new = message("event", spool=OTHER_SPOOL, session=1, boot="boot-2", kind="spool_replaced", data=data)
    ledger.take(*new, NOW_MS, live=True)
    take(ledger, "health", session=1, boot="boot-2", mono_s=6, readiness="not_ready")
    assert ledger.held["xp-0417", "health"].says == "not_ready"


def test_made_up_spools_are_refused_beyond_a_bound_and_the_known_ones_go_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "LIMIT", 3)
    for number in range(5):
        take(ledger, "event", spool=f"spool-{number}")
    take(ledger, "event", "xp-0418")
    take(ledger, "event", spool="spool-2", seq=2)
    assert (ledger.counts.documents, ledger.counts.rejected) == (5, 2)
    assert ledger.batch.refusals[0].reason == "spool: got one more of this point, expected 3 at most"


def test_made_up_numbers_are_refused_beyond_a_bound_and_gaps_can_still_be_filled(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "RANGES_LIMIT", 10)
    for seq in range(1, 101, 2):
        take(ledger, "event", seq=seq)
    assert (ledger.counts.documents, ledger.counts.rejected) == (10, 40)
    assert ledger.batch.refusals[0].reason.startswith("seq: got one more gap")
    for seq in range(2, 20, 2):
        take(ledger, "event", seq=seq)
    assert not ledger.open


def test_of_a_points_boots_the_newest_and_those_of_held_documents_are_kept_in_mind(ledger: Ledger) -> None:
    take(ledger, "selftest", boot="boot-0")
    for number in range(1, 100):
        take(ledger, "event", seq=number, boot=f"boot-{number}")
    assert [*ledger.boots["xp-0417"]] == ["boot-0", *(f"boot-{number}" for number in range(85, 100))]


def test_a_retired_kit_leaves_no_presence_behind(ledger: Ledger) -> None:
    for name in ("birth", "status"):
        take(ledger, name)
    take(ledger, "status", status="lost")
    assert ledger.presence("xp-0417", NOW_MS) == "lost"
    for name in ("birth", "status"):
        ledger.take(f"diemcau/v1/point/xp-0417/{name}", b"", NOW_MS, live=True)
    assert not ledger.held
    assert set(ledger.batch.held.values()) == {None}


def test_a_reply_is_handed_on_and_its_time_counts(ledger: Ledger) -> None:
    take(ledger, "event", **unsynced(mono_s=1))
    reply = ledger.take("diemcau/v1/point/xp-0417/reply/op-1", message("reply")[1], NOW_MS, live=True)
    assert reply is not None
    assert reply.id == "no-such-command"
    assert ledger.batch.corrected == {("xp-0417", "boot-1"): (WALL_S - MONO_S) * 1000}

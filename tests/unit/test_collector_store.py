"""The collector's file: what is written is there, all of it or nothing, and is told again as it was."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent.database import CardFailed, Corrupt, Full, Locked
from diemcau_fleet.collector import store as store_
from diemcau_fleet.collector.batch import Loss
from diemcau_fleet.collector.gaps import Key, Range
from diemcau_fleet.collector.ledger import BOOTS_LIMIT, Ledger
from diemcau_fleet.collector.records import Gap, Records
from diemcau_fleet.collector.store import Store
from point_documents import MONO_S, OTHER_SPOOL, SPOOL, WALL_S, message

NOW_MS = WALL_S * 1000
EVENTS = Key("xp-0417", SPOOL, "event")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "collector.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as store:
        yield store


def take(ledger: Ledger, name: str, point: str = "xp-0417", **changed: Any) -> None:
    ledger.take(*message(name, point, **changed), NOW_MS, live=True)


def unsynced(mono_s: float) -> dict[str, Any]:
    return {"mono_s": mono_s, "clock": "unsynced", "time": "1970-01-01T00:16:40.000Z"}


def test_documents_are_told_in_the_order_in_which_they_were_made(store: Store) -> None:
    ledger = store.ledger()
    for seq in (3, 1, 2):
        take(ledger, "event", seq=seq, mono_s=MONO_S + seq)
    take(ledger, "telemetry", mono_s=MONO_S + 1.5)
    take(ledger, "event", "xp-0418")
    store.write(ledger)
    rows = [(row.key.stream, row.seq) for row in store.documents("xp-0417")]
    assert rows == [("event", 1), ("telemetry", 1), ("event", 2), ("event", 3)]
    assert [row.seq for row in store.documents("xp-0417", "event", since_ms=NOW_MS + 2000)] == [2, 3]
    assert [row.seq for row in store.documents("xp-0417", "event", limit=2)] == [1, 2]
    assert [row.payload for row in store.documents("xp-0418")] == [message("event", "xp-0418")[1]]


def test_the_documents_of_a_new_card_come_after_the_old_ones_however_its_sessions_count(store: Store) -> None:
    ledger = store.ledger()
    take(ledger, "event", session=500)
    take(ledger, "event", spool=OTHER_SPOOL, session=1, boot="boot-2", mono_s=1)
    store.write(ledger)
    assert [row.session for row in store.documents("xp-0417")] == [500, 1]
    assert [row.session for row in store.documents("xp-0417", limit=1)] == [500]


def test_a_ledger_knows_after_a_restart_what_it_had_written(store: Store) -> None:
    ledger = store.ledger()
    for seq in (2, 3, 7):
        take(ledger, "event", seq=seq)
    ledger.lose(EVENTS, 5, 5, "full")
    take(ledger, "event", spool=OTHER_SPOOL, kind="spool_replaced", data={"previous": SPOOL})
    for name in ("birth", "status", "health", "selftest"):
        take(ledger, name)
    store.write(ledger)
    again = store.ledger()
    assert again.held == ledger.held
    assert again.boots == ledger.boots
    assert again.spools.of("xp-0417") == ledger.spools.of("xp-0417")
    assert [*again.open[EVENTS].gaps()] == [(1, 1), (4, 4), (6, 6)]
    take(again, "event", seq=3)
    assert again.counts.duplicates == 1


def test_a_batch_that_does_not_fit_is_not_written_at_all(store: Store, path: Path) -> None:
    ledger = store.ledger()
    take(ledger, "event", seq=1)
    store.write(ledger)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    for seq in range(2, 400):
        take(ledger, "event", seq=seq, data="x" * 1000)
    with pytest.raises(Full, match=rf"^{path}: "):
        store.write(ledger)
    assert [row.seq for row in store.documents("xp-0417")] == [1]
    assert store.ledger().trackers[EVENTS].top == 1


def test_there_is_one_writer_and_anybody_may_read_meanwhile(store: Store, path: Path) -> None:
    with pytest.raises(Locked, match="another collector writes it"):
        Store.open(path)
    ledger = store.ledger()
    with Records.open(path) as records:
        take(ledger, "event")
        store.write(ledger)
        assert records.count("document") == 1


def test_a_closed_store_can_be_opened_again_and_read_by_itself(path: Path) -> None:
    with Store.open(path) as store:
        ledger = store.ledger()
        take(ledger, "event")
        store.write(ledger)
    with Store.open(path):
        pass
    with Records.open(path) as records:
        assert records.count("document") == 1


def test_a_copy_of_the_files_at_any_time_holds_all_that_was_written(store: Store, tmp_path: Path) -> None:
    """As after SIGKILL or a power cut: the file, with whatever its log holds."""
    ledger = store.ledger()
    for seq in range(1, 50):
        take(ledger, "event", seq=seq)
        store.write(ledger)
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in tmp_path.glob("collector.sqlite3*"):
        shutil.copy(file, folder)
    with Store.open(folder / "collector.sqlite3") as copy:
        assert [row.seq for row in copy.documents("xp-0417")] == [*range(1, 50)]
        assert copy.ledger().trackers[EVENTS].whole


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_what_is_no_database_is_told_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=rf"^{path}: "):
        Store.open(path)
    assert path.read_bytes() == content


def test_a_newer_collectors_file_is_left_alone(path: Path) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opened in (Store, Records):
        with pytest.raises(Corrupt, match="got schema 99, expected 1"):
            opened.open(path)


def test_a_file_that_cannot_be_made_or_is_not_there_is_named(tmp_path: Path) -> None:
    for opened in (Store, Records):
        with pytest.raises(CardFailed, match=str(tmp_path / "no" / "where")):
            opened.open(tmp_path / "no" / "where")


def test_a_stored_time_is_corrected_once_its_boots_offset_is_known(store: Store) -> None:
    ledger = store.ledger()
    take(ledger, "event", seq=1, **unsynced(mono_s=10))
    take(ledger, "event", "xp-0418", seq=1, **unsynced(mono_s=10))
    take(ledger, "status", **unsynced(mono_s=11))
    store.write(ledger)
    assert [row.time_corrected_ms for row in store.documents("xp-0417")] == [None]
    take(ledger, "health")
    take(ledger, "event", seq=2, **unsynced(mono_s=20))
    store.write(ledger)
    rows = [*store.documents("xp-0417")]
    assert [row.time_corrected_ms for row in rows] == [NOW_MS - 990_000, NOW_MS - 980_000]
    assert {(row.clock, row.time_ms) for row in rows} == {("unsynced", 1_000_000)}  # what the kit said stays
    assert store.ledger().held["xp-0417", "status"].time_ms == NOW_MS - 989_000
    assert [row.time_corrected_ms for row in store.documents("xp-0418")] == [None]


def test_a_late_document_of_a_boot_that_only_the_file_remembers_is_corrected(store: Store) -> None:
    ledger = store.ledger()
    take(ledger, "event", seq=1, boot="boot-0")
    for number in range(1, 2 * BOOTS_LIMIT):
        take(ledger, "event", seq=number + 1, boot=f"boot-{number}")
    store.write(ledger)
    assert "boot-0" not in ledger.boots["xp-0417"]
    take(ledger, "event", seq=100, boot="boot-0", **unsynced(mono_s=10))
    store.write(ledger)
    (row,) = [row for row in store.documents("xp-0417") if row.seq == 100]
    assert row.time_corrected_ms == NOW_MS - 990_000


def test_gaps_and_losses_are_told_with_their_reasons(store: Store) -> None:
    ledger = store.ledger()
    for seq in (1, 5, 9):
        take(ledger, "event", seq=seq)
    ledger.lose(EVENTS, 6, 8, "full")
    store.write(ledger)
    take(ledger, "event", seq=7)  # came all the same
    store.write(ledger)
    assert store.gaps() == store.gaps("xp-0417") == [Gap(EVENTS, Range(2, 4))]
    assert store.losses() == [Loss(EVENTS, Range(6, 6), "full"), Loss(EVENTS, Range(8, 8), "full")]
    assert store.gaps("xp-0418") == store.losses("xp-0418") == []


def test_of_what_is_no_document_the_newest_are_kept_and_only_their_beginning(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_, "REJECTED_ROWS", 10)
    ledger = store.ledger()
    for number in range(25):
        payload = f"{number:02} {'x' * 69_997}".encode()
        ledger.take("diemcau/v1/point/xp-0417/event", payload, NOW_MS, live=True)
        store.write(ledger)
    kept = store._db.execute("SELECT topic, reason, payload FROM rejected ORDER BY id").fetchall()
    assert [payload[:2] for _, _, payload in kept] == [f"{number}".encode() for number in range(15, 25)]
    assert {len(payload) for _, _, payload in kept} == {store_.REJECTED_BYTES}
    told = ("diemcau/v1/point/xp-0417/event", "size: got 70000 bytes, expected at most 65536")
    assert {(topic, reason) for topic, reason, _ in kept} == {told}


def test_every_room_is_told_with_its_presence_and_what_it_last_said(store: Store) -> None:
    ledger = store.ledger()
    for name in ("birth", "status", "health"):
        take(ledger, name)
    take(ledger, "birth", "xp-0419")
    take(ledger, "status", "xp-0419", status="lost")
    take(ledger, "health", "xp-0420")
    store.write(ledger)
    told = [(room.point, room.presence, room.readiness) for room in store.rooms(NOW_MS)]
    assert told == [
        ("xp-0417", "online", "ready"),
        ("xp-0419", "lost", "unknown"),
        ("xp-0420", "unknown", "ready"),
    ]
    assert store.rooms(NOW_MS)[0].held["health"] == message("health")[1]
    later = [(room.presence, room.readiness) for room in store.rooms(NOW_MS + 901_000)]
    assert later == [("unknown", "unknown"), ("lost", "unknown"), ("unknown", "unknown")]

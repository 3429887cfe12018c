"""What every document carries (docs/wire.md)."""

from __future__ import annotations

import pytest

from diemcau_agent.model import Birth, Document, Event, Health, Reply, Selftest, Status
from diemcau_agent.stamp import Stamp, new_connection
from fakeclock import FakeClock


def test_a_document_says_who_when_and_of_which_boot_session_and_connection(clock: FakeClock) -> None:
    stamp = Stamp("xp-0417", "8f0c", 12, clock)
    stamp.connection = "5b1d"
    assert stamp.fields(Event) == {
        "schema": "diemcau.event/1",
        "point": "xp-0417",
        "boot": "8f0c",
        "session": 12,
        "connection": "5b1d",
        "time": "2026-11-22T07:30:00.000Z",
        "clock": "synced",
        "mono_ms": 1_000_000,
    }


@pytest.mark.parametrize(
    ("document", "valid_s"),
    [(Health, 180), (Status, 900), (Birth, 0), (Event, None), (Reply, None), (Selftest, None)],
)
def test_what_lasts_says_how_long(document: type[Document], valid_s: int | None, clock: FakeClock) -> None:
    assert Stamp("xp-0417", "8f0c", 1, clock).fields(document).get("valid_s") == valid_s


def test_the_clocks_word_is_the_hosts_where_it_has_one(clock: FakeClock) -> None:
    clock.is_synced = False
    assert Stamp("xp-0417", "8f0c", 1, clock).fields(Event)["clock"] == "unsynced"
    assert Stamp("xp-0417", "8f0c", 1, clock, synced=lambda: True).fields(Event)["clock"] == "synced"


def test_order_and_distance_survive_a_clock_jump(clock: FakeClock) -> None:
    stamp = Stamp("xp-0417", "8f0c", 1, clock)
    before = stamp.fields(Event)
    clock.mono_s += 1.5
    clock.wall_s -= 3600
    after = stamp.fields(Event)
    assert after["mono_ms"] - before["mono_ms"] == 1500
    assert after["time"] < before["time"]


def test_each_connection_has_a_name_of_its_own() -> None:
    assert len({new_connection() for _ in range(100)}) == 100

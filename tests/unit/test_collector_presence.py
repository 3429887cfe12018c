"""Who is there, and what still holds: docs/wire.md, Presence, rule by rule."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from diemcau_fleet.collector.presence import AHEAD_MS, Held, age_ms, holds, presence, shown, supersedes

NOW_MS = 1_795_332_600_000


def held(says: str = "online", **changed: Any) -> Held:
    fields: dict[str, Any] = {
        "boot": "b1",
        "session": 1,
        "mono_ms": 1000,
        "connection": "c1",
        "valid_s": 900,
        "time_ms": NOW_MS,
        "arrived_ms": NOW_MS,
        "live": False,
    }
    return Held(says=says, **{**fields, **changed})


BIRTH = held("unsigned", valid_s=0)
LOST = held("lost")


def test_a_lost_counts_for_the_connection_of_the_newest_birth_only() -> None:
    assert presence(BIRTH, held(), LOST, NOW_MS) == "lost"
    assert presence(held("unsigned", valid_s=0, connection="c2"), held(connection="c2"), LOST, NOW_MS) == (
        "online"
    )


def test_a_lost_needs_no_age_as_its_time_is_its_connects() -> None:
    old = held("lost", time_ms=NOW_MS - 30 * 86_400_000, arrived_ms=NOW_MS)
    assert presence(BIRTH, held(), old, NOW_MS) == "lost"


def test_a_lost_without_a_birth_says_nothing() -> None:
    assert presence(None, None, LOST, NOW_MS) == "unknown"


@pytest.mark.parametrize("status", ["online", "offline"])
@pytest.mark.parametrize(("age_s", "known"), [(0, True), (900, True), (900.001, False), (86_400, False)])
def test_a_status_holds_for_its_valid_s(status: str, age_s: float, known: bool) -> None:
    said = held(status, time_ms=NOW_MS - int(age_s * 1000))
    assert presence(BIRTH, said, None, NOW_MS) == (status if known else "unknown")


def test_a_stored_copy_is_unknown_until_its_age_is_known() -> None:
    copy = held("ready", time_ms=None, valid_s=180)
    assert age_ms(copy, NOW_MS) is None
    assert shown(copy, "online", NOW_MS) == "unknown"
    assert presence(BIRTH, held(time_ms=None), None, NOW_MS) == "unknown"


def test_what_came_live_is_as_old_as_its_arrival_where_the_clock_does_not_say() -> None:
    live = held("ready", time_ms=None, live=True, valid_s=180, arrived_ms=NOW_MS - 179_000)
    assert shown(live, "online", NOW_MS) == "ready"
    assert shown(live, "online", NOW_MS + 2_000) == "unknown"


def test_a_true_time_outweighs_the_arrival() -> None:
    delayed = held("ready", live=True, valid_s=180, time_ms=NOW_MS - 600_000)
    assert shown(delayed, "online", NOW_MS) == "unknown"


@pytest.mark.parametrize("there", ["lost", "offline"])
def test_a_room_that_has_left_never_shines_green(there: Any) -> None:
    assert shown(held("ready", valid_s=180), there, NOW_MS) == "unknown"


def test_a_room_without_a_status_is_shown_by_its_fresh_health() -> None:
    assert shown(held("degraded", valid_s=180), "unknown", NOW_MS) == "degraded"
    assert shown(None, "online", NOW_MS) == "unknown"


def test_a_time_from_the_future_says_nothing_about_age() -> None:
    assert age_ms(held(time_ms=NOW_MS + AHEAD_MS), NOW_MS) == 0
    assert age_ms(held(time_ms=NOW_MS + AHEAD_MS + 1), NOW_MS) is None


def test_a_document_without_valid_s_holds_until_the_next() -> None:
    assert holds(held(valid_s=0, time_ms=None), NOW_MS)


def test_the_newest_is_by_session_and_monotonic_clock_in_whatever_order_it_comes() -> None:
    made = [
        held(boot="b1", session=1, mono_ms=9_000_000),
        held(boot="b1", session=2, mono_ms=9_000_500),
        held(boot="b2", session=3, mono_ms=100),  # after a reboot
        held(boot="b2", session=3, mono_ms=200),
    ]
    for order in permutations(made):
        newest = None
        for one in order:
            if supersedes(one, newest):
                newest = one
        assert newest is made[-1]


def test_the_same_document_again_changes_nothing() -> None:
    assert not supersedes(held(live=False), held(live=True))


def test_a_new_card_begins_its_sessions_anew_and_is_newer_all_the_same() -> None:
    old, new = held(boot="b1", session=500, mono_ms=9_000), held(boot="b2", session=1, mono_ms=50)
    assert supersedes(new, old, new_spool=8, held_spool=3)
    assert not supersedes(old, new, new_spool=3, held_spool=8)
    assert not supersedes(new, old, new_spool=0, held_spool=3)  # not known yet which card it is
    broken_within_a_boot = held(boot="b1", session=1, mono_ms=9_500)
    assert supersedes(broken_within_a_boot, old)

"""The short form of the torture table: card, database, clock, SIGSTOP. The full form is ``make torture``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import row_clock
import row_database
import row_disk
import row_stop

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]

WATCHDOG_S = 12.0
"""The unit's 30 s and its consequences are the full form's."""


@pytest.fixture
def place() -> Iterator[Path]:
    """With a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        yield Path(folder)


@pytest.mark.parametrize(("count", "seed"), [(25, 1), (25, 2)])
def test_a_damaged_spool_is_kept_and_told_and_the_agent_is_up_in_ten_seconds(
    count: int, seed: int, place: Path
) -> None:
    print(row_database.run(count, seed, place))


@pytest.mark.mounts
@pytest.mark.parametrize("name", ["full", "filling", "io_error", "unreadable"])
def test_a_card_that_fails_stops_no_command_and_what_it_costs_is_told(name: str, place: Path) -> None:
    print(row_disk.CASES[name](place))


@pytest.mark.mounts
def test_a_card_that_was_read_only_gets_what_waited_within_a_minute_of_its_mending(place: Path) -> None:
    print(row_disk.read_only(place, flood=0))


@pytest.mark.parametrize("name", row_clock.JUMPS)
def test_a_clock_that_jumps_crashes_nothing_runs_nothing_stale_and_keeps_the_order(
    name: str, place: Path
) -> None:
    print(row_clock.jump(name, place))


@pytest.mark.parametrize("name", row_stop.CASES)
def test_a_process_that_stands_still_is_found_in_time_and_told(name: str, place: Path) -> None:
    print(row_stop.case(name, Random(name), place / name, watchdog_s=WATCHDOG_S))

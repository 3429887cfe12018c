"""The short form of the torture table: card, database, clock, SIGSTOP. The full form is ``make torture``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import row_clock
import row_database
import row_disk
import row_soak
import row_stop
from kits import Failed

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(300)]
"""All kinds of a fault in one go, with rooms side by side, which mostly wait."""

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
def test_a_card_that_fails_stops_no_command_and_what_it_costs_is_told(place: Path) -> None:
    print(row_disk.run(len(row_disk.CASES), 1, place, flood=0))


def test_a_clock_that_jumps_crashes_nothing_runs_nothing_stale_and_keeps_the_order(place: Path) -> None:
    print(row_clock.run(len(row_clock.JUMPS), 1, place))


def test_a_process_that_stands_still_is_found_in_time_and_told(place: Path) -> None:
    print(row_stop.run(len(row_stop.CASES), 1, place, watchdog_s=WATCHDOG_S))


def _samples(kib_a_s: float, descriptors_at_the_end: int = 20) -> list[row_soak.Sample]:
    return [
        row_soak.Sample(
            float(at_s), 30_000 + kib_a_s * at_s + at_s % 7, 20 if at_s < 4900 else descriptors_at_the_end, 6
        )
        for at_s in range(5000)
    ]


def test_the_soak_knows_a_leak_of_memory_and_of_one_descriptor() -> None:
    assert "20 descriptors" in row_soak.judge(_samples(0.5 / 86.4))  # half a MiB a day, roughly
    with pytest.raises(Failed, match="KiB a day"):
        row_soak.judge(_samples(2.0 * 1024 / 86_400))
    with pytest.raises(Failed, match="memory grew by"):
        row_soak.judge(_samples(0.5))
    with pytest.raises(Failed, match="20 in the first half, 21 in the second"):
        row_soak.judge(_samples(0.0, descriptors_at_the_end=21))

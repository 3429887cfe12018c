"""The short form of the torture table: kills, broker, line, bridge. The full form is ``make torture``."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest
import row_bridge
import row_broker
import row_kill
import row_line
from door import Door
from kits import until
from row_broker import envelope

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(300)]
"""Each is one of the table's many faults in one go, with rooms side by side: that takes its time."""


@pytest.mark.parametrize("seed", [1, 2])
def test_fifty_kills_lose_nothing_that_was_acknowledged(seed: int, tmp_path: Path) -> None:
    print(row_kill.run(50, seed, tmp_path))


@pytest.mark.parametrize("seed", [1, 2])
def test_ten_broken_brokers_lose_nothing_and_are_not_hammered(seed: int, tmp_path: Path) -> None:
    print(row_broker.run(10, seed, tmp_path))


def test_twenty_cut_lines_lose_nothing_and_are_back_within_a_minute(tmp_path: Path) -> None:
    print(row_line.run(20, 1, tmp_path))


def test_a_backlog_is_delivered_at_twenty_a_second(tmp_path: Path) -> None:
    took_s, most = row_line.backlog(200, tmp_path / "backlog")
    assert most <= row_line.PER_S_MAX + 2
    assert 200 / row_line.PER_S_MAX - 2 < took_s < 30


def test_five_bridges_that_lose_are_repaired(tmp_path: Path) -> None:
    print(row_bridge.run(5, 1, tmp_path))


def test_the_envelope_knows_a_late_try_a_hammer_and_none_at_all() -> None:
    assert envelope([1.0, 2.0, 4.0], 0.5, 9.0) is None
    assert "came 4.5 s after" in str(envelope([5.0], 0.5, 9.0))
    assert "10 tries" in str(envelope([0.5 + number / 10 for number in range(1, 11)], 0.5, 9.0))
    assert envelope([], 0.5, 9.0) == "no try at all"


def test_a_door_counts_who_knocks_even_when_it_lets_nobody_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        door = Door(upstream.getsockname()[1])
        door.go("refusing")
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", door.port), 5) as caller:
            assert caller.recv(1) == b""
        assert until(lambda: len(door.attempts) == 1, 5)
        door.close()

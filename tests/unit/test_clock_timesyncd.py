"""Whether the clock is synced, where the kernel may not be asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diemcau_agent.clock import BELIEVED_S, Timesyncd

WALL_S, MONO_S = 1_795_332_600.0, 1_000.0


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    path = tmp_path / "synchronized"
    path.touch()
    os.utime(path, (WALL_S, WALL_S))
    return path


def test_a_clock_that_timesyncd_has_set_is_synced_as_long_as_the_kernel_believes_it(mark: Path) -> None:
    timesyncd = Timesyncd(mark)
    for later_s in (0.0, 1.0, BELIEVED_S - 1):
        assert timesyncd.synced(WALL_S + later_s, MONO_S + later_s)
    assert not timesyncd.synced(WALL_S + BELIEVED_S, MONO_S + BELIEVED_S)


def test_a_clock_that_nobody_has_set_is_not_synced(tmp_path: Path) -> None:
    assert not Timesyncd(tmp_path / "no" / "folder").synced(WALL_S, MONO_S)


@pytest.mark.parametrize("jump_s", [3.0, 3600.0, -3.0, -3600.0])
def test_a_clock_that_was_set_by_another_is_not_synced_until_timesyncd_sets_it_again(
    mark: Path, jump_s: float
) -> None:
    timesyncd = Timesyncd(mark)
    assert timesyncd.synced(WALL_S + 10, MONO_S + 10)
    assert not timesyncd.synced(WALL_S + 20 + jump_s, MONO_S + 20)
    os.utime(mark, (WALL_S + 30, WALL_S + 30))
    assert timesyncd.synced(WALL_S + 31, MONO_S + 31)


def test_a_clock_stays_synced_while_it_is_slewed(mark: Path) -> None:
    timesyncd = Timesyncd(mark)
    assert timesyncd.synced(WALL_S, MONO_S)
    assert timesyncd.synced(WALL_S + 2049, MONO_S + 2048)


def test_a_clock_is_not_synced_any_more_once_timesyncd_has_gone(mark: Path) -> None:
    timesyncd = Timesyncd(mark)
    assert timesyncd.synced(WALL_S, MONO_S)
    mark.unlink()
    assert not timesyncd.synced(WALL_S + 1, MONO_S + 1)

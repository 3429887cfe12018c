"""What is known of the session before, whatever of it was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent.signs import (
    CARD_PACE_S,
    COMMITTED_WITHIN_S,
    FED_S,
    AliveMark,
    Sign,
    committed,
    in_memory,
    newest,
    now,
)
from diemcau_agent.stamp import Stamp
from fakeclock import FakeClock


class Kept:
    """A spool's newest documents."""

    def __init__(self, **documents: bytes) -> None:
        self._documents = documents

    async def newest(self, stream: str, limit: int) -> list[bytes]:
        return [self._documents[stream]][:limit] if stream in self._documents else []


def document(**more: Any) -> bytes:
    return json.dumps(
        {
            "schema": "diemcau.event/1", "point": "xp-0417", "boot": "one", "session": 3, "mono_ms": 5_000,
            "time": "2026-11-22T07:30:00.000Z", "clock": "synced", **more,
        }
    ).encode()  # fmt: skip


def sign(session: int, mono_ms: int) -> Sign:
    return Sign("one", session, mono_ms, "2026-11-22T07:30:00.000Z", "synced")


def test_a_mark_is_read_as_it_was_written(tmp_path: Path, clock: FakeClock) -> None:
    mark = AliveMark(tmp_path)
    assert mark.read() is None
    wrote = now(Stamp("xp-0417", "one", 3, clock), within_s=10.0)
    mark.write(wrote)
    assert mark.read() == wrote
    assert (wrote.boot, wrote.session, wrote.mono_ms, wrote.clock) == ("one", 3, 1_000_000, "synced")
    assert [path.name for path in tmp_path.iterdir()] == ["alive.json"]


@pytest.mark.parametrize("damage", [b"", b"\0" * 200, b'{"boot": 1}', b"\xff\xfe", b"[]"])
def test_a_mark_that_is_none_is_taken_for_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "alive.json").write_bytes(damage)
    assert AliveMark(tmp_path).read() is None


def test_a_mark_that_cannot_be_written_stops_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = AliveMark(tmp_path / "gone")
    for _ in range(3):
        mark.write(sign(3, 1))
    assert len(caplog.records) == 1


async def test_the_spools_last_commits_are_signs_of_life() -> None:
    goodbye = document(kind="agent_stopping", mono_ms=6_000)
    found = await committed(Kept(event=goodbye, telemetry=document(window_s=60)))
    assert [(one.mono_ms, one.stopping, one.within_s) for one in found] == [
        (6_000, True, 0.0),
        (5_000, False, COMMITTED_WITHIN_S),
    ]


@pytest.mark.parametrize("damage", [b"", b"{}", b"null", b"\0\0\0", document(session="three")])
async def test_a_damaged_document_is_no_sign(damage: bytes) -> None:
    assert await committed(Kept(event=damage)) == []


async def test_a_new_spool_knows_nothing() -> None:
    assert await committed(Kept()) == []


def test_the_newest_of_an_earlier_session_counts() -> None:
    signs = [sign(3, 9_000), None, sign(4, 1_000), sign(4, 2_000), sign(5, 1)]
    assert newest(signs, 5) == sign(4, 2_000)
    assert newest([None, sign(5, 1)], 5) is None


def test_what_is_in_memory_is_told_by_the_mounts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/mmcblk0p2 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/sda1 /run/media ext4 rw 0 0\n"
    )
    assert in_memory(Path("/run/diemcau"), mounts)
    assert not in_memory(Path("/var/lib/diemcau"), mounts)
    assert not in_memory(Path("/run/media/x"), mounts)
    assert not in_memory(Path("/running"), mounts)
    assert not in_memory(Path("/run/diemcau"), tmp_path / "none")


def test_a_mark_that_is_on_a_card_costs_it_one_small_write_a_minute(tmp_path: Path, clock: FakeClock) -> None:
    stamp = Stamp("xp-0417", "one", 3, clock)
    mark = AliveMark(tmp_path)
    mark.pace_s = CARD_PACE_S
    written: list[Sign] = []

    def write(sign: Sign) -> None:
        written.append(sign)

    mark.write = write
    for _ in range(360):
        mark.renew(stamp)
        clock.mono_s += FED_S
    assert len(written) == 60
    assert written[0].within_s == CARD_PACE_S + FED_S

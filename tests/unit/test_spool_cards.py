"""A card that is full, read-only or broken: the spool is up, commands run, what could not be kept is told.

The file systems are real, and so are their errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cards
from command_room import Room
from diemcau_agent.database import DatabaseError
from diemcau_agent.spool import Drop, Record, Replaced, Spool
from fakeclock import FakeClock

pytestmark = pytest.mark.mounts

BIG = b"x" * 3000


def big(spool: str, seq: int) -> bytes:
    return BIG


async def told(spool: Spool) -> list[Drop]:
    facts: list[Drop] = []

    def describe(fact: Drop | Replaced) -> Callable[[str, int], bytes]:
        assert isinstance(fact, Drop)
        facts.append(fact)
        return lambda spool, seq: b"told"

    await spool.tell(describe)
    return facts


async def commands_run(folder: Path, spool: Spool, clock: FakeClock, ident: str) -> None:
    """One that changes something is accepted, done once, and answered again when it comes again."""
    room = Room(spool, folder, clock, 3, "boot")
    room.workers.answers["display", "set"] = {"message": "here"}
    for _ in range(2):
        reply = await room.order("display", {"message": "here"}, id=ident)
        assert (reply.state, reply.id) == ("done", ident)
    assert len(room.workers.asked) == 1
    await room.dispatcher.aclose()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with cards.tmpfs(tmp_path / "card", "2m") as folder:
        yield folder


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    with cards.ext4(tmp_path / "card", tmp_path / "image", "32m") as folder:
        yield folder


async def test_a_card_of_two_megabytes_is_used_up_and_the_oldest_goes_from_then_on(
    small: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(small / "spool.sqlite")
    uuid = spool.uuid
    for number in range(1, 1501):
        assert await spool.append("event", big) == number
    drops = await told(spool)
    assert {(drop.stream, drop.reason, drop.spool) for drop in drops} == {("event", "spool_full", uuid)}
    gone = [number for drop in drops for number in range(drop.first or 0, (drop.last or 0) + 1)]
    left = [record.seq for record in await spool.pending(9999)]
    assert sorted(gone + left) == list(range(1, left[-1] + 1))
    assert len(left) > 100
    await commands_run(small, spool, clock, "on-a-full-card")
    await spool.close()
    spool = await Spool.open(small / "spool.sqlite")
    assert spool.uuid == uuid
    assert [record.seq for record in await spool.pending(9999)] == left
    await spool.close()


async def test_delivered_documents_go_first_on_a_full_card_too(small: Path) -> None:
    spool = await Spool.open(small / "spool.sqlite")
    for number in range(1, 1201):
        assert await spool.append("event", big) == number
        await spool.acknowledge(Record(spool.uuid, "event", number, b""))
    assert await told(spool) == []
    await spool.close()


async def test_a_card_that_somebody_else_fills_keeps_what_it_has_and_takes_events_on(
    small: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(small / "spool.sqlite")
    for _ in range(50):
        await spool.append("event", big)
    filler = cards.fill(small)
    kept = 50
    for _ in range(200):
        kept += await spool.append("event", big) is not None
    await commands_run(small, spool, clock, "while-full")
    filler.unlink()
    await spool.tend()
    seqs = [record.seq for record in await spool.pending(9999)]
    drops = await told(spool)
    gone = [number for drop in drops if drop.first for number in range(drop.first, (drop.last or 0) + 1)]
    assert sorted(gone + seqs) == list(range(1, 251))
    assert kept > 50
    await spool.close()


async def test_a_card_that_is_full_from_the_start_is_used_as_soon_as_there_is_room(
    small: Path, clock: FakeClock
) -> None:
    filler = cards.fill(small)
    spool = await Spool.open(small / "spool.sqlite")
    session = await spool.next_session()
    assert await spool.append("event", big) is None
    await commands_run(small, spool, clock, "in-memory")
    filler.unlink()
    await spool.tend()
    assert [record.seq for record in await spool.pending(9)] == [1]
    assert await spool.next_session() == session + 1
    await commands_run(small, spool, clock, "on-the-card")
    await spool.close()


async def test_a_card_that_is_read_only_from_the_start_is_used_once_it_can_be_written(
    ext4: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(ext4 / "spool.sqlite")
    uuid = spool.uuid
    for _ in range(3):
        await spool.append("event", big)
    await spool.close()
    cards.remount(ext4, "ro")
    spool = await Spool.open(ext4 / "spool.sqlite")
    assert await spool.append("event", big) is None
    await spool.tend()
    await commands_run(ext4, spool, clock, "in-memory")
    cards.remount(ext4, "rw")
    await spool.tend()
    assert spool.uuid == uuid
    assert [record.seq for record in await spool.pending(9)] == [1, 2, 3, 4]
    await commands_run(ext4, spool, clock, "on-the-card")
    ids = await spool.run(lambda db: [name for (name,) in db.execute("SELECT id FROM command")])
    assert ids == ["on-the-card"]
    await spool.close()


async def test_a_file_system_that_turns_read_only_in_use_takes_nothing_that_was_acknowledged(
    ext4: Path, clock: FakeClock
) -> None:
    spool = await Spool.open(ext4 / "spool.sqlite")
    for _ in range(3):
        await spool.append("event", big)
    cards.remount(ext4, "abort")
    assert await spool.append("event", big) is None
    await spool.tend()
    assert await spool.append("event", big) is None
    assert [record.seq for record in await spool.pending(9)] == [1, 2, 3]  # reading goes on
    await commands_run(ext4, spool, clock, "in-memory")
    assert spool.alive
    with pytest.raises(DatabaseError):
        await spool.close()


async def test_a_card_with_write_errors_takes_nothing_that_was_acknowledged(
    tmp_path: Path, clock: FakeClock
) -> None:
    """The device below the file system has no room for what is written to it: it answers EIO."""
    with cards.tmpfs(tmp_path / "below", "6m") as below:
        with cards.ext4(tmp_path / "card", below / "image", "64m") as folder:
            spool = await Spool.open(folder / "spool.sqlite")
            uuid = spool.uuid
            told: list[int] = []
            cards.fill(below)
            for _ in range(2000):
                seq = await spool.append("event", big)
                if seq is None:
                    break
                told.append(seq)
            assert len(told) < 2000
            await commands_run(folder, spool, clock, "in-memory")
            for _ in range(20):
                await spool.append("event", big)
                await spool.tend()
            assert spool.alive
            with pytest.raises(DatabaseError):
                await spool.close()
        (below / "filler").unlink()
        device = cards.run("losetup", "--find", "--show", str(below / "image")).strip()
        cards.run("mount", device, str(tmp_path / "card"))
        try:
            spool = await Spool.open(tmp_path / "card" / "spool.sqlite")
            assert spool.uuid == uuid
            assert [record.seq for record in await spool.pending(9999)][: len(told)] == told
            await spool.close()
        finally:
            cards.run("umount", str(tmp_path / "card"))
            cards.run("losetup", "--detach", device)

"""The spool's promises: what is acknowledged stays, numbers have no gap and never come back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from diemcau_agent import database
from diemcau_agent.database import Full, Locked, transaction
from diemcau_agent.spool import BATCH, Drop, Record, Replaced, Spool
from steered_spool import crash


def body(text: str = "x") -> Callable[[str, int], bytes]:
    return lambda spool, seq: text.encode()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = await Spool.open(tmp_path / "spool.sqlite")
    yield spool
    await spool.close()


async def numbers(spool: Spool, limit: int = 10_000) -> list[tuple[str, int]]:
    return [(record.stream, record.seq) for record in await spool.pending(limit)]


async def acknowledge(spool: Spool, stream: str, seq: int) -> None:
    await spool.acknowledge(Record(spool.uuid, stream, seq, b""))


def described(told: list[Drop | Replaced]) -> Callable[[Drop | Replaced], Callable[[str, int], bytes]]:
    def describe(fact: Drop | Replaced) -> Callable[[str, int], bytes]:
        told.append(fact)
        return lambda spool, seq: b"told"

    return describe


async def test_an_event_is_pending_as_soon_as_append_returns(spool: Spool) -> None:
    assert await spool.append("event", lambda uuid, seq: f"{uuid} {seq}".encode()) == 1
    (record,) = await spool.pending(10)
    assert record == Record(spool.uuid, "event", 1, f"{spool.uuid} 1".encode())


async def test_telemetry_gets_its_number_and_is_handed_out_only_after_a_flush(spool: Spool) -> None:
    assert await spool.append("telemetry", body()) is None
    assert await numbers(spool) == []
    await spool.flush()
    assert await numbers(spool) == [("telemetry", 1)]


async def test_an_event_takes_waiting_telemetry_along_in_the_order_of_appending(spool: Spool) -> None:
    await spool.append("telemetry", body())
    await spool.append("event", body())
    assert [stream for stream, _ in await numbers(spool)] == ["telemetry", "event"]


async def test_a_full_batch_of_telemetry_commits_itself(spool: Spool) -> None:
    for _ in range(BATCH):
        await spool.append("telemetry", body())
    assert len(await numbers(spool)) == BATCH


async def test_pending_is_bounded_and_oldest_first_across_the_streams(spool: Spool) -> None:
    for _ in range(5):
        await spool.append("event", body())
        await spool.append("telemetry", body())
    await spool.flush()
    assert await numbers(spool, 3) == [("event", 1), ("telemetry", 1), ("event", 2)]


async def test_a_delivered_document_is_not_pending_again_but_its_row_stays(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    for number in range(1, 4):
        await spool.append("event", body(f"e{number}"))
    await acknowledge(spool, "event", 2)
    await acknowledge(spool, "event", 1)  # a late PUBACK never moves the cursor back
    assert await numbers(spool) == [("event", 3)]
    await spool.close()
    spool = await Spool.open(tmp_path / "s")
    assert await numbers(spool) == [("event", 3)]
    assert [record.seq for record in await spool.range("event", 1, 9, 9)] == [1, 2, 3]
    assert await spool.newest("event", 2) == [b"e2", b"e3"]
    await spool.close()


async def test_a_number_that_was_never_handed_out_cannot_be_acknowledged(spool: Spool) -> None:
    await spool.append("telemetry", body())
    with pytest.raises(ValueError, match="never handed out"):
        await acknowledge(spool, "telemetry", 1)


async def test_what_a_crash_takes_from_memory_leaves_no_gap(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    await spool.append("telemetry", body())
    await spool.flush()
    await spool.append("telemetry", body())
    await crash(spool)
    spool = await Spool.open(tmp_path / "s")
    await spool.append("telemetry", body())
    await spool.flush()
    assert await numbers(spool) == [("telemetry", 1), ("telemetry", 2)]
    await spool.close()


async def test_an_orderly_stop_keeps_waiting_telemetry(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    await spool.append("telemetry", body("kept"))
    await spool.close()
    spool = await Spool.open(tmp_path / "s")
    assert [record.payload for record in await spool.pending(10)] == [b"kept"]
    await spool.close()


async def test_a_document_that_cannot_be_built_uses_no_number_and_takes_no_other_with_it(
    spool: Spool,
) -> None:
    def broken(uuid: str, seq: int) -> bytes:
        raise RuntimeError("no payload")

    await spool.append("telemetry", body("before"))
    with pytest.raises(RuntimeError, match="no payload"):
        await spool.append("event", broken)
    assert await spool.append("event", body()) == 1
    assert await numbers(spool) == [("telemetry", 1), ("event", 1)]


async def test_everything_runs_in_the_one_named_thread_that_keeps_no_process_from_ending(
    spool: Spool,
) -> None:
    threads: set[threading.Thread] = set()

    def build(uuid: str, seq: int) -> bytes:
        threads.add(threading.current_thread())
        return b""

    await spool.append("event", build)
    threads.add(await spool.run(lambda _: threading.current_thread()))
    assert [(thread.name, thread.daemon) for thread in threads] == [("spool", True)]


# --- No room: small spools stand for the 64 MiB of a kit

SMALL = 256 * 1024
BIG = "x" * 3000


async def fill(spool: Spool, stream: str, count: int) -> None:
    for _ in range(count):
        await spool.append(stream, body(BIG))
    await spool.flush()


async def test_delivered_documents_make_room_first_and_nothing_is_lost(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=SMALL)
    for seq in range(1, 301):
        await spool.append("event", body(BIG))
        await acknowledge(spool, "event", seq)
    assert await numbers(spool) == []
    assert await spool.newest("event", 1) == [BIG.encode()]
    told: list[Drop | Replaced] = []
    await spool.tell(described(told))
    assert told == []
    await spool.close()


async def test_then_telemetry_goes_and_events_only_after_it_and_each_drop_is_told_with_its_range(
    tmp_path: Path,
) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=2 * SMALL)
    await fill(spool, "event", 20)
    await fill(spool, "telemetry", 200)
    told: list[Drop | Replaced] = []
    await spool.tell(described(told))
    (drop,) = told
    assert isinstance(drop, Drop)
    assert (drop.stream, drop.first, drop.reason, drop.spool) == ("telemetry", 1, "spool_full", spool.uuid)
    assert drop.last is not None
    assert drop.count == drop.last
    events = [seq for stream, seq in await numbers(spool) if stream == "event"]
    assert events == list(range(1, 22))  # all twenty, and the one that tells it
    left = [seq for stream, seq in await numbers(spool) if stream == "telemetry"]
    assert left == list(range(drop.last + 1, 201))

    told.clear()
    await fill(spool, "event", 200)
    await spool.tell(described(told))
    streams = [fact.stream for fact in told if isinstance(fact, Drop)]
    assert streams == ["telemetry", "event"]
    await spool.tell(described(told))
    assert len(told) == 2  # once told, forgotten
    await spool.close()


async def test_commands_are_never_dropped_for_documents(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=2 * SMALL)
    row = ("INSERT INTO command (id, claims) VALUES (?, ?)", ("one", b"{}"))
    await spool.run(lambda db: db.execute(*row).rowcount)
    await fill(spool, "event", 400)
    await spool.run(
        lambda db: db.execute("INSERT INTO command (id, claims) VALUES ('two', zeroblob(60000))").rowcount
    )
    ids = await spool.run(lambda db: [name for (name,) in db.execute("SELECT id FROM command ORDER BY age")])
    assert ids == ["one", "two"]
    await spool.close()


async def test_what_is_larger_than_the_spool_is_refused_and_the_next_goes_on(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=SMALL)
    with pytest.raises(Full):
        await spool.run(
            lambda db: db.execute("INSERT INTO command (id, claims) VALUES ('x', zeroblob(999999))")
        )
    assert await spool.append("event", body()) is not None
    await spool.close()


# --- The database


async def test_a_second_agent_cannot_open_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.05)
    spool = await Spool.open(tmp_path / "s")
    with pytest.raises(Locked):
        await Spool.open(tmp_path / "s")
    await spool.close()
    spool = await Spool.open(tmp_path / "s")
    await spool.close()


def test_a_file_is_brought_to_the_newest_version_step_by_step(tmp_path: Path) -> None:
    first = ("CREATE TABLE a (x INTEGER)",)
    database.connect(tmp_path / "d", first, max_bytes=1 << 20).close()
    both = (*first, "ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 7; INSERT INTO a (x) VALUES (1)")
    for _ in range(2):  # the second opening changes nothing
        db = database.connect(tmp_path / "d", both, max_bytes=1 << 20)
        assert db.execute("SELECT x, y FROM a").fetchall() == [(1, 7)]
        db.close()


async def test_commits_are_forced_to_the_card(spool: Spool) -> None:
    def pragmas(db: sqlite3.Connection) -> tuple[str, int]:
        return (
            db.execute("PRAGMA journal_mode").fetchone()[0],
            db.execute("PRAGMA synchronous").fetchone()[0],
        )

    assert await spool.run(pragmas) == ("wal", 2)


async def test_a_transaction_that_fails_leaves_nothing(spool: Spool) -> None:
    def fail(db: sqlite3.Connection) -> None:
        with transaction(db):
            db.execute("INSERT INTO restart VALUES ('host', 1.0)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await spool.run(fail)
    assert await spool.run(lambda db: db.execute("SELECT count(*) FROM restart").fetchone()[0]) == 0


async def test_sessions_grow_and_values_and_the_uuid_stay(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    spool = await Spool.open(tmp_path / "s")
    first = spool.uuid
    assert [await spool.next_session() for _ in range(2)] == [1, 2]
    await spool.put("k", "v")
    await spool.put("k", "w")
    await crash(spool)
    spool = await Spool.open(tmp_path / "s")
    assert spool.uuid == first
    assert await spool.next_session() == 3
    assert await spool.get("k") == "w"
    assert await spool.get("unknown") is None
    await spool.close()
    other = await Spool.open(tmp_path / "other" / "s")
    assert other.uuid != first
    await other.close()

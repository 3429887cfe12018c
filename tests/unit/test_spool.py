"""The spool's promises: what is acknowledged stays, numbers have no gap and never come back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from diemcau_agent.database import Corrupt, Database, Full, Locked, transaction
from diemcau_agent.spool import BATCH, SCHEMA, WAITING_LIMIT, Spool

BIG = b"x" * 3000


def payload(text: str = "x") -> bytes:
    return text.encode()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = await Spool.open(tmp_path / "spool.sqlite")
    yield spool
    await spool.close()


async def fill(spool: Spool) -> int:
    """Append events until there is no room; the last number given."""
    last = 0
    for _ in range(200):
        try:
            last = await spool.append("event", lambda seq: BIG)
        except Full:
            return last
    raise AssertionError("never full")


async def crash(spool: Spool) -> None:
    """Let go of the file without committing anything, as a SIGKILL would."""
    await spool.database.close()


async def test_an_event_is_pending_as_soon_as_append_returns(spool: Spool) -> None:
    assert await spool.append("event", lambda seq: payload(f"e{seq}")) == 1
    (record,) = await spool.pending(10)
    assert (record.stream, record.seq, record.payload) == ("event", 1, b"e1")


async def test_telemetry_is_handed_out_only_after_a_flush(spool: Spool) -> None:
    assert await spool.append("telemetry", lambda seq: payload()) == 1
    assert await spool.pending(10) == []
    await spool.flush()
    assert [record.seq for record in await spool.pending(10)] == [1]


async def test_an_event_takes_waiting_telemetry_along_in_the_order_of_appending(spool: Spool) -> None:
    await spool.append("telemetry", lambda seq: payload())
    await spool.append("event", lambda seq: payload())
    assert [record.stream for record in await spool.pending(10)] == ["telemetry", "event"]


async def test_a_full_batch_of_telemetry_commits_itself(spool: Spool) -> None:
    for _ in range(BATCH):
        await spool.append("telemetry", lambda seq: payload())
    assert len(await spool.pending(1000)) == BATCH


async def test_pending_is_bounded_and_skips_what_the_caller_holds(spool: Spool) -> None:
    for _ in range(5):
        await spool.append("event", lambda seq: payload())
        await spool.append("telemetry", lambda seq: payload())
    await spool.flush()
    assert [(r.stream, r.seq) for r in await spool.pending(3)] == [
        ("event", 1),
        ("telemetry", 1),
        ("event", 2),
    ]
    held = {"event": 2, "telemetry": 1}
    assert [(r.stream, r.seq) for r in await spool.pending(2, held)] == [("telemetry", 2), ("event", 3)]


async def test_a_delivered_document_is_not_pending_again_but_its_row_stays(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    for _ in range(3):
        await spool.append("event", lambda seq: payload())
    await spool.acknowledge("event", 2)
    await spool.acknowledge("event", 1)  # a late PUBACK never moves the cursor back
    assert [record.seq for record in await spool.pending(10)] == [3]
    await spool.close()
    spool = await Spool.open(tmp_path / "s")
    assert [record.seq for record in await spool.pending(10)] == [3]
    rows = await spool.database.run(lambda db: db.execute("SELECT count(*) FROM record").fetchone()[0])
    assert rows == 3
    await spool.close()


async def test_a_number_that_was_never_handed_out_cannot_be_acknowledged(spool: Spool) -> None:
    await spool.append("telemetry", lambda seq: payload())
    with pytest.raises(ValueError, match="never handed out"):
        await spool.acknowledge("telemetry", 1)


async def test_numbers_lost_in_memory_are_given_again_and_no_gap_is_left(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    await spool.append("telemetry", lambda seq: payload())
    await spool.flush()
    await spool.append("telemetry", lambda seq: payload())
    await crash(spool)
    spool = await Spool.open(tmp_path / "s")
    assert await spool.append("telemetry", lambda seq: payload()) == 2
    await spool.close()


async def test_an_orderly_stop_keeps_waiting_telemetry(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    await spool.append("telemetry", lambda seq: payload("kept"))
    await spool.close()
    spool = await Spool.open(tmp_path / "s")
    assert [record.payload for record in await spool.pending(10)] == [b"kept"]
    await spool.close()


async def test_a_document_that_cannot_be_built_uses_no_number(spool: Spool) -> None:
    def broken(seq: int) -> bytes:
        raise RuntimeError("no payload")

    with pytest.raises(RuntimeError):
        await spool.append("event", broken)
    assert await spool.append("event", lambda seq: payload()) == 1


async def test_everything_runs_in_the_one_named_thread(spool: Spool) -> None:
    names: set[str] = set()

    def build(seq: int) -> bytes:
        names.add(threading.current_thread().name)
        return payload()

    await spool.append("event", build)
    names.add(await spool.database.run(lambda _: threading.current_thread().name))
    assert names == {"spool_0"}


async def test_the_oldest_delivered_documents_make_room_and_none_that_waits_does(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", keep_rows=20)
    for _ in range(20):
        await spool.append("event", lambda seq: payload())
    await spool.acknowledge("event", 12)
    await spool.append("event", lambda seq: payload())

    def kept(db: sqlite3.Connection) -> list[int]:
        return [row[0] for row in db.execute("SELECT seq FROM record ORDER BY seq")]

    assert await spool.database.run(kept) == list(range(13, 22))
    await spool.close()


async def test_a_full_spool_drops_delivered_documents_before_it_refuses(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=256 * 1024)
    last = await fill(spool)
    await spool.acknowledge("event", last)
    assert await spool.append("event", lambda seq: BIG) == last + 1
    await spool.close()


async def test_a_full_spool_refuses_an_event_without_using_its_number(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=128 * 1024)
    last = await fill(spool)
    assert await spool.append("event", lambda seq: b"") == last + 1
    assert [record.seq for record in await spool.pending(1000)] == list(range(1, last + 2))
    await spool.close()


async def test_telemetry_waits_while_the_card_takes_none_and_memory_stays_bounded(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s", max_bytes=128 * 1024)
    await fill(spool)
    for number in range(1, WAITING_LIMIT + 1):
        assert await spool.append("telemetry", lambda seq: b"t" * 1000) == number
    with pytest.raises(Full):
        await spool.append("telemetry", lambda seq: b"t" * 1000)
    await crash(spool)


async def test_a_second_agent_cannot_open_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diemcau_agent.database._LOCK_WAIT_S", 0.05)
    spool = await Spool.open(tmp_path / "s")
    with pytest.raises(Locked):
        await Spool.open(tmp_path / "s")
    await spool.close()


async def test_a_file_that_is_no_database_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"\0" * 8192)
    with pytest.raises(Corrupt):
        await Spool.open(tmp_path / "s")


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "s")
    await spool.database.run(lambda db: db.execute(f"PRAGMA user_version = {len(SCHEMA) + 1}"))
    await spool.close()
    with pytest.raises(Corrupt, match="newer version"):
        await Spool.open(tmp_path / "s")


async def test_a_file_is_brought_to_the_newest_version_step_by_step(tmp_path: Path) -> None:
    first = ("CREATE TABLE a (x INTEGER)",)
    database = await Database.open(tmp_path / "d", first, max_bytes=1 << 20, thread="d")
    await database.close()
    both = (*first, "ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 7; INSERT INTO a (x) VALUES (1)")
    for _ in range(2):  # the second opening changes nothing
        database = await Database.open(tmp_path / "d", both, max_bytes=1 << 20, thread="d")
        assert await database.run(lambda db: db.execute("SELECT x, y FROM a").fetchall()) == [(1, 7)]
        await database.close()


async def test_commits_are_forced_to_the_card(spool: Spool) -> None:
    def pragmas(db: sqlite3.Connection) -> tuple[str, int]:
        return (
            db.execute("PRAGMA journal_mode").fetchone()[0],
            db.execute("PRAGMA synchronous").fetchone()[0],
        )

    assert await spool.database.run(pragmas) == ("wal", 2)


async def test_a_transaction_that_fails_leaves_nothing(spool: Spool) -> None:
    def fail(db: sqlite3.Connection) -> None:
        with transaction(db):
            db.execute("INSERT INTO pair VALUES ('value.k', 'v')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await spool.database.run(fail)
    assert await spool.get("k") is None


async def test_sessions_grow_and_values_and_the_uuid_stay(tmp_path: Path) -> None:
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
    await spool.close()
    other = await Spool.open(tmp_path / "other")
    assert other.uuid != first
    await other.close()

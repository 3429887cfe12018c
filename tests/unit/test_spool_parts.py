"""The parts below a spool: the log's end, what is known beside the file, the file itself, what memory holds,
and the journal of commands where the card takes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import database
from diemcau_agent.commands.journal import Journal
from diemcau_agent.database import Corrupt, DatabaseError, Full, Locked
from diemcau_agent.spool import wal
from diemcau_agent.spool.file import SpoolFile
from diemcau_agent.spool.side import Identity, Side
from diemcau_agent.spool.store import Store
from diemcau_agent.spool.tables import SCHEMA, Document, Stream
from diemcau_agent.spool.waiting import LIMIT, Waiting
from steered_spool import opened

MIB = 1024 * 1024
FRAME = 24 + 4096


def build(spool: str, seq: int) -> bytes:
    return b"x" * 100


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Of ten transactions, as a kill leaves it; beside its file."""
    path = tmp_path / "live" / "spool.sqlite3"
    path.parent.mkdir()
    file = SpoolFile(path, MIB)
    store = Store(file.connect(), 256)
    file.merge()
    for _ in range(10):
        store.commit([Document("event", build)])
    shutil.copytree(path.parent, tmp_path / "left")
    file.close()
    return tmp_path / "left" / "spool.sqlite3-wal"


# --- The log


def test_all_but_the_last_transaction_were_surely_committed(log: Path) -> None:
    content = log.read_bytes()
    frames = (len(content) - 32) // FRAME
    committed = wal.surely_committed(content)
    assert 0 < committed < frames
    assert wal.surely_committed(content[: 32 + committed * FRAME]) < committed


def test_a_torn_last_transaction_is_none_and_the_file_opens(log: Path) -> None:
    content = log.read_bytes()
    log.write_bytes(content[:-4096] + bytes(4096))  # the head of its last frame got there, its page did not
    file = SpoolFile(log.with_name("spool.sqlite3"), MIB)
    store = Store(file.connect(), 256)
    assert store.streams["event"] == Stream(9, 0)
    file.close()


def test_a_flipped_byte_before_that_is_damage(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[32 + 24 + 100] ^= 1
    log.write_bytes(content)
    file = SpoolFile(log.with_name("spool.sqlite3"), MIB)
    with pytest.raises(Corrupt, match="log is damaged"):
        file.connect()
    file.close()


@given(st.binary(max_size=3 * FRAME))
def test_no_bytes_make_reading_a_log_fail_in_another_way(content: bytes) -> None:
    try:
        assert wal.surely_committed(content) >= 0
    except Corrupt:
        pass


# --- Beside the file


def test_the_identity_is_whole_or_not_there(tmp_path: Path) -> None:
    side = Side(tmp_path / "spool.sqlite3")
    side.read()
    assert side.identity == Identity(None, 0)
    assert side.remember(Identity("u", 7))
    other = Side(tmp_path / "spool.sqlite3")
    other.read()
    assert other.identity == Identity("u", 7)
    path = tmp_path / "spool.identity"
    path.write_bytes(path.read_bytes().replace(b"7", b"8"))
    other.read()
    assert other.identity == Identity(None, 0)


def test_an_identity_that_cannot_be_written_is_told_and_the_old_one_stays(tmp_path: Path) -> None:
    side = Side(tmp_path / "gone" / "spool.sqlite3")
    assert not side.remember(Identity("u", 7))
    assert side.identity == Identity(None, 0)


def test_a_mark_counts_for_its_own_spool_only(tmp_path: Path) -> None:
    side = Side(tmp_path / "spool.sqlite3")
    side.mark("u", {"event": Stream(5, 1), "telemetry": Stream(2, 2)})
    side.mark("u", {"event": Stream(1234, 1), "telemetry": Stream(2, 2)})
    assert side.marked("u") == {"event": 1234, "telemetry": 2}
    assert side.marked("another") == {}
    side.close()


# --- The file


def test_a_header_of_another_kind_an_empty_file_with_a_log_and_a_folder_are_damage(log: Path) -> None:
    path = log.with_name("spool.sqlite3")
    good = path.read_bytes()
    for content in (b"", b"\0" * 8192, b"text", good[:18] + b"\3" + good[19:]):
        path.write_bytes(content)
        file = SpoolFile(path, MIB)
        with pytest.raises(Corrupt):
            file.connect()
        file.close()
    path.unlink()
    path.mkdir()
    file = SpoolFile(path, MIB)
    with pytest.raises(Corrupt):
        file.connect()
    file.close()


def test_a_file_of_a_newer_version_is_no_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    database.connect(
        path, (*SCHEMA, "CREATE TABLE later (x)"), max_bytes=MIB, functions={"checksum": max}
    ).close()
    file = SpoolFile(path, MIB)
    with pytest.raises(Corrupt, match="newer version"):
        file.connect()
    file.close()


def test_a_file_that_is_locked_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.05)
    path = tmp_path / "spool.sqlite3"
    first = SpoolFile(path, MIB)
    first.connect()
    path.with_name("spool.sqlite3-wal").write_bytes(b"what another agent is about to write")
    with pytest.raises(Locked):
        SpoolFile(path, MIB).connect()
    first.close()


def test_the_first_version_s_rows_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    with closing(database.connect(path, SCHEMA[:1], max_bytes=MIB)) as db:
        db.execute("INSERT INTO pair VALUES ('uuid', 'u-1')")
        db.execute("INSERT INTO stream VALUES ('event', 2, 1), ('telemetry', 1, 0)")
        db.execute("INSERT INTO record VALUES ('event', 1, 1, x'61'), ('telemetry', 1, 2, x'62')")
        db.execute("INSERT INTO record VALUES ('event', 2, 3, x'63')")
    file = SpoolFile(path, MIB)
    store = Store(file.connect(), 256)
    assert store.uuid == "u-1"
    assert [(record.stream, record.seq, record.payload) for record in store.pending(9)] == [
        ("telemetry", 1, b"b"),
        ("event", 2, b"c"),
    ]
    file.close()


def test_what_is_read_later_is_checked_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spool.sqlite3"
    file = SpoolFile(path, 8 * MIB)
    store = Store(file.connect(), 2048)
    for _ in range(300):
        store.commit([Document("event", lambda spool, seq: b"x" * 4000)])
    file.close()
    with path.open("r+b") as damaged:
        damaged.seek(200 * 4096)
        damaged.write(b"garbage!" * 512)
    monkeypatch.setattr("diemcau_agent.spool.file.READ_S", 0.0)
    monkeypatch.setattr("diemcau_agent.spool.file._MIB", 65536)
    file = SpoolFile(path, 8 * MIB)
    file.connect()
    with pytest.raises(Corrupt):
        file.read_on()
    file.close()


def test_ballast_is_given_up_once_and_made_again_when_there_is_room(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "spool.sqlite3", 64 * MIB)
    file.connect()
    assert (tmp_path / "spool.ballast").stat().st_blocks * 512 >= 512 * 1024
    file.release_ballast()
    assert not (tmp_path / "spool.ballast").exists()
    file.release_ballast()  # the log may have grown past what it gave: it is merged once more
    with pytest.raises(Full):
        file.release_ballast()
    file.refill_ballast()
    assert (tmp_path / "spool.ballast").exists()
    file.close()


# --- Memory


@given(st.lists(st.sampled_from(["event", "telemetry"]), max_size=40), st.integers(1, 7))
def test_what_is_taken_and_put_back_is_in_the_order_of_appending(streams: list[str], size: int) -> None:
    waiting = Waiting()
    for stream in streams:
        waiting.append(Document(stream, build))
    assert waiting.urgent == ("event" in streams)
    batches = waiting.take(size)
    assert len(waiting) == 0
    waiting.append(Document("event", build))
    for batch in reversed(batches):
        waiting.put_back(batch)
    (items,) = waiting.take(100)
    assert [item.document.stream for item in items] == [*streams, "event"]
    assert not waiting.lost


def test_beyond_the_limit_telemetry_goes_first_and_then_the_oldest() -> None:
    waiting = Waiting()
    for number in range(LIMIT + 4):
        waiting.append(Document("telemetry" if number < 3 else "event", build))
    assert len(waiting) == LIMIT
    assert waiting.lost == {"telemetry": 3, "event": 1}


# --- The journal


async def test_while_the_card_fails_memory_is_the_journal_and_is_written_down_after(tmp_path: Path) -> None:
    card = await opened(tmp_path)
    claims = b'{"id":"command-0","aud":"point/xp-0417","verb":"ping","iss":"op-1","iat":1,"exp":2}'
    journal = Journal(card.spool)
    await journal.accept("on-the-card", claims, None)
    card.broken = True
    await journal.accept("in-memory", claims, {"boot": "b"})
    entry = await journal.find("in-memory")
    assert entry is not None
    assert (entry.intent, entry.answer) == ({"boot": "b"}, None)
    await journal.finish("on-the-card", b'{"state":"done"}')
    await journal.finish("in-memory", b'{"state":"failed"}')
    for ident in ("on-the-card", "in-memory"):
        entry = await journal.find(ident)
        assert entry is not None
        assert entry.answer is not None
    await journal.note_restart("host", 1000.0)
    assert await journal.restarts("host", 1001.0) == 1
    card.broken = False
    await journal.accept("next", claims, None)
    await card.spool.close()

    with closing(sqlite3.connect(tmp_path / "spool.sqlite3")) as db:
        rows = dict(db.execute("SELECT id, answer FROM command"))
    assert rows == {"on-the-card": b'{"state":"done"}', "in-memory": b'{"state":"failed"}', "next": None}


async def test_memory_takes_so_many_commands_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diemcau_agent.commands.journal.MEMORY_LIMIT", 2)
    card = await opened(tmp_path)
    card.broken = True
    journal = Journal(card.spool)
    for number in range(2):
        await journal.accept(f"command-{number}", b"{}", None)
    with pytest.raises(Full):
        await journal.accept("command-2", b"{}", None)
    card.broken = False
    await card.spool.close()


async def test_a_damaged_entry_is_passed_over_and_its_command_does_not_run_again(tmp_path: Path) -> None:
    card = await opened(tmp_path)
    journal = Journal(card.spool)
    await card.spool.run(
        lambda db: db.execute("INSERT INTO command (id, claims) VALUES ('damaged', x'7b22')").rowcount
    )
    assert await journal.unfinished() == []
    with pytest.raises(DatabaseError, match="cannot be read"):
        await journal.find("damaged")
    await card.spool.close()

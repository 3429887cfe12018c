"""A spool whose files are flipped, truncated, zeroed: up at once, nothing wrong is ever handed out, nothing
is missing that nobody spoke of, no number and no session comes again, no command runs twice.

``SPOOL_CORRUPTIONS=500`` is the full form, ``SPOOL_SEED`` another one.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from diemcau_agent.commands.journal import Journal
from diemcau_agent.database import DatabaseError
from diemcau_agent.spool import Drop, Record, Replaced, Spool
from steered_spool import crash

COUNT = int(os.environ.get("SPOOL_CORRUPTIONS", "50"))
SEED = int(os.environ.get("SPOOL_SEED", "1"))
UP_S = 10.0
FILES = ("spool.sqlite3", "spool.sqlite3", "spool.sqlite3-wal", "spool.identity", "spool.mark")
CLAIMS = b'{"id":"command-0","aud":"point/xp-0417","verb":"ping","iss":"op-1","iat":1,"exp":2}'
COMMANDS = [f"command-{number}" for number in range(12)]
EVENTS, TELEMETRY, DELIVERED = 60, 80, 20
Name = tuple[str, int]


def payload(stream: str, seq: int) -> bytes:
    return f"{stream} {seq} ".encode() + b"x" * (17 * seq % 3000)


def build(stream: str) -> Callable[[str, int], bytes]:
    return lambda spool, seq: payload(stream, seq)


class Left:
    """A folder as a killed agent left it: some documents delivered, some not, commands done and not done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uuid = ""


async def write(folder: Path) -> Left:
    """Twice closed and opened, so that much is in the file; the last third is in the log."""
    live = folder / "live"
    live.mkdir()
    left = Left(folder / "left")
    for part in range(3):
        spool = await Spool.open(live / "spool.sqlite3", max_bytes=4 * 1024 * 1024)
        left.uuid = spool.uuid
        assert await spool.next_session() == part + 1
        journal = Journal(spool)
        for number in range(4):
            await journal.accept(COMMANDS[4 * part + number], CLAIMS, None)
        await journal.finish(COMMANDS[4 * part], b'{"state":"done"}')
        for _ in range(EVENTS // 3):
            await spool.append("event", build("event"))
        for _ in range(TELEMETRY // 3 + (part == 2) * (TELEMETRY % 3)):
            await spool.append("telemetry", build("telemetry"))
        await spool.acknowledge(Record(spool.uuid, "event", DELIVERED, b""))
        await spool.flush()
        if part == 2:
            shutil.copytree(live, left.folder)
            await crash(spool)
        else:
            await spool.close()
    return left


def damage(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    what = chance.choice(("flip", "flip", "truncate", "zero"))
    at = chance.randrange(len(content))
    if what == "flip":
        for _ in range(chance.choice((1, 1, 8))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif what == "truncate":
        del content[at:]
    else:
        length = min(chance.choice((1, 512, 4096, 65536)), len(content) - at)
        content[at : at + length] = bytes(length)
    file.write_bytes(content)
    return what


async def open_and_judge(folder: Path, left: Left) -> str:
    """What became of it. Raises AssertionError."""
    began = time.monotonic()
    spool = await Spool.open(folder / "spool.sqlite3", max_bytes=4 * 1024 * 1024)
    session = await spool.next_session()
    seq = await spool.append("event", build("event"))
    assert time.monotonic() - began < UP_S
    assert seq is not None
    facts: list[Drop | Replaced] = []

    def describe(fact: Drop | Replaced) -> Callable[[str, int], bytes]:
        facts.append(fact)
        return build("event")

    records: dict[tuple[str, str, int], bytes] = {}
    for _ in range(100):
        await spool.tell(describe)
        batch = await spool.pending(50)
        for record in batch:
            records[record.spool, record.stream, record.seq] = record.payload
            await spool.acknowledge(record)
        if not batch:
            break
    for (_, stream, number), content in records.items():
        assert content == payload(stream, number)
    lost = {
        (fact.spool, fact.stream, number)
        for fact in facts
        if isinstance(fact, Drop) and fact.first is not None and fact.last is not None
        for number in range(fact.first, fact.last + 1)
    }
    there = records.keys() | lost
    replaced = [fact for fact in facts if isinstance(fact, Replaced)]
    salvaged = sum(name[0] == left.uuid for name in records)
    due = {(left.uuid, "event", number) for number in range(DELIVERED + 1, EVENTS + 1)}
    due |= {(left.uuid, "telemetry", number) for number in range(1, TELEMETRY + 1)}
    if spool.uuid == left.uuid:
        assert replaced == []
        assert there >= due
        assert seq == EVENTS + 1
        assert session == 4
    else:
        (fact,) = replaced
        assert fact.previous == left.uuid
        assert fact.kept is not None
        assert (folder / fact.kept).exists()
        assert fact.salvaged == salvaged
        assert session >= 4
        if salvaged:  # whatever of it can be read says how far it had got
            assert there >= due
    replaced_by = spool.uuid
    await judge_commands(Journal(spool), whole=salvaged == len(due) or spool.uuid == left.uuid)
    await spool.close()
    if replaced_by == left.uuid:
        return "lost and told" if lost else "unharmed"
    return "replaced, most inherited" if salvaged > len(due) / 2 else "replaced"


async def judge_commands(journal: Journal, *, whole: bool) -> None:
    """Where all else could be read each is known, or refused since its entry is damaged."""
    known = 0
    for ident in COMMANDS:
        try:
            known += await journal.find(ident) is not None
        except DatabaseError:
            known += 1
    assert known >= len(COMMANDS) - 4 or not whole  # a page with some of them may be what was damaged
    assert {entry.id for entry in await journal.unfinished()} <= set(COMMANDS)


@pytest.mark.timeout(30 + COUNT)
def test_whatever_happens_to_its_files_the_spool_is_up_and_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = asyncio.run(write(tmp_path))
    assert (left.folder / "spool.sqlite3-wal").stat().st_size > 0
    became: Counter[str] = Counter()
    for number in range(COUNT):
        chance = random.Random(SEED * 1_000_000 + number)
        folder = tmp_path / str(number)
        shutil.copytree(left.folder, folder)
        file = chance.choice(FILES)
        what = damage(folder / file, chance)
        try:
            became[asyncio.run(open_and_judge(folder, left))] += 1
        except Exception as error:
            error.add_note(f"SPOOL_SEED={SEED}, number {number}: {what} of {file}")
            raise
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\n{COUNT} corruptions, seed {SEED}: {dict(became)}")
    assert became["unharmed"]
    assert became["replaced, most inherited"]


async def test_no_file_of_a_broken_spool_is_thrown_away_but_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    before: list[str] = []
    for _ in range(4):
        spool = await Spool.open(path)
        assert spool.uuid not in before
        before.append(spool.uuid)
        await spool.append("event", build("event"))
        await spool.close()
        path.write_bytes(b"no database")
    assert sorted(file.name for file in tmp_path.glob("*.broken")) == ["spool-2.broken", "spool-3.broken"]


async def test_damage_that_shows_only_while_it_runs_replaces_the_file_under_way(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    spool = await Spool.open(path)
    before = spool.uuid
    await spool.next_session()
    for _ in range(400):
        await spool.append("event", build("event"))
    await spool.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
    with path.open("r+b") as file:  # the oldest are no longer in SQLite's cache
        file.seek(30 * 4096)
        file.write(b"garbage!" * 512 * 20)
    records = await spool.pending(400)
    assert spool.uuid != before
    assert {record.spool for record in records} == {before}
    assert all(record.payload == payload("event", record.seq) for record in records)
    told: list[Drop | Replaced] = []

    def describe(fact: Drop | Replaced) -> Callable[[str, int], bytes]:
        told.append(fact)
        return build("event")

    await spool.tell(describe)
    assert told[0] == Replaced(before, "corrupt", "spool-1.broken", len(records))
    lost = sum(fact.count for fact in told[1:] if isinstance(fact, Drop))
    assert (len(records) + lost, lost > 0) == (400, True)
    assert await spool.next_session() == 2
    await spool.close()

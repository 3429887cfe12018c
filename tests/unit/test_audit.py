"""The record of what was done to the room: what it promises of itself, on a real card's file system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.audit import record as record_module
from diemcau_agent.audit.chain import DATA_BYTES, START, Head, Noted, Verdict, digest, link, read, verify
from diemcau_agent.audit.file import NAME, AuditFile, paths
from diemcau_agent.audit.record import Audit
from diemcau_agent.audit.switches import Switches
from diemcau_agent.stamp import Stamp
from fakeclock import FakeClock, settle


def noted(kind: str = "command", **data: Any) -> Noted:
    return Noted(
        time="2026-11-27T07:30:00.000Z", clock="synced", boot="b", session=1, mono_ms=5, kind=kind, data=data
    )


def chain(count: int) -> list[bytes]:
    lines: list[bytes] = []
    head = START
    for number in range(count):
        line, head = link(noted(number=number), head)
        lines.append(line + b"\n")
    return lines


def verdict(lines: Iterable[bytes], head: Head | None = None) -> Verdict:
    return verify([("audit.jsonl", lines)], head)


def of(directory: Path, head: Head | None = None) -> Verdict:
    return verify(
        [(path.name, path.read_bytes().splitlines(keepends=True)) for path in paths(directory)], head
    )


# --- The chain


def test_a_whole_record_is_whole_and_knows_its_span_and_head() -> None:
    lines = chain(5)
    found = verdict(lines)
    assert (found.whole, found.entries, found.breaks) == (True, 5, ())
    assert found.first is not None
    assert found.last is not None
    assert (found.first.n, found.last.n) == (1, 5)
    assert found.head == Head(5, digest(lines[-1].strip()))


def test_nothing_at_all_is_no_record() -> None:
    assert (verdict([]).whole, verdict([]).entries) == (False, 0)


@given(st.integers(3, 12), st.data())
def test_a_change_of_one_byte_shows(count: int, data: st.DataObject) -> None:
    lines = chain(count)
    at = data.draw(st.integers(0, count - 2))  # of the last line only a published head tells
    byte = data.draw(st.integers(0, len(lines[at]) - 2))
    changed = bytearray(lines[at])
    changed[byte] ^= data.draw(st.integers(1, 255))
    lines[at] = bytes(changed)
    assert not verdict(lines).whole


@given(st.integers(3, 12), st.data())
def test_a_line_taken_out_put_in_twice_or_moved_shows(count: int, data: st.DataObject) -> None:
    lines = chain(count)
    at = data.draw(st.integers(0, count - 2))
    assert not verdict(lines[:at] + lines[at + 1 :]).whole
    assert not verdict([*lines[: at + 1], lines[at], *lines[at + 1 :]]).whole
    moved = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
    assert not verdict(moved).whole


@given(st.integers(2, 12), st.data())
def test_what_is_cut_off_at_the_end_shows_against_a_head_that_was_published(
    count: int, data: st.DataObject
) -> None:
    lines = chain(count)
    kept = data.draw(st.integers(1, count - 1))
    published = Head(count, digest(lines[-1].strip()))
    assert verdict(lines, published).whole
    assert verdict(lines[:kept]).whole, "the chain alone cannot tell"
    assert not verdict(lines[:kept], published).whole


def test_a_chain_that_was_written_anew_does_not_hold_the_old_head() -> None:
    lines = chain(4)
    published = Head(4, digest(lines[-1].strip()))
    head, forged = START, list[bytes]()
    for number in range(4):
        line, head = link(noted(number=number + 100), head)
        forged.append(line + b"\n")
    assert verdict(forged).whole
    assert not verdict(forged, published).whole


def test_each_break_names_file_line_and_reason() -> None:
    lines = chain(8)
    lines[1] = b"rubbish\n"
    del lines[5]
    lines[-1] = lines[-1][:20]
    told = [(found.line, found.n, found.reason) for found in verdict(lines).breaks]
    assert told == [
        (2, None, "not_an_entry"), (3, 3, "missing_before"), (6, 7, "missing_before"), (7, None, "cut_off"),
    ]  # fmt: skip


def test_breaks_without_end_are_counted_and_the_first_told() -> None:
    found = verdict([b"x\n"] * 5000)
    assert (found.broken, len(found.breaks), found.entries) == (5000, 100, 0)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_file_however_damaged_is_too_much(lines: list[bytes]) -> None:
    found = verdict([line + b"\n" for line in lines])
    assert found.entries + found.broken >= len(lines)


# --- The files


def test_a_new_process_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    for session in range(3):
        file = AuditFile(tmp_path)
        file.append([noted(session=session), noted(session=session)])
        file.close()
    found = of(tmp_path)
    assert (found.whole, found.entries, found.told) == (True, 6, {})
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [b'{"time":"2026', b"\0" * 300, b"x"])
def test_a_line_torn_by_a_power_cut_is_told_and_the_chain_goes_on(tmp_path: Path, torn: bytes) -> None:
    file = AuditFile(tmp_path)
    file.append([noted(), noted()])
    file.close()
    with (tmp_path / NAME).open("ab") as card:
        card.write(torn)
    AuditFile(tmp_path).append([noted()])
    found = of(tmp_path)
    assert (found.whole, found.entries, found.told) == (True, 4, {"torn": 1})


def test_a_first_line_that_was_torn_is_told_too(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"time":')
    AuditFile(tmp_path).append([noted()])
    assert (of(tmp_path).whole, of(tmp_path).told) == (True, {"torn": 1})


@pytest.mark.parametrize("damage", [b"not an entry\n", b"\0" * 70_000, b"y" * 100_000 + b"\n"])
def test_a_file_that_cannot_be_read_is_set_aside_and_told(tmp_path: Path, damage: bytes) -> None:
    file = AuditFile(tmp_path)
    file.append([noted()])
    file.close()
    before = (tmp_path / NAME).read_bytes() + damage
    (tmp_path / NAME).write_bytes(before)
    AuditFile(tmp_path).append([noted()])
    assert (tmp_path / "audit.damaged").read_bytes() == before
    found = of(tmp_path)
    assert [entry.reason for entry in found.breaks] == ["damaged"]
    assert found.last is not None
    assert (found.entries, found.last.n) == (2, 2)


def test_files_are_of_a_bounded_size_and_number_and_the_first_entry_tells_what_is_gone(
    tmp_path: Path,
) -> None:
    file = AuditFile(tmp_path, max_bytes=2000, kept=2)
    for number in range(100):
        file.append([noted(number=number)])
        assert of(tmp_path, file.head).whole, number
    assert [path.name for path in paths(tmp_path)] == ["audit.2.jsonl", "audit.1.jsonl", "audit.jsonl"]
    assert all(path.stat().st_size < 2300 for path in paths(tmp_path))
    newest = read((tmp_path / NAME).read_bytes().splitlines()[0])
    oldest = of(tmp_path).first
    assert newest is not None
    assert oldest is not None
    assert (newest.kind, newest.data) == ("continued", {"oldest": oldest.n})
    assert oldest.n > 1


def test_an_old_file_that_somebody_took_away_shows(tmp_path: Path) -> None:
    file = AuditFile(tmp_path, max_bytes=2000, kept=3)
    for number in range(40):
        file.append([noted(number=number)])
    full = paths(tmp_path)
    assert len(full) == 4
    full[1].rename(tmp_path / "kept")
    assert [found.reason for found in of(tmp_path).breaks] == ["missing_before"]
    (tmp_path / "kept").rename(full[1])
    full[0].unlink()
    assert [found.reason for found in of(tmp_path).breaks] == ["beginning_missing"]


@pytest.mark.parametrize("at", range(1, 9))
def test_a_power_cut_at_any_step_of_a_rotation_loses_no_entry(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card fails from its ``at``-th operation on, for good: the next process finds what is there."""
    file = AuditFile(tmp_path, max_bytes=1000, kept=3)
    for number in range(12):
        file.append([noted(number=number)])
    file._max_bytes = 1  # the next one rotates
    steps = 0

    def failing(real: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps >= at:
                raise OSError("power")
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as cut:
        cut.setattr("pathlib.Path.replace", failing(Path.replace))
        for name in ("open", "write", "fsync"):
            cut.setattr(f"os.{name}", failing(getattr(__import__("os"), name)))
        try:
            file.append([noted(number=99)])
        except OSError:
            pass
        file.close()
    AuditFile(tmp_path, max_bytes=1000, kept=3).append([noted(number=100)])
    found = of(tmp_path)
    assert found.whole, found.breaks
    lines = [line for path in paths(tmp_path) for line in path.read_bytes().splitlines()]
    numbers = [json.loads(line)["data"].get("number") for line in lines]
    kept = [number for number in numbers if number is not None]
    assert kept[-1] == 100
    assert kept == [*range(kept[0], 12), *([99] if 99 in kept else []), 100]


def test_a_write_that_failed_half_way_is_not_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AuditFile(tmp_path)
    file.append([noted(number=0)])
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", refused)
        with pytest.raises(OSError, match="I/O"):
            file.append([noted(number=1), noted(number=2)])
    file.append([noted(number=1), noted(number=2)])
    found = of(tmp_path)
    assert (found.whole, found.entries) == (True, 3)


def test_two_agents_do_not_fork_the_chain(tmp_path: Path) -> None:
    first, second = AuditFile(tmp_path), AuditFile(tmp_path)
    first.append([noted()])
    with pytest.raises(OSError, match="Resource temporarily unavailable"):
        second.append([noted()])
    first.append([noted()])
    assert (of(tmp_path).whole, of(tmp_path).entries) == (True, 2)
    first.close()
    second.append([noted()])
    assert (of(tmp_path).whole, of(tmp_path).entries) == (True, 3)
    second.close()


def refused(*_: object) -> None:
    raise OSError("I/O error")


# --- Beside the event loop


@pytest.fixture
async def audit(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Audit]:
    made = Audit(tmp_path, Stamp("xp-0417", "boot-1", 1, clock), clock)
    task = asyncio.create_task(made.run(), name="audit")
    yield made
    task.cancel()
    await asyncio.wait([task])
    await made.aclose()


async def test_what_is_settled_is_on_the_card_and_its_head_is_known(audit: Audit, tmp_path: Path) -> None:
    assert audit.head is None
    audit.note("command", {"verb": "ping"})
    assert await audit.settle(5)
    found = of(tmp_path, audit.head)
    assert found.last is not None
    assert (found.whole, found.entries, found.last.data) == (True, 1, {"verb": "ping"})
    assert (found.last.boot, found.last.session, found.last.mono_ms) == ("boot-1", 1, 1_000_000)


async def test_what_comes_within_a_moment_is_written_at_once(
    audit: Audit, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    real = AuditFile.append

    def append(self: AuditFile, batch: Sequence[Noted]) -> None:
        batches.append(len(batch))
        real(self, batch)

    monkeypatch.setattr(AuditFile, "append", append)
    for number in range(20):
        audit.note("command", {"number": number})
        await settle()
    assert batches == []
    await clock.advance(record_module.BATCH_S)
    assert await audit.settle(5)
    assert batches == [20]


async def test_a_card_that_fails_loses_nothing_that_memory_holds_and_counts_the_rest(
    audit: Audit, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "WAITING_LIMIT", 5)
    with monkeypatch.context() as broken:
        broken.setattr(AuditFile, "_write", refused)
        for number in range(8):
            audit.note("command", {"number": number})
        assert not await audit.settle(5)
        assert not await audit.settle(1000), "at once: nobody waits for a card that fails"
        assert audit.head is None
    await clock.advance(record_module.RETRY_S)
    for _ in range(200):
        if audit.head is not None:
            break
        await asyncio.sleep(0.01)
    found = of(tmp_path)
    kinds = [entry.kind for line in (tmp_path / NAME).read_bytes().splitlines() if (entry := read(line))]
    assert found.whole
    assert kinds[:6] == ["command"] * 5 + ["lost"]
    assert found.told == {"lost": 1}
    assert b'"count":3' in (tmp_path / NAME).read_bytes()


async def test_an_entry_too_large_for_a_line_is_told_by_its_hash(audit: Audit, tmp_path: Path) -> None:
    audit.note("command", {"args": "x" * DATA_BYTES})
    assert await audit.settle(5)
    entry = of(tmp_path).last
    assert entry is not None
    assert set(entry.data) == {"too_large_bytes", "sha256"}


async def test_the_last_words_are_written_when_the_agent_stops(tmp_path: Path, clock: FakeClock) -> None:
    audit = Audit(tmp_path, Stamp("xp-0417", "b", 1, clock), clock)
    task = asyncio.create_task(audit.run(), name="audit")
    audit.note("agent_stopping", {})
    await settle()
    task.cancel()
    await asyncio.wait([task])
    await audit.aclose()
    assert of(tmp_path).entries == 1


async def test_a_damaged_file_keeps_nobody_from_starting(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / NAME).write_bytes(b"\xff" * 200_000)
    audit = Audit(tmp_path, Stamp("xp-0417", "b", 1, clock), clock)
    task = asyncio.create_task(audit.run(), name="audit")
    audit.note("agent_started", {})
    assert await audit.settle(5)
    assert msgspec.to_builtins(of(tmp_path).told) == {"damaged": 1}
    task.cancel()
    await asyncio.wait([task])
    await audit.aclose()


def test_each_mute_and_each_switch_of_the_camera_is_an_entry_with_whose_it_was() -> None:
    notes: list[dict[str, Any]] = []
    switches = Switches(lambda kind, data: notes.append(dict(data)))
    for device, readings in (
        ("microphone", {"muted": False}),
        ("microphone", {"muted": False, "level_dbfs": -40.0}),
        ("microphone", {"muted": True, "muted_by": "room"}),
        ("microphone", {}),  # gone for a while
        ("microphone", {"muted": True, "muted_by": "room"}),
        ("microphone", {"muted": True, "muted_by": "kit"}),
        ("microphone", {"muted": False}),
        ("camera", {"luma_mean": 0.4}),
        ("camera", {"power": False}),
        ("camera", {"width_px": 1920}),  # says nothing of it
        ("camera", {"luma_mean": 0.4}),
        ("speaker", {"muted": True}),
    ):
        switches.looked(device, readings)
    assert notes == [
        {"device": "microphone", "muted": False},
        {"device": "microphone", "muted": True, "by": "room"},
        {"device": "microphone", "muted": True, "by": "kit"},
        {"device": "microphone", "muted": False},
        {"device": "camera", "power": True},
        {"device": "camera", "power": False},
        {"device": "camera", "power": True},
    ]

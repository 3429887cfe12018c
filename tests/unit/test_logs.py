"""The agent's own log, and what of the journal may be read from afar."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diemcau_agent import logs


@pytest.fixture
def ring() -> Iterator[logs.Ring]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield logs.begin()
    root.handlers[:] = before
    root.setLevel(level)


def journalctl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_the_newest_lines_come_oldest_first(ring: logs.Ring) -> None:
    for number in range(5):
        logging.getLogger("diemcau").info("line %d", number)
    lines = await logs.journal_lines(ring, None, 2)
    assert [line.split(": ")[1] for line in lines] == ["line 3", "line 4"]
    assert await logs.journal_lines(ring, logs.AGENT_UNIT, 2) == lines


def test_memory_keeps_so_many_lines_and_no_more(ring: logs.Ring) -> None:
    for number in range(logs.KEPT_LINES + 10):
        logging.getLogger("diemcau").info("line %d", number)
    assert len(ring.lines) == logs.KEPT_LINES
    assert ring.lines[0].endswith("line 10")


def test_a_log_call_with_a_mistake_in_it_ends_nothing(
    ring: logs.Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("diemcau").info("%d lines", "many")
    logging.getLogger("diemcau").info("goes on")
    assert ring.lines[-1].endswith("goes on")


async def test_a_unit_that_could_name_a_person_is_not_read(ring: logs.Ring) -> None:
    with pytest.raises(OSError, match=r"chromium\.service"):
        await logs.journal_lines(ring, "chromium.service", 10)


async def test_another_units_lines_are_asked_of_the_journal(
    ring: logs.Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journalctl(tmp_path, 'echo "$@"; echo last', monkeypatch)
    asked, last = await logs.journal_lines(ring, "systemd-timesyncd.service", 7)
    assert "--lines=7" in asked
    assert "--unit=systemd-timesyncd.service" in asked
    assert last == "last"
    assert "--dmesg" in (await logs.journal_lines(ring, "kernel", 7))[0]


async def test_a_machine_without_a_journal_says_so(
    ring: logs.Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="no systemd journal"):
        await logs.journal_lines(ring, "kernel", 10)


def ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_a_journal_that_does_not_answer_is_ended_and_told(
    ring: logs.Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journalctl(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60", monkeypatch)
    monkeypatch.setattr(logs, "JOURNAL_S", 0.2)
    with pytest.raises(OSError, match="did not answer"):
        await logs.journal_lines(ring, "kernel", 10)
    assert ended(int((tmp_path / "pid").read_text()))


async def test_a_question_that_is_given_up_leaves_no_process(
    ring: logs.Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journalctl(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60", monkeypatch)
    asking = asyncio.create_task(logs.journal_lines(ring, "kernel", 10), name="asking")
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        await asyncio.sleep(0.001)
    asking.cancel()
    await asyncio.wait([asking])
    assert ended(int((tmp_path / "pid").read_text()))


async def test_serial_numbers_of_what_visitors_plug_in_are_left_out(
    ring: logs.Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journalctl(tmp_path, 'echo "usb 1-1: SerialNumber: 0123456789AB"; echo "usb 1-1: new"', monkeypatch)
    assert await logs.journal_lines(ring, "kernel", 5) == ["usb 1-1: SerialNumber: …", "usb 1-1: new"]

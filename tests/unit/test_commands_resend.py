"""``resend``: what the spool still holds goes out once more under its old numbers, slowly, and it is said
what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from command_room import Room, until
from diemcau_agent.commands.verbs import resend
from diemcau_agent.commands.verbs.resend import PAUSE_S
from diemcau_agent.model import Reply
from diemcau_agent.spool import Record
from fakeclock import FakeClock, settle


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = await Room.open(tmp_path, FakeClock())
    for _ in range(40):
        await room.spool.append("event", build)
    await room.spool.acknowledge(Record(room.spool.uuid, "event", 30, b""))
    yield room
    await room.close()


def build(spool: str, seq: int) -> bytes:
    return b"event %d" % seq


def args(room: Room, first: int, last: int, stream: str = "event") -> dict[str, Any]:
    return {"spool": room.spool.uuid, "stream": stream, "from": first, "to": last}


async def resent(room: Room, first: int, last: int, **changes: Any) -> Reply:
    """Send it, and let time pass until it is answered."""
    await room.send("resend", args(room, first, last), **changes)
    for _ in range(1000):
        await until(lambda: room.clock.sleepers > 0 or not room.dispatcher._running.tasks)
        if not room.dispatcher._running.tasks:
            break
        await room.clock.advance(PAUSE_S)
    await room.idle()
    return room.last


def gone(*numbers: int) -> Callable[[Any], int]:
    marks = ", ".join("?" * len(numbers))
    return lambda db: db.execute(f"DELETE FROM event WHERE seq IN ({marks})", numbers).rowcount


async def test_delivered_and_undelivered_documents_go_out_again_as_they_were(room: Room) -> None:
    reply = await resent(room, 28, 33)
    assert (reply.state, reply.result) == ("done", {"sent": 6, "missing": [], "next": None})
    assert room.documents == [("event", b"event %d" % number) for number in range(28, 34)]
    assert [record.seq for record in await room.spool.pending(99)] == list(range(31, 41))  # no cursor moved


async def test_what_is_not_there_any_more_or_never_was_is_named(room: Room) -> None:
    await room.spool.run(gone(1, 2, 20, 21, 22, 39))
    reply = await resent(room, 1, 45)
    assert reply.result == {
        "sent": 34,
        "missing": [[1, 2], [20, 22], [39, 39], [41, 45]],
        "next": None,
    }


async def test_a_stream_that_holds_nothing_is_all_missing(room: Room) -> None:
    await room.send("resend", args(room, 3, 9, "telemetry"))
    await room.idle()
    assert room.last.result == {"sent": 0, "missing": [[3, 9]], "next": None}


async def test_a_long_range_is_answered_in_parts(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "AT_ONCE", 10)
    reply = await resent(room, 5, 2**53)
    assert reply.result == {"sent": 10, "missing": [], "next": 15}


async def test_it_is_no_faster_than_ten_a_second_and_says_that_it_goes_on(room: Room) -> None:
    began_s = room.clock.mono_s
    await resent(room, 1, 40)
    assert room.clock.mono_s - began_s >= 39 * PAUSE_S - 1e-6
    running = [reply.result for reply in room.answers if reply.state == "running"]
    assert [said["sent"] for said in running] == [1, 11, 21, 31]


async def test_a_second_one_is_refused_while_one_runs(room: Room) -> None:
    await room.send("resend", args(room, 1, 40), id="command-1")
    await room.send("resend", args(room, 1, 40), id="command-2")
    await settle()
    await room.dispatcher._replies.told()
    assert [(reply.id, reply.code) for reply in room.answers if reply.state == "refused"] == [
        ("command-2", "busy")
    ]


async def test_where_the_connection_is_lost_it_says_after_how_many(room: Room) -> None:
    room.online = False
    reply = await resent(room, 1, 40)
    assert (reply.state, reply.code) == ("failed", "interrupted")
    assert reply.detail == "the connection was lost after 0 documents"

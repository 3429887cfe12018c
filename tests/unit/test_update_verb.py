"""``update``: what the room is told, from whichever session the end is seen."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_room import Room, until
from command_room import settings as room_settings
from diemcau_agent import __version__
from diemcau_agent.commands.outcome import Failed, Refused
from diemcau_agent.servers import Update
from diemcau_agent.update.ending import Ending
from fakeclock import FakeClock

ARGS = {"version": "9.1.0", "url": "https://updates.example/d.deb", "sha256": "ab" * 32}


class Updater:
    """Plays the client and root's process behind it."""

    def __init__(self) -> None:
        self.fetched: list[tuple[str, str, str]] = []
        self.installed: list[tuple[bytes, bytes]] = []
        self.endings: list[Ending | None] = []
        self.discarded = 0
        self.error: Exception | None = None
        self.on_fetch: Any = None

    async def fetch(self, url: str, version: str, sha256: str) -> bytes:
        if self.error is not None:
            raise self.error
        self.fetched.append((url, version, sha256))
        if self.on_fetch is not None:
            self.on_fetch()
        return b"release"

    async def install(self, command: bytes, release: bytes) -> None:
        self.installed.append((command, release))

    async def outcome(self, command_id: str) -> Ending | None:
        assert command_id == "command-update"
        return self.endings.pop(0) if self.endings else None

    def discard(self) -> None:
        self.discarded += 1


@pytest.fixture
async def room(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Room]:
    room = await Room.open(tmp_path, clock)
    yield room
    await room.close()


@pytest.fixture
def updater(room: Room) -> Updater:
    made = Updater()
    room.rewire(update=made)
    return made


async def test_it_hands_on_only_what_is_well_formed_and_never_by_force(room: Room, updater: Updater) -> None:
    bad = [{"version": "../x"}, {"url": "http://updates.example"}, {"url": "https://u:p@updates.example/d"},
           {"sha256": "AB" * 32}, {"sha256": "ab"}, {"force": True}]  # fmt: skip
    for number, change in enumerate(bad):
        assert (await room.order("update", ARGS | change, id=f"update-{number}")).code == "bad_args"
    assert updater.fetched == []


async def test_done_is_the_new_version_and_an_event_tells_it(room: Room, updater: Updater) -> None:
    updater.endings = [Ending("installed", "1.1.0", "9.1.0")]
    reply = await room.order("update", ARGS)
    assert reply.result == {"before": "1.1.0", "version": "9.1.0"}
    assert updater.fetched == [(ARGS["url"], ARGS["version"], ARGS["sha256"])]
    ((command, release),) = updater.installed
    assert (b"command-update" in command, release) == (True, b"release")
    assert updater.discarded == 1
    (told,) = [event for event in room.events if event["kind"] == "update"]
    assert (told["from_"], told["to"], told["code"]) == ("1.1.0", "9.1.0", None)
    assert told["data"]["state"] == "installed"


async def test_what_was_rolled_back_has_failed_and_says_why(room: Room, updater: Updater) -> None:
    updater.endings = [Ending("rolled_back", "1.1.0", "9.1.0", "the agent is not READY")]
    reply = await room.order("update", ARGS)
    assert (reply.state, reply.code) == ("failed", "rolled_back")
    assert reply.detail == "9.1.0: the agent is not READY"
    (told,) = [event for event in room.events if event["kind"] == "update"]
    assert told["code"] == "rolled_back"
    assert told["data"]["reason"] == "the agent is not READY"


async def test_who_asks_while_it_is_installed_waits(room: Room, updater: Updater, clock: FakeClock) -> None:
    updater.endings = [None, None, Ending("installed", "1.1.0", "9.1.0")]
    await room.send("update", ARGS)
    for _ in range(2):
        await until(lambda: clock.sleepers > 0)
        await clock.advance(10.0)
    await room.idle()
    assert room.states[-1] == ("done", None)


async def test_the_version_that_is_here_already_is_done_at_once(room: Room, updater: Updater) -> None:
    reply = await room.order("update", ARGS | {"version": __version__})
    assert reply.result == {"before": __version__, "version": __version__}
    assert (updater.fetched, updater.installed) == ([], [])


@pytest.mark.parametrize("freezes", [True, False])
async def test_while_a_conference_is_on_it_is_refused_also_where_nothing_is_frozen(
    room: Room, updater: Updater, freezes: bool
) -> None:
    room.conference, room.freezes = True, freezes
    reply = await room.order("update", ARGS)
    assert (reply.state, reply.code) == ("refused", "frozen")
    assert reply.detail == "a conference is on: no update begins before it has ended"
    assert updater.fetched == []


@pytest.mark.parametrize("freezes", [True, False])
async def test_one_of_a_group_that_waited_into_a_conference_is_refused(
    room: Room, updater: Updater, clock: FakeClock, freezes: bool
) -> None:
    group: dict[str, Any] = {"aud": "group/district-7", "nonce": None}
    await room.send("update", ARGS | {"spread_s": 600}, **group)
    await until(lambda: clock.sleepers > 0)
    room.conference, room.freezes = True, freezes
    await clock.advance(300.0)
    await room.idle()
    assert (room.last.state, room.last.code) == ("refused", "frozen")
    assert updater.fetched == []


@pytest.mark.parametrize("freezes", [True, False])
async def test_a_conference_that_begins_meanwhile_is_not_disturbed(
    room: Room, updater: Updater, freezes: bool
) -> None:
    room.freezes = freezes
    updater.on_fetch = lambda: setattr(room, "conference", True)
    reply = await room.order("update", ARGS)
    assert (reply.state, reply.code) == ("refused", "frozen")
    assert updater.installed == []
    assert updater.discarded == 1


@pytest.mark.parametrize("error", [Failed("download", "no route"), Refused("not_permitted", "release: x")])
async def test_what_cannot_be_fetched_or_believed_is_the_end(
    room: Room, updater: Updater, error: Failed | Refused
) -> None:
    updater.error = error
    reply = await room.order("update", ARGS)
    assert reply.code == error.code
    assert updater.installed == []


async def test_outside_the_rooms_window_it_is_refused(room: Room, updater: Updater) -> None:
    local = time.localtime(room.clock.wall())
    hour = (local.tm_hour + 2) % 24
    data = {"window": f"{hour:02}:00-{hour:02}:30"}
    room.settings = msgspec.structs.replace(room_settings(), update=Update(**data))
    reply = await room.order("update", ARGS)
    assert (reply.state, reply.code) == ("refused", "not_permitted")
    assert "update.window" in (reply.detail or "")
    assert updater.fetched == []


@asynccontextmanager
async def next_session(
    folder: Path, clock: FakeClock, endings: list[Ending | None]
) -> AsyncGenerator[tuple[Room, Updater]]:
    """The agent was stopped while it waited for the updater; it is back, not yet resumed, and ``endings`` is
    what it will hear."""
    room = await Room.open(folder, clock)
    room.rewire(update=Updater())
    await room.send("update", ARGS)
    await until(lambda: clock.sleepers > 0)
    await room.close()
    room, updater = await Room.open(folder, clock), Updater()
    try:
        updater.endings = endings
        room.rewire(update=updater)
        yield room, updater
    finally:
        await room.close()


async def test_the_next_session_answers_and_keeps_nothing_else_waiting(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with next_session(
        tmp_path, clock, [None, Ending("rolled_back", "1.1.0", "9.1.0", "camera: absent camera_absent")]
    ) as (room, updater):
        await room.dispatcher.resume()  # returns though nobody knows yet
        await room.send("ping")
        await room.replied()
        assert [(reply.verb, reply.state) for reply in room.answers] == [
            ("ping", "accepted"),
            ("ping", "done"),
        ]
        await until(lambda: clock.sleepers > 0)
        await clock.advance(10.0)
        await room.idle()
        (answer,) = [reply for reply in room.answers if reply.verb == "update"]
        assert (answer.state, answer.code) == ("failed", "rolled_back")
        assert updater.installed == []


async def test_one_that_was_stopped_before_it_was_handed_over_is_interrupted(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with next_session(tmp_path, clock, [Ending("unknown")]) as (room, _):
        await room.dispatcher.resume()
        await room.idle()
        assert [(reply.state, reply.code) for reply in room.answers] == [("failed", "interrupted")]

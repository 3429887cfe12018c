"""What was accepted runs once, ends once, and is answered again when asked again."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_room import ISS, POINT, Room, judged, settings, until
from diemcau_agent.commands import journal as journals
from diemcau_agent.commands.journal import Journal
from diemcau_agent.commands.outcome import Refused
from diemcau_agent.commands.running import RUNNING_LIMIT
from diemcau_agent.commands.signature import Unsigned
from diemcau_agent.commands.verbs.ping import Ping
from diemcau_agent.database import Corrupt, DatabaseError
from diemcau_agent.worker import Hung
from diemcau_drivers.contract import Absent, BadRequest, Broken, Busy, DeviceError, Unsupported
from fakeclock import FakeClock


@pytest.fixture
async def room(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Room]:
    room = await Room.open(tmp_path, clock)
    yield room
    await room.close()


async def test_a_command_is_accepted_then_done_and_told_as_an_event(room: Room) -> None:
    await room.order("ping")
    assert room.states == [("accepted", None), ("done", None)]
    assert {(reply.id, reply.verb, reply.schema) for reply in room.answers} == {
        ("command-ping", "ping", "diemcau.reply/1")
    }
    (event,) = room.events
    assert event["kind"] == "command"
    assert event["data"] == {"id": "command-ping", "verb": "ping", "iss": ISS, "state": "done"}


async def test_an_answer_waits_until_its_event_is_on_the_card(room: Room) -> None:
    committed = asyncio.Event()

    async def settle(timeout_s: float) -> None:
        await committed.wait()

    room.rewire(settle=settle)
    await room.send("identify", {"seconds": 1})
    await until(lambda: bool(room.events))
    assert [state for state, _ in room.states] == ["accepted"]
    committed.set()
    await room.idle()
    assert [state for state, _ in room.states] == ["accepted", "done"]


async def test_what_was_answered_in_the_journal_and_never_told_is_told_by_the_next_session(
    room: Room,
) -> None:
    claims = json.dumps(room.claims("identify", {"seconds": 1}, id="untold-1")).encode()
    answer = json.dumps({"id": "untold-1", "verb": "identify", "state": "done"}).encode()
    for name, kept in (("untold-1", answer), ("untold-2", b'{"damaged": true}')):
        await room.dispatcher._journal.accept(name, claims, None)
        await room.dispatcher._journal.finish(name, kept)
    await room.dispatcher.resume()
    assert [event["data"]["id"] for event in room.events] == ["untold-1"]

    told = b'{"kind": "command", "data": {"id": "untold-1"}}'
    await room.spool.append("event", lambda spool, seq: told)
    await room.dispatcher.resume()
    assert len(room.events) == 1


async def test_receive_returns_only_once_the_command_is_in_the_journal(room: Room) -> None:
    gate = asyncio.Event()

    async def wait(_: Mapping[str, Any]) -> dict[str, Any]:
        await gate.wait()
        return {}

    room.workers.answers["camera", "set"] = wait
    await room.send("camera", {"zoom": 2})
    (entry,) = await room.dispatcher._journal.unfinished()
    assert entry.id == "command-camera"
    gate.set()
    await room.idle()
    assert await room.dispatcher._journal.unfinished() == []


async def test_an_id_that_comes_again_gets_the_stored_answer_and_runs_nothing(room: Room) -> None:
    await room.order("identify")
    answer = room.replies[-1]
    room.nonces.clear()
    room.clock.wall_s += 3600
    await room.order("identify", iat=0, exp=60)
    assert room.replies[-1] == answer
    assert len(room.replies) == 3
    assert room.identified == [10.0]


async def test_an_id_that_comes_again_while_it_runs_is_still_accepted_and_runs_once(room: Room) -> None:
    gate = asyncio.Event()

    async def wait(_: Mapping[str, Any]) -> dict[str, Any]:
        await gate.wait()
        return {"zoom": 2}

    room.workers.answers["camera", "set"] = wait
    await asyncio.gather(*(room.send("camera", {"zoom": 2}) for _ in range(5)))
    await room.replied()
    assert room.states == [("accepted", None)] * 5
    gate.set()
    await room.idle()
    assert room.states[5:] == [("done", None)]
    assert len(room.workers.asked) == 1


async def test_an_id_used_by_another_command_is_refused_and_leaks_no_answer(room: Room) -> None:
    await room.order("logs")
    await room.order("logs", iss="operator-2")
    assert room.replies[-1][0] == "operator-2"
    assert (room.last.state, room.last.code) == ("refused", "bad_args")
    await room.order("ping", id="command-logs")
    assert (room.last.state, room.last.code) == ("refused", "bad_args")


async def test_a_refused_id_may_be_sent_again(room: Room) -> None:
    await room.order("ping", nonce="old")
    await room.order("ping")
    assert room.states == [("refused", "bad_nonce"), ("accepted", None), ("done", None)]


async def test_answers_are_given_again_after_a_restart_of_the_agent(tmp_path: Path, clock: FakeClock) -> None:
    room = await Room.open(tmp_path, clock)
    await room.order("identify")
    answer = room.replies[-1]
    await room.close()
    room = await Room.open(tmp_path, clock)
    await room.order("identify")
    assert room.replies == [answer]
    assert room.identified == []
    await room.close()


async def test_what_a_stop_cut_short_answers_interrupted_and_is_not_run_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    room = await Room.open(tmp_path, clock)

    async def wait(_: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    room.workers.answers["camera", "set"] = wait
    await room.send("camera", {"zoom": 2})
    await room.close()
    room = await Room.open(tmp_path, clock)
    await room.dispatcher.resume()
    await room.order("camera", {"zoom": 2})
    assert room.states == [("failed", "interrupted")] * 2
    assert room.workers.asked == []
    assert room.events[0]["data"]["state"] == "failed"
    await room.dispatcher.resume()
    assert len(room.answers) == 2
    await room.close()


async def test_resume_leaves_alone_what_this_session_runs(room: Room) -> None:
    gate = asyncio.Event()

    async def wait(_: Mapping[str, Any]) -> dict[str, Any]:
        await gate.wait()
        return {}

    room.workers.answers["camera", "set"] = wait
    await room.send("camera", {"zoom": 2})
    await room.dispatcher.resume()
    gate.set()
    await room.idle()
    assert room.states == [("accepted", None), ("done", None)]


DEVICE_ERRORS: list[tuple[DeviceError, str, str]] = [
    (Absent("gone"), "failed", "camera_absent"),
    (Broken("broke"), "failed", "camera_crashed"),
    (Hung("hung"), "failed", "camera_hung"),
    (Unsupported("no zoom"), "failed", "unsupported"),
    (Busy("taken", in_use_by="meet"), "refused", "busy"),
    (BadRequest("preset: got a, expected b"), "refused", "bad_args"),
]


@pytest.mark.parametrize(("error", "state", "code"), DEVICE_ERRORS, ids=[e.kind for e, _, _ in DEVICE_ERRORS])
async def test_a_devices_own_word_ends_its_command(
    room: Room, error: DeviceError, state: str, code: str
) -> None:
    room.workers.answers["camera", "set"] = error
    reply = await room.order("camera", {"preset": "a"})
    assert (reply.state, reply.code) == (state, code)
    assert error.detail in (reply.detail or "")
    assert room.events[-1]["device"] == "camera"
    room.workers.answers["camera", "set"] = {"zoom": 1}
    assert (await room.order("camera", {"zoom": 1}, id="the-next-one")).state == "done"


async def test_a_fault_in_a_handler_ends_its_command_and_nothing_else(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    room.workers.answers["camera", "set"] = ZeroDivisionError("a bug")
    with caplog.at_level(logging.ERROR):
        reply = await room.order("camera", {"zoom": 2})
    assert (reply.state, reply.code, reply.detail) == ("failed", "internal", "ZeroDivisionError: a bug")
    assert "Traceback" in caplog.text
    assert (await room.order("ping")).state == "done"


async def test_an_answer_that_cannot_be_written_ends_its_command_too(room: Room) -> None:
    room.workers.answers["camera", "set"] = {"state": object()}
    assert (await room.order("camera", {"zoom": 2})).code == "internal"


async def test_a_handler_that_never_ends_is_ended(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> Any:
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Ping, "run", never)
    monkeypatch.setattr(Ping, "deadline_s", 0.01)
    reply = await room.order("ping")
    assert (reply.state, reply.code) == ("failed", "deadline")


async def test_a_device_is_one_commands_at_a_time_and_others_go_on(room: Room) -> None:
    gate = asyncio.Event()

    async def wait(_: Mapping[str, Any]) -> dict[str, Any]:
        await gate.wait()
        return {}

    room.workers.answers["display", "set"] = wait
    await room.send("display", {"message": "one"})
    assert (await _refusal(room, "display", {"message": "two"}, id="message-2")) == "busy"
    assert (await _refusal(room, "restart", {"target": "display"})) == "busy"
    assert (await _refusal(room, "selftest", {})) == "busy"
    await room.send("camera", {"zoom": 2})
    await room.send("ping")
    gate.set()
    await room.idle()
    assert set(done(room)) == {"command-display", "command-camera", "command-ping"}
    assert room.dispatcher._running.held == {}


async def test_no_more_than_so_many_commands_run_at_once(room: Room) -> None:
    for number in range(RUNNING_LIMIT):
        await room.send("ping", {"spread_s": 60}, id=f"waiting-{number}", iss=f"key-{number % 2}")
    assert await _refusal(room, "ping", {}) == "busy"
    await room.clock.advance(60)
    await room.idle()
    assert len(done(room)) == RUNNING_LIMIT


async def test_one_key_leaves_room_for_the_others(room: Room) -> None:
    for number in range(RUNNING_LIMIT):
        await room.send("ping", {"spread_s": 60}, id=f"waiting-{number}", iss="viewer-1")
    assert await _refusal(room, "ping", {}, iss="viewer-1") == "busy"
    await room.send("ping")
    await room.replied()
    assert (room.last.id, room.last.state) == ("command-ping", "done")
    await room.clock.advance(60)
    await room.idle()
    assert (await room.order("ping", iss="viewer-1", id="command-after")).state == "done"


async def test_a_journal_that_cannot_be_written_runs_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise Corrupt("disk I/O error")

    monkeypatch.setattr(Journal, "accept", fail)
    await room.order("identify")
    assert room.states == [("failed", "internal")]
    assert room.identified == []
    monkeypatch.undo()
    await room.order("identify")
    assert room.identified == [10.0]


async def test_a_ping_is_answered_even_where_the_card_takes_no_more(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise Corrupt("disk I/O error")

    monkeypatch.setattr(Journal, "record", fail)
    assert (await room.order("ping")).state == "done"
    assert "is not kept" in caplog.text


async def test_a_ping_that_comes_again_at_once_gets_the_same_answer(room: Room) -> None:
    await asyncio.gather(*(room.send("ping") for _ in range(4)))
    await room.idle()
    answers = {payload for _, payload in room.replies if b'"done"' in payload}
    assert len(answers) == 1
    assert len(done(room)) == 4


# --- Groups


def done(room: Room) -> list[str]:
    return [reply.id for reply in room.answers if reply.state == "done"]


async def group_order(room: Room, verb: str, args: Mapping[str, Any], **changes: Any) -> None:
    await room.send(verb, args, aud="group/district-7", nonce=None, **changes)


async def test_a_groups_command_needs_no_nonce_and_spreads_itself(room: Room) -> None:
    await group_order(room, "identify", {"spread_s": 40})
    await room.clock.advance(19)
    assert room.identified == []
    await room.clock.advance(2)
    await room.idle()
    assert room.identified == [10.0]
    assert room.last.state == "done"


async def test_the_group_of_all_is_everybodys(room: Room) -> None:
    await room.send("ping", aud="group/all", nonce=None)
    await room.idle()
    assert room.last.state == "done"


async def test_what_the_room_says_is_asked_again_after_the_delay(room: Room) -> None:
    await group_order(room, "identify", {"spread_s": 40})
    await room.replied()
    room.conference = True
    await room.clock.advance(60)
    await room.idle()
    assert room.states == [("accepted", None), ("refused", "frozen")]
    assert room.identified == []


async def test_a_command_that_waits_holds_no_device(room: Room) -> None:
    await group_order(room, "display", {"message": "later", "spread_s": 40})
    await room.send("display", {"message": "now"}, id="message-now")
    await until(lambda: done(room) == ["message-now"])
    await room.clock.advance(60)
    await room.idle()
    assert [args["message"] for _, _, args in room.workers.asked] == ["now", "later"]


async def test_delays_are_uniform_over_the_spread(tmp_path: Path, clock: FakeClock) -> None:
    room = await Room.open(tmp_path, clock)
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    room.rewire(uniform=uniform)
    await group_order(room, "ping", {"spread_s": 120})
    await group_order(room, "ping", {}, id="no-spread")
    await until(lambda: done(room) == ["no-spread"])
    await room.clock.advance(119)
    assert done(room) == ["no-spread"]
    await room.clock.advance(1)
    await room.idle()
    assert asked == [(0.0, 120.0)]
    await room.close()


# --- Restarts


async def test_a_restart_of_the_agent_is_done_by_the_next_session(tmp_path: Path, clock: FakeClock) -> None:
    room = await Room.open(tmp_path, clock)
    await room.send("restart", {"target": "agent"})
    await until(lambda: bool(room.restarted))
    assert room.states == [("accepted", None)]  # told before the stop begins
    assert room.restarted == ["agent"]
    await room.close()
    room = await Room.open(tmp_path, clock)
    await room.dispatcher.resume()
    await room.idle()
    assert room.states == [("done", None)]
    assert room.last.result == {"session_before": 1, "session": 2, "boot": "boot-1"}
    await room.close()


async def restarted_host(tmp_path: Path, clock: FakeClock, boot: str) -> Room:
    room = await Room.open(tmp_path, clock)
    await room.send("restart", {"target": "host", "reboot_nonce": "n1"})
    await until(lambda: bool(room.restarted))
    assert room.restarted == ["host"]
    handed_on = json.loads(room.handed_on[0])
    assert handed_on == room.claims("restart", {"target": "host", "reboot_nonce": "n1"})
    await room.close()
    room = await Room.open(tmp_path, clock, boot)
    await room.dispatcher.resume()
    await room.idle()
    return room


async def test_a_restart_of_the_host_is_proved_by_the_new_boot_id(tmp_path: Path, clock: FakeClock) -> None:
    room = await restarted_host(tmp_path, clock, "boot-2")
    assert room.last.state == "done"
    assert room.last.result == {"boot_before": "boot-1", "boot": "boot-2", "session": 2}
    await room.close()


async def test_a_host_that_did_not_restart_is_not_said_to_have(tmp_path: Path, clock: FakeClock) -> None:
    room = await restarted_host(tmp_path, clock, "boot-1")
    assert (room.last.state, room.last.code) == ("failed", "interrupted")
    await room.close()


async def test_a_host_restarts_three_times_a_day_whatever_sessions_lie_between(
    tmp_path: Path, clock: FakeClock
) -> None:
    for number in range(3):
        room = await Room.open(tmp_path, clock, f"boot-{number}")
        await room.send("restart", {"target": "host"}, id=f"restart-{number}")
        await until(lambda room=room: bool(room.restarted))
        await room.close()
        clock.wall_s += 3600
    room = await Room.open(tmp_path, clock, "boot-4")
    assert await _refusal(room, "restart", {"target": "host"}) == "too_often"
    clock.wall_s += 22 * 3600
    await room.send("restart", {"target": "host"})
    await until(lambda: bool(room.restarted))
    await room.close()


async def test_a_room_whose_policy_forbids_it_never_restarts_its_host(room: Room) -> None:
    room.settings = settings(policy={"host_restart": False})
    assert await _refusal(room, "restart", {"target": "host"}) == "not_permitted"


async def test_a_kit_that_cannot_restart_its_host_says_so(room: Room) -> None:
    room.rewire(restart_host=None)
    reply = await room.order("restart", {"target": "host"})
    assert (reply.state, reply.code) == ("failed", "unsupported")


async def test_a_host_that_the_reboot_helper_does_not_restart_is_refused_with_its_reason(room: Room) -> None:
    room.restart_error = Refused("bad_nonce", "args.reboot_nonce: another was expected")
    for number in range(4):  # what was refused does not count among the day's three
        reply = await room.order("restart", {"target": "host"}, id=f"restart-{number}")
        assert (reply.state, reply.code) == ("refused", "bad_nonce")
        assert reply.detail == "args.reboot_nonce: another was expected"


async def test_a_device_comes_back_with_a_new_pid_and_a_good_probe(room: Room) -> None:
    room.judged_parts["camera"] = judged("ok")
    reply = await room.order("restart", {"target": "camera"})
    assert reply.result == {"pid_before": 100, "pid": 101, "state": "ok", "code": None}
    assert room.looked == ["camera"]


async def test_the_proof_of_a_device_that_a_meeting_holds_says_so(room: Room) -> None:
    """Its probe opened nothing, so "ok" alone would claim more than was seen."""
    room.judged_parts["camera"] = msgspec.structs.replace(judged("ok"), in_use_by="chromium")
    reply = await room.order("restart", {"target": "camera"})
    assert reply.result["in_use_by"] == "chromium"


async def test_a_device_may_need_a_second_look_to_be_well(room: Room) -> None:
    room.judged_parts["camera"] = judged("failed", "frame_black")

    def look(number: int) -> None:
        if number == 2:
            room.judged_parts["camera"] = judged("ok")

    room.on_look = look
    await room.send("restart", {"target": "camera"})
    await until(lambda: room.clock.sleepers > 0)
    await room.clock.advance(1)
    await room.idle()
    assert room.last.state == "done"
    assert len(room.looked) == 2


async def test_a_device_that_is_not_well_again_is_not_done(room: Room) -> None:
    room.judged_parts["microphone"] = judged("absent", "microphone_absent")
    await room.send("restart", {"target": "microphone"})
    for _ in range(2):
        await until(lambda: room.clock.sleepers > 0)
        await room.clock.advance(1)
    await room.idle()
    assert (room.last.state, room.last.code) == ("failed", "microphone_absent")
    assert room.looked == ["audio"] * 3


async def test_a_restart_that_finds_the_process_hung_says_so(room: Room) -> None:
    room.workers.restart_error = Hung("did not start in 20 s")
    reply = await room.order("restart", {"target": "speaker"})
    assert (reply.state, reply.code) == ("failed", "audio_hung")


# --- The journal's size


async def test_the_journal_keeps_the_newest_and_what_is_not_finished(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "KEEP", 30)
    journal = Journal(room.spool)
    claims = json.dumps(room.claims()).encode()
    await journal.accept("unfinished", claims, None)
    for number in range(100):
        await journal.accept(f"id-{number:03}", claims, None)
        await journal.finish(f"id-{number:03}", b"{}")
    assert [entry.id for entry in await journal.unfinished()] == ["unfinished"]
    kept = [number for number in range(100) if await journal.find(f"id-{number:03}") is not None]
    assert kept == list(range(70, 100))


async def test_the_journal_drops_old_answers_by_size(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "KEEP_ANSWER_BYTES", 10_000)
    journal = Journal(room.spool)
    for number in range(20):
        await journal.accept(f"id-{number:03}", json.dumps(room.claims()).encode(), None)
        await journal.finish(f"id-{number:03}", b'"%s"' % (b"x" * 998))
    kept = [number for number in range(20) if await Journal(room.spool).find(f"id-{number:03}") is not None]
    assert kept == list(range(10, 20))
    with pytest.raises(DatabaseError):  # its answer is gone, and this session ran it: it does not run again
        await journal.find("id-003")


async def test_a_thousand_pings_and_logs_push_no_command_out_of_the_sessions_memory(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "KEEP", 30)
    room.rewire()
    await room.order("identify", id="to-be-run-once")
    for number in range(60):
        verb, args = ("logs", {}) if number % 2 else ("ping", {"spread_s": 0.001})
        await room.send(verb, args, id=f"viewer-{number:04}")
        await room.clock.advance(0.001)
        await room.idle()
    await room.order("identify", id="to-be-run-once")
    assert room.identified == [10.0]
    assert (room.last.id, room.last.state, room.last.code) == ("to-be-run-once", "failed", "internal")


async def test_a_groups_command_from_before_the_start_is_not_run(room: Room) -> None:
    """Its journal may be lost with the card, and no nonce tells it from one that ran."""
    start_s = int(room.clock.wall()) - 5
    for iat, state in ((start_s - 1, "refused"), (start_s, "done")):
        sent: dict[str, Any] = {
            "aud": "group/all",
            "nonce": None,
            "iat": iat,
            "exp": iat + 60,
        }
        assert (await room.order("identify", id=f"command-{iat}", **sent)).state == state
    assert room.identified == [10.0]


async def test_a_key_that_is_revoked_while_its_command_waits_runs_nothing(room: Room) -> None:
    class Revocable(Unsigned):
        revoked = False

        def permits(self, iss: str, verb: str) -> bool:
            return not self.revoked

    keys = Revocable()
    room.rewire(keys)
    await room.send("identify", {"spread_s": 60})
    keys.revoked = True
    await room.clock.advance(60)
    await room.idle()
    assert room.identified == []
    assert (room.last.state, room.last.code) == ("refused", "not_permitted")


async def test_times_beyond_every_calendar_are_refused(room: Room) -> None:
    reply = await room.order("ping", iat=10**400, exp=10**400 + 60)
    assert (reply.state, reply.code) == ("refused", "bad_args")


async def test_every_task_is_named(room: Room) -> None:
    await room.send("ping", {"spread_s": 10})
    await room.send("ping", nonce="old", id="command-2")
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "command ping command-ping" in names
    assert "count refusals" in names
    assert not any(name.startswith("Task-") and "test" not in name for name in names - _own())


def _own() -> set[str]:
    current = asyncio.current_task()
    return {current.get_name()} if current else set()


async def _refusal(room: Room, verb: str, args: Mapping[str, Any], **changes: Any) -> str | None:
    claims = room.claims(verb, args, **changes)
    topic = f"diemcau/v1/point/{POINT}/command/{verb}"
    await room.dispatcher.receive(topic, json.dumps(claims).encode(), False)
    await room.replied()
    (reply,) = [reply for reply in room.answers if reply.id == claims["id"]]
    assert reply.state == "refused"
    return reply.code

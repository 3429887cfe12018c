"""Commands through a real broker to real device processes: proofs, refusals, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from simroom import SimRoom, living

pytestmark = pytest.mark.mosquitto


@pytest.fixture
async def room(tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer) -> AsyncIterator[SimRoom]:
    async with living(tmp_path, mosquitto.url) as living_room:
        await observer.until(lambda h: h.name == "status" and h.point == living_room.point)
        yield living_room


def order(
    observer: Observer, room: SimRoom, verb: str, args: dict[str, Any] | None = None, **more: Any
) -> str:
    now = int(room.clock.wall())
    return observer.command(room.point, verb, args, **{"iat": now, "exp": now + 60, **more})


async def answered(observer: Observer, room: SimRoom, ident: str, state: str | None = None) -> dict[str, Any]:
    """The answer, while the room's time passes."""
    waiting = asyncio.create_task(observer.answer(ident, state), name="answer")
    while not waiting.done():
        await room.live(0.25)
    return await waiting


async def test_ping_tells_session_and_uptime(room: SimRoom, observer: Observer) -> None:
    reply = await answered(observer, room, order(observer, room, "ping"))
    assert reply["state"] == "done"
    assert reply["result"]["session"] == room.app.stamp.session
    assert reply["result"]["uptime_s"] >= 0


@pytest.mark.parametrize("target", ["camera", "microphone", "speaker", "display", "panel"])
async def test_a_restart_is_proved_by_a_new_process_and_a_good_probe(
    room: SimRoom, observer: Observer, target: str
) -> None:
    process = "audio" if target in ("microphone", "speaker") else target
    before = room.app.workers.pid(process)
    ident = order(observer, room, "restart", {"target": target})
    reply = await answered(observer, room, ident)
    assert reply["state"] == "done", reply
    assert reply["result"]["pid"] == room.app.workers.pid(process) != before
    assert reply["result"]["state"] == "ok"
    states = [h.document["state"] for h in observer.heard("reply/op-test") if h.document["id"] == ident]
    assert states[0] == "accepted"


async def test_a_restart_ends_a_hang(room: SimRoom, observer: Observer) -> None:
    room.world.set_fault("camera_hung", True)
    await room.until_code("camera", "camera_hung", 15)
    room.world.set_fault("camera_hung", False)
    reply = await answered(observer, room, order(observer, room, "restart", {"target": "camera"}))
    assert reply["state"] == "done", reply
    assert room.health("camera").state == "ok"


async def test_a_set_is_answered_with_what_was_read_back(room: SimRoom, observer: Observer) -> None:
    muted = await answered(observer, room, order(observer, room, "microphone", {"mute": True}))
    assert muted["result"]["muted"] is True
    assert room.world.microphone.muted is True
    refused = await answered(observer, room, order(observer, room, "microphone", {"mute": False}))
    assert (refused["state"], refused["code"]) == ("refused", "not_permitted")
    volume = await answered(observer, room, order(observer, room, "speaker", {"volume_percent": 35}))
    assert volume["result"]["volume_percent"] == pytest.approx(35, abs=1)
    screen = await answered(observer, room, order(observer, room, "display", {"message": "Xin chào"}))
    assert screen["state"] == "done", screen


async def test_a_self_test_by_command_carries_the_whole_report(room: SimRoom, observer: Observer) -> None:
    reply = await answered(observer, room, order(observer, room, "selftest", {"scope": "quick"}))
    assert reply["state"] == "done", reply
    assert reply["result"]["result"] == "passed"
    assert {step["result"] for step in reply["result"]["steps"]} == {"passed"}
    kept = await observer.until(lambda h: h.name == "selftest" and h.point == room.point)
    assert kept.document["run"] == reply["result"]["run"]


async def test_a_snapshot_needs_the_rooms_own_leave(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url, policy={"snapshot": True}) as room:
        await observer.until(lambda h: h.name == "status" and h.point == room.point)
        reply = await answered(observer, room, order(observer, room, "camera", {"snapshot": True}))
        assert reply["state"] == "done", reply
        jpeg = next(value for key, value in reply["result"]["snapshot"].items() if "base64" in key)
        assert jpeg.startswith("/9j/")
        assert len(jpeg) <= 200 * 1024 * 4 / 3 + 4


async def test_a_snapshot_without_it_is_refused(room: SimRoom, observer: Observer) -> None:
    reply = await answered(observer, room, order(observer, room, "camera", {"snapshot": True}))
    assert (reply["state"], reply["code"]) == ("refused", "not_permitted")


async def test_what_is_no_command_is_refused_with_its_code_and_nothing_else_happens(
    room: SimRoom, observer: Observer
) -> None:
    processes = ("camera", "audio", "display", "panel")
    before = {process: room.app.workers.pid(process) for process in processes}
    topic = f"diemcau/v1/point/{room.point}/command/restart"
    for payload in (b"", b"\xff\xfe", b"{", b"[]", b"null", b"[" * 5000, b'{"id": 1}', os.urandom(300)):
        observer.publish(topic, payload)
    observer.publish(topic, b"x" * 20_000)
    camera = {"target": "camera"}
    expected = {
        order(observer, room, "restart", camera, aud="point/xp-other"): "wrong_audience",
        order(observer, room, "restart", camera, nonce="0" * 32): "bad_nonce",
        order(observer, room, "restart", camera, iat=1000, exp=1060): "expired",
        order(observer, room, "restart", {"target": "kettle"}): "bad_args",
        order(observer, room, "brew"): "unknown_verb",
        order(observer, room, "resend", {"spool": "x"}): "bad_args",
        order(observer, room, "update", {"version": "2", "url": "https://x/y.deb", "sha256": "0" * 64}):
            "not_permitted",
        order(observer, room, "ping", {"pad": "x" * 17_000}): "too_large",
    }  # fmt: skip
    for ident, code in expected.items():
        reply = await answered(observer, room, ident)
        assert (reply["state"], reply["code"]) == ("refused", code), (code, reply)
        assert reply["detail"]
    assert {process: room.app.workers.pid(process) for process in processes} == before
    assert (await answered(observer, room, order(observer, room, "ping")))["state"] == "done"


async def test_a_retained_command_is_refused_live_and_after_a_reconnect(
    room: SimRoom, observer: Observer
) -> None:
    now = int(room.clock.wall())
    claims = {"id": "retained-0001", "aud": f"point/{room.point}", "verb": "ping", "iss": "op-test",
              "iat": now, "exp": now + 60, "nonce": observer.nonce(room.point)}  # fmt: skip
    topic = f"diemcau/v1/point/{room.point}/command/ping"
    observer.publish(topic, json.dumps(claims).encode(), retain=True)
    reply = await answered(observer, room, "retained-0001")
    assert (reply["state"], reply["code"]) == ("refused", "retained")
    observer.publish(topic, b"", retain=True)


async def test_an_id_that_comes_again_gets_its_stored_answer_and_runs_once(
    room: SimRoom, observer: Observer
) -> None:
    ident = order(observer, room, "restart", {"target": "camera"})
    first = await answered(observer, room, ident)
    pid = room.app.workers.pid("camera")
    order(observer, room, "restart", {"target": "camera"}, id=ident)
    async with asyncio.timeout(10):
        while (
            sum(
                h.document["state"] == "done"
                for h in observer.heard("reply/op-test")
                if h.document["id"] == ident
            )
            < 2
        ):
            await room.live(0.25)
    assert room.app.workers.pid("camera") in (pid, None)
    done = [h.document for h in observer.heard("reply/op-test") if h.document["id"] == ident]
    assert done[-1]["result"] == first["result"]


@pytest.mark.parametrize("fault", ["camera_hung", "audio_crashed", "display_hung", "panel_crashed"])
async def test_a_hung_or_crashing_worker_never_costs_the_daemon_a_heartbeat(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer, fault: str
) -> None:
    probe = {"period_s": 10, "presence_s": 2, "host_s": 5, "line_s": 5, "deadline_s": 0.5}
    async with living(tmp_path, mosquitto.url, probe=probe) as room:
        await observer.until(lambda h: h.name == "status" and h.point == room.point)
        await beats(room, observer, fault)


async def beats(room: SimRoom, observer: Observer, fault: str) -> None:
    room.world.set_fault(fault, True)
    await room.live(65)
    heard = [h.document["mono_ms"] for h in observer.heard("health", room.point)]
    heard.append(int(room.clock.monotonic() * 1000))
    assert max(b - a for a, b in itertools.pairwise(heard)) <= 60_000 + 1000
    reply = await answered(observer, room, order(observer, room, "ping"))
    assert reply["state"] == "done"


async def test_a_device_that_the_conference_holds_is_not_fought_over(
    room: SimRoom, observer: Observer
) -> None:
    room.world.hold("camera", "chromium")
    await room.live(12)
    held = room.health("camera")
    assert (held.state, held.in_use_by) == ("ok", "chromium")
    refused = await answered(observer, room, order(observer, room, "camera", {"zoom": 2.0}))
    assert (refused["state"], refused["code"]) == ("refused", "busy")
    assert "chromium" in refused["detail"]
    report = await room.selftest()
    camera = next(step for step in report.steps if step.device == "camera")
    assert (camera.result, camera.reason) == ("not_tested", "in_use")
    assert report.result == "partial"
    room.world.hold("camera", None)
    await room.live(12)
    assert room.health("camera").in_use_by is None
    zoomed = await answered(observer, room, order(observer, room, "camera", {"zoom": 2.0}))
    assert zoomed["result"]["zoom"] == 2.0

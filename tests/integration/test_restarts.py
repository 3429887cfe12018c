"""A room of real processes, as ``diemcau-sim room`` runs it: restarts proved from the far side, and the
command line on the room's own socket. Time is real here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from diemcau_sim.mosquitto import PrivateMosquitto
from diemcau_sim.room import Room
from observer import Heard, Observer

pytestmark = pytest.mark.mosquitto

POINT = "xp-restarts"
NIMBLE = {"probe": {"period_s": 4, "presence_s": 1, "host_s": 2, "line_s": 2, "deadline_s": 2}}


@pytest.fixture
async def room(tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer) -> AsyncIterator[Room]:
    made = Room(POINT, mosquitto.url, tmp_path, extra_config=NIMBLE)
    await asyncio.to_thread(made.start)
    try:
        await observer.until(lambda h: online(h) and not h.retained)
        yield made
    finally:
        await asyncio.to_thread(made.stop)


def online(heard: Heard) -> bool:
    return heard.name == "status" and heard.point == POINT and heard.document["status"] == "online"


async def ready(observer: Observer) -> None:
    await observer.until(
        lambda h: (
            h.name == "health" and h.point == POINT and not h.retained and h.document["readiness"] == "ready"
        ),
        15,
    )


def sessions(observer: Observer) -> list[int]:
    return [h.document["session"] for h in observer.heard("status", POINT) if online(h) and not h.retained]


async def next_session(observer: Observer, after: int) -> None:
    await observer.until(lambda h: online(h) and h.document["session"] > after)


async def reboot_nonce(observer: Observer, *, other_than: str | None) -> str:
    heard = await observer.until(
        lambda h: online(h) and not h.retained and h.document["reboot_nonce"] not in (None, other_than)
    )
    return str(heard.document["reboot_nonce"])


async def cli(room: Room, *arguments: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "diemcau_agent", *arguments, "--runtime-dir", str(room.runtime_dir),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, output.decode()


async def outage(observer: Observer, session: int) -> dict[str, Any]:
    """What ``session`` told of the time before it."""

    def wanted(h: Heard) -> bool:
        return h.name == "event" and (h.document["session"], h.document["kind"]) == (session, "outage")

    return (await observer.until(lambda h: wanted(h) and h.document["device"] == "host")).document["data"]


def agent_of(room: Room) -> psutil.Process:
    """The agent's process, by the configuration that it was started with."""
    return next(
        process
        for process in psutil.process_iter(["cmdline"])
        if str(room.directory / "agent.toml") in (process.info["cmdline"] or [])
    )


async def test_a_restart_of_the_agent_is_proved_by_its_next_session(room: Room, observer: Observer) -> None:
    before = sessions(observer)[-1]
    ident = observer.command(POINT, "restart", {"target": "agent"})
    accepted = await observer.answer(ident, "accepted")
    done = await observer.answer(ident, "done", timeout_s=15)
    assert (accepted["session"], done["session"]) == (before, before + 1)
    assert done["result"]["session"] == before + 1
    assert not [h for h in observer.heard("status", POINT) if h.document["status"] == "lost"]
    told = await outage(observer, before + 1)
    assert (told["cause"], told["reason"]) == ("command", "stopped in good order")
    assert 0 < told["duration_s"] < 10


async def test_a_restart_of_the_host_is_proved_by_its_new_boot(room: Room, observer: Observer) -> None:
    first = await reboot_nonce(observer, other_than=None)
    ident = observer.command(POINT, "restart", {"target": "host", "reboot_nonce": first})
    accepted = await observer.answer(ident, "accepted")
    done = await observer.answer(ident, "done", timeout_s=15)
    assert done["boot"] != accepted["boot"]
    assert done["result"]["boot"] == done["boot"]
    assert done["result"]["boot_before"] == accepted["boot"]
    told = await outage(observer, done["session"])
    assert (told["cause"], told["began_boot"]) == ("command", accepted["boot"])
    assert told["reason"] == "stopped in good order"
    await reboot_nonce(observer, other_than=first)  # a new boot has a new one


async def test_a_host_is_not_restarted_with_a_reboot_nonce_that_is_not_its_own(
    room: Room, observer: Observer
) -> None:
    boot = (room.directory / "boot_id").read_text()
    nonce = await reboot_nonce(observer, other_than=None)
    for args in ({"target": "host"}, {"target": "host", "reboot_nonce": "0" * 32}):
        answer = await observer.answer(observer.command(POINT, "restart", args))
        assert (answer["state"], answer["code"]) == ("refused", "bad_nonce")
        assert "reboot_nonce" in answer["detail"]
    assert observer.heard("status", POINT)[-1].document["reboot_nonce"] == nonce
    assert (room.directory / "boot_id").read_text() == boot


async def test_an_agent_that_is_killed_is_back_with_its_events_and_leaves_no_process(
    room: Room, observer: Observer
) -> None:
    before = sessions(observer)[-1]
    agent = agent_of(room)
    workers = agent.children(recursive=True)
    assert workers
    os.kill(agent.pid, signal.SIGKILL)
    await next_session(observer, before)
    _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 5)
    assert alive == []
    await observer.until(lambda h: h.name == "event" and h.document["session"] == before + 1)
    numbers = [(h.document["spool"], h.document["seq"]) for h in observer.heard("event", POINT)]
    assert {seq for _, seq in numbers} == set(range(1, max(seq for _, seq in numbers) + 1))
    assert len({spool for spool, _ in numbers}) == 1
    told = await outage(observer, before + 1)
    assert (told["cause"], told["reason"]) == ("agent", "no goodbye")
    assert 0 < told["duration_s"] < 10 + told["began_within_s"]


async def test_a_power_cut_is_told_with_its_beginning_as_far_as_it_is_known(
    room: Room, observer: Observer
) -> None:
    before = sessions(observer)[-1]
    boot = observer.heard("status", POINT)[-1].document["boot"]
    # Of what was never on the card nothing is known.
    await observer.until(lambda h: h.name == "event" and h.document["session"] == before)
    (room.directory / "boot_id").write_text("another-boot\n")
    (room.runtime_dir / "alive.json").unlink()  # what was in memory goes with the power
    os.kill(agent_of(room).pid, signal.SIGKILL)
    await next_session(observer, before)
    told = await outage(observer, before + 1)
    assert (told["cause"], told["began_boot"], told["began_within_s"]) == ("power", boot, 600.0)
    assert told["began"] < told["ended"]


async def test_a_command_cut_short_by_a_kill_answers_interrupted(room: Room, observer: Observer) -> None:
    before = sessions(observer)[-1]
    ident = observer.command(POINT, "identify", {"seconds": 60})
    await observer.answer(ident, "accepted")
    slow = observer.command(POINT, "selftest", {"scope": "full"})
    await observer.answer(slow, "accepted")
    os.kill(agent_of(room).pid, signal.SIGKILL)
    await next_session(observer, before)
    reply = await observer.answer(slow)
    assert (reply["state"], reply["code"]) == ("failed", "interrupted")


async def test_people_ask_the_room_itself(room: Room, observer: Observer) -> None:
    await ready(observer)
    code, text = await cli(room, "status")
    assert code == 0
    assert "\x1b" not in text  # a pipe gets plain text
    code, text = await cli(room, "status", "--json")
    status: dict[str, Any] = json.loads(text)
    assert (code, status["health"]["readiness"]) == (0, "ready")
    code, text = await cli(room, "selftest", "--json")
    report = json.loads(text)
    assert (code, report["result"]) == (0, "passed")
    assert {step["result"] for step in report["steps"]} == {"passed"}
    room.world.set_fault("speaker_silent", True)
    code, text = await cli(room, "selftest")
    assert code == 1
    assert "speaker_silent" in text or "Loa" in text


async def test_a_press_of_the_button_is_a_self_test_and_a_hold_cancels_it(
    room: Room, observer: Observer
) -> None:
    await ready(observer)  # a press before the panel's process listens is lost, as with a real button
    room.world.press()
    pressed = await observer.until(lambda h: h.name == "selftest" and h.point == POINT and not h.retained, 15)
    assert (pressed.document["trigger"], pressed.document["result"]) == ("button", "passed")
    patterns = {lit.light for lit in room.world.lit}
    assert len(patterns) > 2  # it breathed while it tested
    code, _ = await cli(room, "press")
    assert code == 0
    first = pressed.document["run"]
    await observer.until(
        lambda h: h.name == "selftest" and h.point == POINT and h.document["run"] != first, 15
    )


async def test_a_baseline_is_recorded_and_kept_over_a_restart(room: Room, observer: Observer) -> None:
    code, text = await cli(room, "baseline", "--json")
    assert code == 0, text
    kept = json.loads((room.directory / "state" / "baseline.json").read_text())
    assert kept["readings"]["camera"]["sharpness"] > 40
    ident = observer.command(POINT, "restart", {"target": "agent"})
    await observer.answer(ident, "done", timeout_s=15)
    await observer.until(
        lambda h: (
            h.name == "health"
            and h.point == POINT
            and h.document["session"] > 1
            and "sharpness_ratio" in h.document["devices"]["camera"]["readings"]
        ),
        10,
    )

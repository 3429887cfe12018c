"""A device's process may hang, crash, babble or vanish; the daemon loses nothing but that process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent.worker import Crashed, Hung, Worker
from diemcau_drivers.contract import Busy
from fakeclock import FakeClock

CHILD = str(Path(__file__).with_name("scripted_child.py"))


class Bench:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.spawned: list[Mapping[str, Any]] = []
        self.told = asyncio.Event()
        self.workers: list[Worker] = []

    def worker(self, script: str = "", process: str = "camera") -> Worker:
        worker = Worker(
            process,
            "scripted",
            {"script": script},
            clock=self.clock,
            deadline_s=5.0,
            listener=self.listen,
            command=(sys.executable, CHILD),
        )
        self.workers.append(worker)
        return worker

    def listen(self, event: str, data: Mapping[str, Any]) -> None:
        if event == "spawned":
            self.spawned.append(data)
        else:
            self.events.append((event, data))
            self.told.set()


@pytest.fixture
async def bench(clock: FakeClock) -> AsyncIterator[Bench]:
    made = Bench(clock)
    yield made
    for worker in made.workers:
        await worker.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_calls_are_answered_in_order_by_one_process(bench: Bench) -> None:
    worker = bench.worker()
    answers = await asyncio.gather(*(worker.ask("echo", {"n": n}) for n in range(5)))
    assert [answer["n"] for answer in answers] == [0, 1, 2, 3, 4]
    assert {answer["pid"] for answer in answers} == {worker.pid}


@pytest.mark.parametrize(
    ("greeting", "confined"),
    [
        ({"landlock": 7, "seccomp": True}, True),
        ({"landlock": 7, "seccomp": False}, False),
        ({"landlock": 0, "seccomp": True}, False),
        ({"landlock": 7}, False),
        ({}, False),
        (None, False),
        ("spawned", False),
    ],
)
async def test_a_process_is_confined_that_greets_so_and_none_else(
    bench: Bench, greeting: Any, confined: bool
) -> None:
    worker = bench.worker("greets with " + json.dumps(greeting))
    await worker.ask("echo")
    assert bench.spawned == [{"process": "camera", "pid": worker.pid, "confined": confined}]


async def test_a_process_cannot_say_of_itself_what_the_daemon_says_of_it(bench: Bench) -> None:
    worker = bench.worker()
    await worker.ask("say that it was spawned")
    assert len(bench.spawned) == 1
    assert bench.events == []


async def test_a_hung_process_is_killed_at_its_deadline_and_the_next_call_gets_another(
    bench: Bench,
) -> None:
    worker = bench.worker()
    before = (await worker.ask("echo", {}))["pid"]
    with pytest.raises(Hung):
        await worker.ask("hang", deadline_s=0.1)
    assert not alive(before)
    assert (await worker.ask("echo", {}))["pid"] != before


async def test_the_kill_takes_what_the_library_started(bench: Bench) -> None:
    worker = bench.worker(process="panel")
    with pytest.raises(Hung):
        await worker.ask("hang with a child", deadline_s=1.0)
    await bench.told.wait()
    pid = bench.events[0][1]["pid"]
    for _ in range(100):  # init reaps it, not we
        if not alive(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{pid} lives on")


async def test_no_process_but_the_panels_presses_the_button(bench: Bench) -> None:
    for process, events in (("camera", []), ("panel", ["press"])):
        worker = bench.worker(process=process)
        with pytest.raises(Hung):
            await worker.ask("hang with a child", deadline_s=1.0)
        assert [event for event, _ in bench.events] == events


async def test_a_crash_is_told_and_the_next_call_gets_a_new_process(bench: Bench) -> None:
    worker = bench.worker()
    with pytest.raises(Crashed):
        await worker.ask("crash")
    assert (await worker.ask("echo", {"n": 1}))["n"] == 1


@pytest.mark.parametrize("babble", ["garbage", "flood"])
async def test_a_process_that_breaks_the_framing_is_not_trusted_again(bench: Bench, babble: str) -> None:
    worker = bench.worker()
    before = (await worker.ask("echo", {}))["pid"]
    with pytest.raises(Crashed):
        await worker.ask(babble)
    assert (await worker.ask("echo", {}))["pid"] != before


async def test_respawns_back_off_while_it_keeps_dying(
    bench: Bench,
) -> None:
    worker = bench.worker("dies while starting")
    for _ in range(3):
        with pytest.raises(Crashed, match="starting"):
            await worker.ask("echo")
        bench.clock.mono_s += 4.0
    bench.clock.mono_s -= 4.0
    with pytest.raises(Crashed, match="respawn in"):
        await worker.ask("echo")
    bench.clock.mono_s += 31.0
    with pytest.raises(Crashed, match="starting"):
        await worker.ask("echo")


async def test_a_question_that_meets_a_process_just_leaving_is_asked_of_the_next(
    bench: Bench, tmp_path: Path
) -> None:
    marker = tmp_path / "leave"
    marker.touch()
    worker = bench.worker()
    before = (await worker.ask("echo", {}))["pid"]
    assert (await worker.ask("leave once", {"marker": str(marker)}))["pid"] != before


async def test_a_process_that_left_when_idle_is_no_failure(bench: Bench) -> None:
    worker = bench.worker()
    with pytest.raises(Crashed):
        await worker.ask("leave")  # in the middle of a call it is one
    pid = (await worker.ask("echo", {}))["pid"]
    os.kill(pid, 15)
    while worker.pid is not None:
        await asyncio.sleep(0.01)
    with pytest.raises(Crashed, match="between two calls"):
        await worker.ask("echo", {})


async def test_a_refusal_of_the_device_comes_through_with_its_holder(bench: Bench) -> None:
    with pytest.raises(Busy) as refused:
        await bench.worker().ask("refuse")
    assert refused.value.in_use_by == "chromium"


async def test_restart_gives_a_new_process_at_once_even_in_backoff(bench: Bench) -> None:
    worker = bench.worker()
    before = (await worker.ask("echo", {}))["pid"]
    pid = await worker.restart()
    assert pid != before
    assert (await worker.ask("echo", {}))["pid"] == pid
    assert not alive(before)


async def test_a_device_that_is_opened_anew_stays_in_its_process_and_that_is_told(bench: Bench) -> None:
    worker = bench.worker()
    before = (await worker.ask("echo", {}))["pid"]
    await worker.reopen()
    assert bench.events == [("reopened", {"process": "camera"})]
    assert (await worker.ask("echo", {}))["pid"] == before


async def test_a_call_that_is_given_up_leaves_no_answer_for_the_next(bench: Bench) -> None:
    worker = bench.worker()
    await worker.ask("echo", {})
    call = asyncio.create_task(worker.ask("hang"))
    await asyncio.sleep(0)
    while not worker.busy:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await worker.ask("echo", {"n": 7}))["n"] == 7


async def test_a_stray_answer_is_ignored(bench: Bench) -> None:
    worker = bench.worker()
    with pytest.raises(Hung):
        await worker.ask("stray", deadline_s=0.2)


async def test_a_kill_is_seen_through_though_whoever_asked_went_away(bench: Bench) -> None:
    worker = bench.worker()
    before = (await worker.ask("echo", {}))["pid"]
    restarting = asyncio.create_task(worker.restart())
    while worker.pid is not None:
        await asyncio.sleep(0)
    restarting.cancel()
    await asyncio.wait([restarting])
    assert (await worker.ask("echo", {}))["pid"] != before
    assert not alive(before)


async def test_the_number_of_a_process_that_left_is_nobody_elses_until_its_group_was_killed(
    bench: Bench,
) -> None:
    worker = bench.worker()
    pid = (await worker.ask("echo", {}))["pid"]
    os.kill(pid, 15)
    while worker.pid is not None:
        await asyncio.sleep(0.001)
    assert alive(pid)  # a zombie: the kernel gives its number to none
    await worker.close()
    assert not alive(pid)

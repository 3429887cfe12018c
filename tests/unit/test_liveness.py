"""The watchdog is fed only while monitor, dispatcher and spool each get on; heard on a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_agent.book import HealthBook
from diemcau_agent.commands.inbox import LIMIT, Inbox
from diemcau_agent.config import check
from diemcau_agent.liveness import Progress, Rounds, Watchdog
from diemcau_agent.monitor import Monitor
from diemcau_agent.mqtt import Connection, Message
from diemcau_agent.notify import Notifier
from diemcau_agent.spool import Spool
from diemcau_drivers.contract import Absent
from fakeclock import FakeClock, settle

PERIOD_S = 10.0


def test_the_watchdog_is_fed_only_where_all_have_advanced_since() -> None:
    progress = Progress("monitor", "spool")
    assert not progress.take()
    progress.advance("monitor")
    assert progress.missing == ("spool",)
    progress.advance("spool")
    assert progress.take()
    assert not progress.take()


def test_a_round_is_late_once_its_promise_has_passed_and_no_longer_when_it_comes(clock: FakeClock) -> None:
    rounds = Rounds(clock)
    rounds.promise("camera", 10)
    rounds.promise("host", 30)
    clock.mono_s += 10
    assert rounds.late == ()
    clock.mono_s += 1
    assert rounds.late == ("camera",)
    rounds.promise("camera", 10)
    assert rounds.late == ()


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def feedings(self) -> int:
        """Since it was last asked."""
        count = 0
        while True:
            try:
                count += self._sock.recv(4096) == b"WATCHDOG=1"
            except BlockingIOError:
                return count


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(int(3 * PERIOD_S * 1e6)))
        yield Manager(sock)


class Agent:
    """Monitor, dispatcher's inbox and spool as the agent has them. Each lives on a clock of its own, so that
    one can be stopped while the others go on."""

    def __init__(self, spool: Spool, clock: FakeClock, manager: Manager) -> None:
        self.clock = clock
        self.manager = manager
        self.heard = 0
        """Feedings."""
        self.spool = spool
        self.monitors_clock, self.inboxs_clock = FakeClock(), FakeClock()
        self.progress = Progress("monitor", "dispatcher", "spool")
        self.gone: Exception | None = None
        self.receiving: asyncio.Event | None = None
        self.fed = 0
        self.inbox = Inbox(self.receive, self.inboxs_clock, lambda: self.progress.advance("dispatcher"))
        raw = {
            "point": "xp-0417",
            "commands": "unsigned",
            "backends": "sim",
            "broker": {"urls": ["mqtt://x"]},
        }
        self.monitor = Monitor(
            check(raw), self.monitors_clock, HealthBook(("camera", "panel"), self.monitors_clock), self.ask,
            host=self.part, line=self.part, baseline=lambda: None,
            progress=lambda: self.progress.advance("monitor"), judged=lambda part, readings: None,
            identified=lambda: None, heal=self.heal,
        )  # fmt: skip
        self.watchdog = Watchdog(
            Notifier(),
            clock,
            self.progress,
            {
                "spool": lambda: spool.alive,
                "dispatcher": lambda: self.inbox.busy and spool.busy_since_s is not None,
            },
            self.count,
        )
        self.tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("monitor", self.monitor.run()),
                ("inbox", self.inbox.run()),
                ("watchdog", self.watchdog.run()),
            )
        ]

    def count(self) -> None:
        self.fed += 1

    async def ask(self, process: str, do: str, *_: Any, **__: Any) -> dict[str, Any]:
        if self.gone is not None:
            raise self.gone
        return {}

    async def part(self) -> Mapping[str, Any]:
        return {}

    async def heal(self, process: str, look: object, *, unplugged: bool) -> None: ...

    async def receive(self, topic: str, payload: bytes, retained: bool) -> None:
        if self.receiving is not None:
            await self.receiving.wait()

    async def live(self, seconds: float, *frozen: FakeClock) -> None:
        for _ in range(round(seconds)):
            for clock in (self.monitors_clock, self.inboxs_clock, self.clock):
                if clock not in frozen:
                    await clock.advance(1)
            self.heard += self.manager.feedings()  # its queue holds ten

    def heard_since(self) -> int:
        heard, self.heard = self.heard, 0
        return heard

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def agent(manager: Manager, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Agent]:
    spool = await Spool.open(tmp_path / "spool.sqlite3", blocked_s=0.5)
    made = Agent(spool, clock, manager)
    yield made
    await made.stop()
    if spool.alive:
        await spool.close()


async def test_while_all_get_on_it_is_fed_three_times_in_its_period(agent: Agent) -> None:
    await agent.live(10 * PERIOD_S)
    assert agent.heard_since() == 10
    assert agent.fed == 10


@pytest.mark.parametrize("frozen", ["monitor", "dispatcher", "spool"])
async def test_when_one_freezes_feeding_stops_within_one_period(
    agent: Agent, frozen: str, caplog: pytest.LogCaptureFixture
) -> None:
    await agent.live(3 * PERIOD_S)
    clocks: tuple[FakeClock, ...] = ()
    match frozen:
        case "monitor":
            clocks = (agent.monitors_clock,)
        case "dispatcher":
            clocks = (agent.inboxs_clock,)
        case _:
            agent.spool._thread.end()
            agent.spool._thread._thread.join(5)
    await agent.live(PERIOD_S, *clocks)
    agent.heard_since()
    await agent.live(60 * PERIOD_S, *clocks)
    assert agent.heard_since() == 0
    told = [record.getMessage() for record in caplog.records if "watchdog" in record.getMessage()]
    assert told == [f"the watchdog is not fed: no progress of {frozen}"]


async def test_a_command_that_never_returns_from_the_dispatcher_stops_the_feeding(agent: Agent) -> None:
    agent.receiving = asyncio.Event()
    agent.inbox.put(cast("Connection", Acknowledging()), message(1))
    await agent.live(2 * PERIOD_S)
    agent.heard_since()
    await agent.live(10 * PERIOD_S)
    assert agent.heard_since() == 0


async def test_a_card_that_blocks_is_no_reason_not_to_feed_though_a_command_waits_for_it(
    agent: Agent,
) -> None:
    answers = threading.Event()
    blocked = agent.spool._thread.submit(lambda: answers.wait(15))
    agent.receiving = asyncio.Event()
    agent.inbox.put(cast("Connection", Acknowledging()), message(1))
    await agent.live(60 * PERIOD_S)
    assert agent.heard_since() == 60
    agent.receiving.set()
    answers.set()
    assert blocked.result(5)


async def test_the_loss_of_every_device_is_no_reason_not_to_feed(agent: Agent) -> None:
    agent.gone = Absent("gone")
    await agent.live(60 * PERIOD_S)
    assert agent.heard_since() == 60


class Acknowledging:
    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def acknowledge(self, message: Message) -> None:
        self.acknowledged.append(message.mid)


def message(mid: int) -> Message:
    return Message("diemcau/v1/point/xp-0417/command/ping", b"{}", False, mid, 1)


async def test_commands_are_handed_over_one_by_one_in_their_order_and_then_acknowledged(
    clock: FakeClock,
) -> None:
    taken: list[bytes] = []
    hold = asyncio.Event()

    async def receive(topic: str, payload: bytes, retained: bool) -> None:
        taken.append(payload)
        await hold.wait()

    inbox, wire = Inbox(receive, clock, lambda: None), Acknowledging()
    task = asyncio.create_task(inbox.run(), name="inbox")
    for mid in range(3):
        inbox.put(cast("Connection", wire), Message("t", str(mid).encode(), False, mid, 1))
    await settle()
    assert (taken, wire.acknowledged, inbox.busy) == ([b"0"], [], True)
    hold.set()
    await settle()
    assert (taken, wire.acknowledged, inbox.busy) == ([b"0", b"1", b"2"], [0, 1, 2], False)
    task.cancel()
    await asyncio.wait([task])


async def test_a_flood_fills_no_memory_and_what_finds_no_room_is_not_acknowledged(clock: FakeClock) -> None:
    async def receive(topic: str, payload: bytes, retained: bool) -> None: ...

    inbox, wire = Inbox(receive, clock, lambda: None), Acknowledging()
    for mid in range(LIMIT + 100):
        inbox.put(cast("Connection", wire), message(mid))
    task = asyncio.create_task(inbox.run(), name="inbox")
    await settle(2 * LIMIT)
    assert wire.acknowledged == list(range(LIMIT))
    task.cancel()
    await asyncio.wait([task])

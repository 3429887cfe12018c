"""A whole simulated room in the test's own process: the real agent, real device processes, a real
broker; only time is the test's own, so that hours of a room's life pass in seconds."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from diemcau_agent import logs
from diemcau_agent.app import live
from diemcau_agent.config import Settings, check
from diemcau_agent.health import DeviceHealth
from diemcau_agent.line import uplink
from diemcau_agent.model import Selftest
from diemcau_agent.parts import Parts
from diemcau_agent.spool import Spool
from diemcau_sim.network import Network
from diemcau_sim.server import serving
from diemcau_sim.world import World
from fakeclock import FakeClock

STEP_S = 0.25
TRAIN_WAIT_S, TRAIN_INTERVAL_MS = 0.5, 5.0
"""Real time, so shorter than a kit's; over the worst delay that a fault makes (see diemcau_sim.network)."""
_numbers = itertools.count(1)


class SimRoom:
    def __init__(self, app: Parts, world: World, clock: FakeClock, task: asyncio.Task[int]) -> None:
        self.app = app
        self.world = world
        self.clock = clock
        self.task = task

    @property
    def point(self) -> str:
        return self.app.settings.point

    def health(self, part: str) -> DeviceHealth:
        return self.app.book.parts[part]

    async def idle(self) -> None:
        """Until no device is being asked: real work takes real time, and none of the room's."""
        while True:
            await asyncio.sleep(0.002)
            processes = ("camera", "audio", "display", "panel", "presence", "host")
            connection, stamping = self.app.broker.connection, self.app.stamping
            if stamping is not None and stamping.sending:
                continue
            if self.app.audit.busy:
                continue
            if any(self.app.workers.busy(process) for process in processes):
                continue
            if connection is None or not connection.in_flight or self.world.line_cut:
                return
            assert not self.task.done(), "the agent has ended"

    async def live(self, seconds: float) -> None:
        """Let the room's time pass, from one waking to the next: what each sets off takes no time of it."""
        end_s = self.clock.mono_s + seconds
        while (left_s := end_s - self.clock.mono_s) > 1e-6:
            wake_s = self.clock.next_wake_s
            await self.clock.advance(
                left_s if wake_s is None else min(left_s, max(0.0, wake_s - self.clock.mono_s))
            )
            await self.idle()

    async def selftest(self) -> Selftest:
        """A quick self-test, while the room's time passes."""
        test = asyncio.create_task(self.app.selftests.test("quick", "command"), name="self-test")
        while not test.done():
            await self.live(STEP_S)
        return await test

    def shows(self, part: str, code: str | None) -> bool:
        """Whether ``part``'s worst code is ``code``; of the line, its first broken link, and told so."""
        health = self.health(part)
        if code is None:
            return health.code is None and health.state == "ok"
        if part == "line":
            return code in health.codes and health.readings.get("cause") == code
        return health.code == code

    async def until_code(self, part: str, code: str | None, within_s: float) -> float:
        """Live until ``part`` :meth:`shows` ``code``; the room's seconds that it took."""
        began = self.clock.mono_s
        while not self.shows(part, code):
            passed = self.clock.mono_s - began
            assert passed <= within_s, f"{part}: {self.health(part)} after {passed} s, expected {code}"
            await self.live(STEP_S)
        return self.clock.mono_s - began


def settings_of(directory: Path, url: str, reflector: str, **more: Any) -> Settings:
    return check(
        {
            "point": f"xp-{next(_numbers):04d}",
            "commands": "unsigned",
            "backends": "sim",
            "backend_options": {"socket": str(directory / "world.sock")},
            "state_dir": str(directory / "state"),
            "runtime_dir": str(directory / "run"),
            "broker": {"urls": [url], "spread_s": 0.1, "keepalive_s": 5},
            "probe": {"period_s": 10, "presence_s": 2, "host_s": 5, "line_s": 5, "deadline_s": 2},
            "line": {"reflector": reflector, "survey_s": 10},
            **more,
        }
    )


@asynccontextmanager
async def living(directory: Path, url: str, **more: Any) -> AsyncGenerator[SimRoom]:
    """A room that is online and has looked at everything once."""
    clock = FakeClock()
    world = World()
    address = urlsplit(url)
    network = Network(world, address.hostname or "", address.port or 1883)
    network.start()
    url = f"mqtt://127.0.0.1:{network.broker_port}"
    settings = settings_of(directory, url, network.reflector, **more)
    world.watch(network.follow)
    for folder in (settings.state_dir, settings.runtime_dir):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with serving(world, directory / "world.sock"), patch.object(uplink, "INTERVAL_MS", TRAIN_INTERVAL_MS):
        spool = await Spool.open(Path(settings.state_dir) / "spool.sqlite3")
        try:
            app = Parts(settings, logs.begin(), clock, spool, await spool.next_session())
            if app.stamping is not None:
                app.stamping.wait_s = TRAIN_WAIT_S
            task = asyncio.create_task(live(app), name="agent")
            room = SimRoom(app, world, clock, task)
            try:
                while app.broker.trouble is not None:
                    assert not task.done(), task.exception()
                    await room.live(STEP_S)
                while any(part.checked_s is None for part in app.book.parts.values()):
                    await room.live(STEP_S)
                yield room
            finally:
                app.tasks.stop(0)
                while not task.done():
                    await clock.advance(STEP_S)
                    await asyncio.sleep(0.002)
                await task
        finally:
            await spool.close()
            network.stop()

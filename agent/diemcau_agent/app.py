"""The daemon: one session of the agent, its tasks from the first to the goodbye."""

from __future__ import annotations

import asyncio
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import logs, memory, signs
from .clock import Clock, SystemClock
from .config import Settings
from .control import SocketTaken
from .database import DatabaseError
from .exits import NOT
from .outage import tell_absence
from .parts import EXIT_RESTART, Parts
from .spool import Spool

log = logging.getLogger(__name__)

STOP_S = 5.0
SETTLED_S = 15.0
"""After a start everything has been looked at once, and what was needed for it can be given back."""


def main(settings: Settings) -> int:
    """Run until stopped; the exit code."""
    memory.one_arena()
    ring = logs.begin()
    try:
        for folder in (settings.state_dir, settings.runtime_dir):
            Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        log.critical("%s", error)
        return NOT
    return asyncio.run(run(settings, ring, SystemClock()))


async def run(settings: Settings, ring: logs.Ring, clock: Clock) -> int:
    """One session on its spool. What keeps the agent from starting is one line of the log."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "files"))
    path = Path(settings.state_dir) / "spool.sqlite3"
    try:
        spool = await Spool.open(path)
    except DatabaseError as error:
        log.critical("%s cannot be opened: %s", path, error)
        return NOT
    code = NOT
    try:
        code = await live(Parts(settings, ring, clock, spool, await spool.next_session()))
    except* DatabaseError as group:
        log.critical("%s cannot be used: %s", path, group.exceptions[0])
    except* SocketTaken as group:
        log.critical("%s", group.exceptions[0])
    finally:
        try:
            await spool.close()
        except DatabaseError as error:
            log.error("%s: what waited is lost: %s", path, error)
    return code


async def live(parts: Parts) -> int:
    """All the tasks until one ends the agent, or it is told to stop; an unexpected exception ends it too."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parts.tasks.stop, 0)
    await parts.room.load()
    await tell_absence(parts.spool, parts.mark, parts.stamp, parts.outbox.tell)
    parts.outbox.tell("agent_started", data={"session": parts.stamp.session})
    try:
        return await _run_all(parts)
    finally:
        await parts.aclose()


async def _run_all(parts: Parts) -> int:
    async with asyncio.TaskGroup() as group:
        if parts.reboots is not None:
            parts.tasks.spawn(parts.reboots.run(), "reboots")
        tasks = [
            group.create_task(work, name=name)
            for name, work in (
                ("broker", parts.broker.run()),
                ("monitor", parts.monitor.run()),
                ("commands", parts.inbox.run()),
                ("events", parts.outbox.run()),
                ("audit", parts.audit.run()),
                ("telemetry", parts.outbox.measure()),
                ("births", parts.births.run()),
                ("heartbeat", parts.heartbeat.run()),
                ("indicator", parts.indicator.run()),
                ("button", parts.room.run()),
                ("line", parts.line.run()),
                ("control", parts.control.serve()),
                ("watchdog", parts.watchdog.run()),
                ("memory", _give_back(parts.clock)),
            )
        ]
        await parts.control.listening.wait()
        parts.notifier.ready()
        code = await parts.tasks.ended
        parts.notifier.stopping()
        await _goodbye(parts, ordered=code == EXIT_RESTART)
        for task in tasks:
            task.cancel()
    return code


async def _goodbye(parts: Parts, *, ordered: bool) -> None:
    parts.outbox.tell(signs.STOPPING, data={"ordered": ordered})
    parts.mark.write(signs.now(parts.stamp, stopping=True))
    await parts.dispatcher.aclose()
    await parts.notices.aclose()
    await parts.outbox.settle(STOP_S)
    await parts.broker.goodbye()


async def _give_back(clock: Clock) -> None:
    await clock.sleep(SETTLED_S)
    memory.give_back()

"""The parent side of a device's process: spawn, deadline, kill, respawn.

PortAudio, libcamera and CEC hang and crash; in a process of their own they take nothing with
them. Each call has a deadline, then SIGKILL to the process group and a bounded reap. A child that
SIGKILL does not end sits in the kernel: stuck, reported, not respawned until it is gone.

Errors (beside those that the device itself answers, see diemcau_drivers.contract)::

    DeviceError
    ├── Hung       no answer by the deadline; the process was killed
    ├── Crashed    the process died by itself, or waits to be respawned after dying
    │   └── Left   it ended in good order instead of answering, twice
    └── Stuck      SIGKILL did not end it
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from diemcau_drivers import pipe
from diemcau_drivers.contract import PANEL_EVENTS, REOPEN, Busy, DeviceError

from .child import Child, Listener
from .clock import Clock

START_S = 20.0
"""A Pi 3 needs 6 s to import picamera2 and numpy from a cold card."""
WAIT_S = 30.0
"""How long a call waits for its turn at a device."""
BACKOFF_CAP_S = 30.0


class Hung(DeviceError):
    kind = "hung"


class Crashed(DeviceError):
    kind = "crashed"


class Left(Crashed):
    """It was leaving of itself, having been idle, when the question came: another is asked."""


class Stuck(DeviceError):
    kind = "stuck"


class Worker:
    """One device's process. Calls are served one at a time, in the order they came."""

    def __init__(
        self,
        process: str,
        backend: str,
        options: Mapping[str, Any],
        *,
        clock: Clock,
        deadline_s: float,
        listener: Listener,
        command: Sequence[str] = (sys.executable, "-P", "-m", "diemcau_drivers"),
    ) -> None:
        self.process = process
        self._command = command
        self.backend = backend
        self._options = options
        self._clock = clock
        self._deadline_s = deadline_s
        self._listener = listener
        self._lock = asyncio.Lock()
        self._child: Child | None = None
        self._stuck: Child | None = None
        self._failures = 0
        self._cause: type[DeviceError] = Crashed
        self._not_before = 0.0
        self._reapers: set[asyncio.Task[bool]] = set()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.alive else None

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    async def ask(
        self, do: str, args: Mapping[str, Any] | None = None, *, deadline_s: float | None = None
    ) -> dict[str, Any]:
        """The device's answer. Raises DeviceError; never takes longer than the wait for the device's
        turn (30 s) plus start (20 s), deadline and reap (2 s)."""
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        await self._turn()
        try:
            try:
                return await self._answer(do, args or {}, limit_s)
            except Left:
                return await self._answer(do, args or {}, limit_s)
        finally:
            self._lock.release()

    async def _answer(self, do: str, args: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        child = await self._ready_child()
        try:
            async with asyncio.timeout(deadline_s):
                answer = await child.call(do, args)
        except TimeoutError:
            await self._kill(child)
            self._failed(Hung)
            raise Hung(f"{self.process} {do}: no answer by the deadline") from None
        except (ConnectionError, pipe.FramingError) as error:
            await self._ended(child, child.leave())
            if child.returncode == 0 and isinstance(error, ConnectionError):
                raise Left(f"{self.process} {do}: the process left without an answer") from None
            self._failed()
            raise Crashed(f"{self.process} {do}: the process died: {error or 'end of file'}") from None
        except asyncio.CancelledError:
            # Whoever asked went away in the middle of a call: the answer belongs to nobody, so
            # the process is not trusted with the next question.
            self._reap(child, child.end())
            raise
        except DeviceError:
            self._failures = 0  # it answered
            raise
        self._failures = 0
        return answer

    async def restart(self) -> int:
        """Kill what is there, spawn anew, and return the new pid. Raises DeviceError."""
        await self._turn()
        try:
            if self._child is not None:
                await self._kill(self._child)
            self._not_before = 0.0
            return (await self._ready_child()).pid
        finally:
            self._lock.release()

    async def reopen(self) -> None:
        """Let the process open its device anew. Raises DeviceError."""
        await self.ask(REOPEN)
        self._listener("reopened", {"process": self.process})

    async def close(self) -> None:
        """End the process: by closing its pipe, then by SIGKILL."""
        child, self._child = self._child, None
        if child is not None:
            await child.leave()
        if self._reapers:
            await asyncio.wait(self._reapers)

    def _reap(self, child: Child, ending: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        """End the process in a task of its own, which goes on when whoever asked goes away."""
        self._child = None

        async def reap() -> bool:
            gone = await ending
            if not gone:
                self._stuck = child
                self._failed()
            return gone

        reaper = asyncio.create_task(reap(), name=f"worker {child.pid} reaped")
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        return reaper

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._lock.acquire()
        except TimeoutError:
            raise Busy(f"{self.process} has been busy for {WAIT_S:g} s", in_use_by="diemcau") from None

    async def _ready_child(self) -> Child:
        if self._reapers:
            await asyncio.wait(self._reapers)  # two processes at one device would be in each other's way
        if self._stuck is not None:
            if self._stuck.returncode is None:
                raise Stuck(f"{self.process}: pid {self._stuck.pid} does not end on SIGKILL")
            self._stuck = None
        if self._child is not None:
            if self._child.alive:
                return self._child
            await self._retire(self._child)
        wait_s = self._not_before - self._clock.monotonic()
        if wait_s > 0:
            raise self._cause(f"{self.process}: respawn in {wait_s:.1f} s after {self._failures} failures")
        try:
            self._child = child = await Child.spawn([*self._command, self.process], self._heard)
        except OSError as error:
            self._failed()
            raise Crashed(f"{self.process}: cannot be started: {error}") from None
        try:
            async with asyncio.timeout(START_S):
                await child.greet(self.backend, self._options)
        except TimeoutError:
            await self._kill(child)
            self._failed(Hung)
            raise Hung(f"{self.process}: did not start in {START_S:g} s") from None
        except (ConnectionError, pipe.FramingError) as error:
            await self._kill(child)
            self._failed()
            raise Crashed(f"{self.process}: died while starting: {error or 'end of file'}") from None
        except asyncio.CancelledError:
            self._reap(child, child.end())
            raise
        news = {"process": self.process, "pid": child.pid, "confined": child.confined}
        self._listener("spawned", news)
        return child

    def _heard(self, event: str, data: Mapping[str, Any]) -> None:
        """Only the panel has a button: whoever took another process over presses none."""
        if self.process == "panel" and event in PANEL_EVENTS:
            self._listener(event, data)

    async def _retire(self, child: Child) -> None:
        """A child found dead between calls: left when idle (exit code 0), or died."""
        await self._ended(child, child.leave())
        if child.returncode != 0:
            self._failed()
            raise Crashed(f"{self.process}: the process died with {child.returncode} between two calls")

    async def _kill(self, child: Child) -> None:
        await self._ended(child, child.end())

    async def _ended(self, child: Child, ending: Coroutine[Any, Any, bool]) -> None:
        if not await asyncio.shield(self._reap(child, ending)):
            raise Stuck(f"{self.process}: pid {child.pid} does not end on SIGKILL")

    def _failed(self, cause: type[DeviceError] = Crashed) -> None:
        """Count a failure; the first is retried at once, then 1 s, 2 s, 4 s ... 30 s, jittered.

        A hang has cost its deadline already, so it waits no longer on top until the third in a row.
        """
        self._failures += 1
        self._cause = cause
        step = self._failures - (4 if cause is Hung else 2)
        pause_s = 0.0 if step < 0 else min(BACKOFF_CAP_S, 2.0**step) * random.uniform(0.5, 1.0)
        self._not_before = self._clock.monotonic() + pause_s


class Workers:
    """Every device's process by name."""

    def __init__(self, workers: Mapping[str, Worker]) -> None:
        self._workers = workers

    def __contains__(self, process: str) -> bool:
        return process in self._workers

    async def ask(
        self,
        process: str,
        do: str,
        args: Mapping[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """See :meth:`Worker.ask`."""
        return await self._workers[process].ask(do, args, deadline_s=deadline_s)

    async def restart(self, process: str) -> int:
        return await self._workers[process].restart()

    async def reopen(self, process: str) -> None:
        await self._workers[process].reopen()

    def pid(self, process: str) -> int | None:
        return self._workers[process].pid

    def busy(self, process: str) -> bool:
        return self._workers[process].busy

    async def close(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))


class Ask(Protocol):
    """:meth:`Workers.ask`, for those who need no more of them. Raises DeviceError."""

    def __call__(
        self, process: str, do: str, args: Mapping[str, Any] | None = None, *, deadline_s: float | None = None
    ) -> Awaitable[dict[str, Any]]: ...

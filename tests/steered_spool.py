"""A real spool in a folder of the test's own, whose card can be made to fail or to hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from diemcau_agent.database import CardFailed, told
from diemcau_agent.spool import Spool
from fakeclock import FakeClock, settle


class Card:
    """``broken``: every work in the disk's thread fails. ``asked`` counts them. :meth:`hang`: none ends."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.broken = False
        self.asked = 0
        self._gate = threading.Event()
        self._gate.set()
        self._submit: Callable[..., Future[Any]] = spool._thread.submit
        spool._thread.submit = self.submit

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        self.asked += 1
        return self._submit(lambda: self._steered(work))

    def _steered(self, work: Callable[[], Any]) -> Any:
        self._gate.wait(15)
        if self.broken:
            self.spool._card.failed = True
            raise CardFailed("disk I/O error")
        with told():
            return work()

    def hang(self) -> None:
        """As in an fsync that does not return."""
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    async def settle(self) -> None:
        """Until the spool's thread has done what it was asked, and whoever waited has gone on."""
        for _ in range(3):
            await settle()
            if self._gate.is_set():
                await asyncio.wrap_future(self._submit(_nothing))
        await settle()

    async def live(self, clock: FakeClock, seconds: float, step_s: float = 0.05) -> None:
        """Time passes in steps, and the spool's thread keeps up."""
        for _ in range(round(seconds / step_s)):
            await self.settle()
            await clock.advance(step_s)
        await self.settle()


async def crash(spool: Spool) -> None:
    """Let go of the file without committing anything, as a SIGKILL would."""
    await spool._ask(spool._card.close, 10)
    spool._thread.end()


def _nothing() -> None:
    pass


async def opened(directory: Path, **bounds: Any) -> Card:
    return Card(await Spool.open(directory / "spool.sqlite3", **bounds))

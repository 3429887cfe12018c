"""A real spool in a folder of the test's own, whose card can be made to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diemcau_agent.database import Corrupt
from diemcau_agent.spool import Spool
from fakeclock import FakeClock, settle


class Card:
    """``broken``: every access to the spool's database fails. ``asked`` counts them."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.broken = False
        self.asked = 0
        self._run: Callable[..., Any] = spool.database.run
        spool.database.run = self.run

    async def run(self, work: Callable[..., Any]) -> Any:
        self.asked += 1
        if self.broken:
            raise Corrupt("disk I/O error")
        return await self._run(work)

    async def settle(self) -> None:
        """Until the spool's thread has done what it was asked, and whoever waited has gone on."""
        for _ in range(3):
            await settle()
            await self._run(_nothing)
        await settle()

    async def live(self, clock: FakeClock, seconds: float, step_s: float = 0.05) -> None:
        """Time passes in steps, and the spool's thread keeps up."""
        for _ in range(round(seconds / step_s)):
            await self.settle()
            await clock.advance(step_s)
        await self.settle()


def _nothing(_: object) -> None:
    pass


async def opened(directory: Path) -> Card:
    return Card(await Spool.open(directory / "spool.sqlite3"))

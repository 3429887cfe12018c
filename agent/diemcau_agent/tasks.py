"""The tasks that come and go, and what ends the agent: being told to, or what nobody expected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """``ended``: the exit code once the agent is to end, or the exception that ends it."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._passing: set[asyncio.Task[Any]] = set()

    def stop(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[Any]:
        """A task that comes and goes, and ends with the agent at the latest."""
        task = asyncio.create_task(work, name=name)
        self._passing.add(task)
        task.add_done_callback(self._passed)
        return task

    async def aclose(self) -> None:
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _passed(self, task: asyncio.Task[Any]) -> None:
        """What nobody expected ends the process, as in any other task; it is started again."""
        self._passing.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self.ended.done():
            log.error("%s: failed while stopping", task.get_name(), exc_info=error)
        else:
            self.ended.set_exception(error)

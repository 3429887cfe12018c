"""What runs: how much of it, whose it is, and what is held for it. A device is one command's at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any

from diemcau_agent.model import Claims

from .order import Order
from .outcome import Refused

RUNNING_LIMIT = 32
KEY_LIMIT = 16
"""Of one key: whoever may only ping keeps nobody else out, however long his pings spread themselves."""


class Running:
    """A task a command, by its id; the parts that it holds, whose id holds them."""

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.held: dict[str, str] = {}
        self._of_key: Counter[str] = Counter()

    def check_limits(self, iss: str) -> None:
        """Raises Refused (``busy``)."""
        if len(self.tasks) >= RUNNING_LIMIT:
            raise Refused("busy", f"{RUNNING_LIMIT} commands run already")
        if self._of_key[iss] >= KEY_LIMIT:
            raise Refused("busy", f"{KEY_LIMIT} commands of {iss} run already")

    def check_free(self, parts: Iterable[str]) -> None:
        """Raises Refused (``busy``)."""
        for part in parts:
            if part in self.held:
                raise Refused("busy", f"{part}: command {self.held[part]} runs on it")

    def hold(self, order: Order) -> None:
        self.held |= dict.fromkeys(order.verb.holds(order.args), order.call.claims.id)

    def release(self, claim: Claims) -> None:
        self.held = {part: by for part, by in self.held.items() if by != claim.id}

    def start(self, claim: Claims, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"command {claim.verb} {claim.id}")
        self.tasks[claim.id] = task
        self._of_key[claim.iss] += 1
        task.add_done_callback(lambda _: self._ended(claim))  # even of one cancelled before it began

    async def aclose(self) -> None:
        """Cut short what runs."""
        tasks = set(self.tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, claim: Claims) -> None:
        self.release(claim)
        del self.tasks[claim.id]
        self._of_key -= Counter((claim.iss,))  # and no zeros stay behind

"""What goes to ``reply/{iss}``: built from the stamp, sent in order, never waited for by what runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from diemcau_agent.model import Claims, Reply, ReplyState, encode

from .context import Context
from .outcome import CommandError, Done, Refused

log = logging.getLogger(__name__)

WAITING_LIMIT = 64
"""Replies under way; beyond, those that repeat or refuse are dropped, so a flood fills no memory."""
SEND_S = 30.0
PROGRESS_S = 1.0
TOLD_S = 5.0
DETAIL_LIMIT = 1000


class Ending(msgspec.Struct, frozen=True):
    """``answer`` goes out, ``kept`` into the journal."""

    state: ReplyState
    code: str | None
    answer: bytes
    kept: bytes


class Kept(msgspec.Struct, frozen=True):
    """What a kept answer says of how its command ended."""

    state: ReplyState
    code: str | None = None


class Replies:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._sending: set[asyncio.Task[None]] = set()

    def build(
        self,
        command_id: str,
        verb: str,
        state: ReplyState,
        *,
        error: CommandError | None = None,
        result: Any = None,
    ) -> bytes:
        return encode(
            Reply(
                **self._context.stamp.fields(Reply),
                id=command_id,
                verb=verb,
                state=state,
                code=None if error is None else error.code,
                detail=None if error is None else error.detail[:DETAIL_LIMIT],
                result=result,
            )
        )

    def ending(self, claim: Claims, outcome: Done | CommandError) -> Ending:
        if isinstance(outcome, Done):
            answer = self.build(claim.id, claim.verb, "done", result=outcome.result)
            if outcome.kept is None:
                return Ending("done", None, answer, answer)
            return Ending("done", None, answer, self.build(claim.id, claim.verb, "done", result=outcome.kept))
        state: ReplyState = "refused" if isinstance(outcome, Refused) else "failed"
        answer = self.build(claim.id, claim.verb, state, error=outcome)
        return Ending(state, outcome.code, answer, answer)

    def send(self, iss: str, payload: bytes, *, droppable: bool = False) -> None:
        """Begin to send. Tasks start in the order they are made, and a connection keeps its order."""
        if droppable and len(self._sending) >= WAITING_LIMIT:
            log.warning("reply to %s dropped: %d are under way", iss, len(self._sending))
            return
        task = asyncio.create_task(self._send(iss, payload), name=f"reply {iss}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def say(self, claims: Claims, state: ReplyState, result: Any = None) -> None:
        self.send(claims.iss, self.build(claims.id, claims.verb, state, result=result))

    def progress(self, claims: Claims) -> Callable[[Any], None]:
        """Says ``running`` with what it is called with, at most once a second."""
        clock = self._context.clock
        last_s = float("-inf")

        def progress(data: Any) -> None:
            nonlocal last_s
            if clock.monotonic() - last_s >= PROGRESS_S:
                last_s = clock.monotonic()
                self.say(claims, "running", data)

        return progress

    async def told(self) -> None:
        """Wait until what was begun has left, at most 5 s."""
        if self._sending:
            await asyncio.wait(set(self._sending), timeout=TOLD_S)

    async def aclose(self) -> None:
        await self.told()
        left = set(self._sending)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def _send(self, iss: str, payload: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._context.publish_reply(iss, payload)
        except TimeoutError:
            log.warning("reply to %s not acknowledged within %.0f s", iss, SEND_S)

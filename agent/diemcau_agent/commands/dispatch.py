"""What becomes of a command: once through the checks, written down, run, and ended by one answer.

What passes (:mod:`.checks`) is written into the journal and acknowledged; it runs as a task of its own and
ends in one answer, kept in the journal, so an id that comes again gets that answer and nothing runs
twice. A harmless verb is answered first (verb.py). An exception that no handler expected ends its command
as ``failed``, ``internal``, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from diemcau_agent.audit.chain import ACCEPTED
from diemcau_agent.database import DatabaseError
from diemcau_agent.model import Claims, ReplyState
from diemcau_drivers.contract import DeviceError

from .checks import Checks
from .context import Context
from .journal import Entry, Journal
from .order import Order
from .outcome import CommandError, Done, Failed, Refused, Unanswerable
from .refusals import Refusals
from .replies import Ending, Kept, Replies
from .running import Running
from .signature import Verifier
from .verb import Call, Verb
from .verbs import VERBS

log = logging.getLogger(__name__)

NOTED_S = 2.0
"""A card that takes no audit holds up no command for longer; only a snapshot is not taken without."""
TOLD_S = 2.0
"""A card that takes its time holds up no answer for longer."""


class Dispatcher:
    """``verifier`` None: commands are off, and everything is counted as no command."""

    def __init__(
        self, context: Context, verifier: Verifier | None, verbs: Mapping[str, Verb[Any]] = VERBS
    ) -> None:
        self._context = context
        self._verbs = verbs
        self._journal = Journal(context.spool)
        self._refusals = Refusals(context.clock, context.event)
        self._replies = Replies(context)
        self._running = Running()
        self._checks = Checks(context, verifier, verbs, self._running)
        self._turn = asyncio.Lock()

    async def receive(self, topic: str, payload: bytes, retained: bool) -> None:
        """One message. Returns once it may be acknowledged: refused, answered, or in the journal."""
        try:
            letter = self._checks.open(payload)
        except Unanswerable as error:
            if self._refusals.count(error.code):
                log.info("%r: %s", topic[:256], error)
            return
        verb = topic.rpartition("/")[2][:32]
        try:
            async with self._turn:
                claim = self._checks.claims(letter, topic, len(payload), retained=retained)
                entry = await self._journal.find(claim.id)
                if entry is not None:
                    self._repeat(entry, claim)
                    return
                order = await self._checks.order(self._call(claim, payload))
                if order.delay_s or not order.verb.harmless:
                    await self._write_down(order)
                    return
                self._note(order)
                self._replies.say(claim, "accepted")
                ending = await self._run(order)
            self._replies.send(claim.iss, ending.answer)
            record = self._journal.record(claim.id, msgspec.json.encode(claim), ending.kept)
            await self._keep(claim, record)
            self._tell(claim, ending.state, ending.code, None)
        except Refused as error:
            if self._refusals.count(error.code):
                log.info("command %s of %s refused: %r", letter.id, letter.iss, str(error))
            refusal = self._replies.build(letter.id, verb, "refused", error=error)
            self._replies.send(letter.iss, refusal, droppable=True)
        except DatabaseError as error:
            log.error("command %s not run, the journal cannot be used: %s", letter.id, error)
            failure = Failed("internal", f"the journal cannot be used: {error}")
            failed = self._replies.build(letter.id, verb, "failed", error=failure)
            self._replies.send(letter.iss, failed, droppable=True)

    async def resume(self) -> None:
        """Answer what the last session left: a restart's proof, or ``interrupted``. Once, when connected.

        What it answered, and died before an event told it, is told now.
        """
        for entry in await self._journal.untold():
            claim = msgspec.json.decode(entry.claims, type=Claims)
            try:
                kept = msgspec.json.decode(entry.answer or b"", type=Kept)
            except msgspec.DecodeError as error:
                log.error("the answer to command %s cannot be told: %s", entry.id, error)
                continue
            self._tell(claim, kept.state, kept.code, None)
        left = [entry for entry in await self._journal.unfinished() if entry.id not in self._running.tasks]
        for entry in left:
            claim = msgspec.json.decode(entry.claims, type=Claims)
            verb = self._verbs.get(claim.verb)
            outcome: Done | CommandError = Failed("interrupted", "the agent was stopped meanwhile")
            if verb is not None and entry.intent is not None:
                try:
                    outcome = await verb.resume(self._call(claim), entry.intent)
                except CommandError as error:
                    outcome = error
            await self._finish(claim, self._replies.ending(claim, outcome), None)

    async def aclose(self) -> None:
        """Stop what runs: its entry stays open, and the next session answers it."""
        await self._running.aclose()
        await self._refusals.aclose()
        await self._replies.aclose()

    def _repeat(self, entry: Entry, claim: Claims) -> None:
        before = msgspec.json.decode(entry.claims, type=Claims)
        if (before.iss, before.verb) != (claim.iss, claim.verb):
            raise Refused("bad_args", "id: was used by another command before")
        answer = entry.answer or self._replies.build(claim.id, claim.verb, "accepted")
        self._replies.send(claim.iss, answer, droppable=True)

    async def _write_down(self, order: Order) -> None:
        claim = order.call.claims
        if not order.delay_s:
            self._running.hold(order)
        intent = order.verb.intent(order.call, order.args)
        try:
            await self._journal.accept(claim.id, msgspec.json.encode(claim), intent, claim.verb)
        except BaseException:
            self._running.release(claim)
            raise
        self._note(order)
        self._running.start(claim, self._carry_out(order))

    def _note(self, order: Order) -> None:
        """Into the audit, before it is done."""
        claim = order.call.claims
        args = {name: "given" if name in order.verb.unsaid else value for name, value in claim.args.items()}
        data = {"id": claim.id, "verb": claim.verb, "iss": claim.iss, "aud": claim.aud, "args": args}
        self._context.note(ACCEPTED, data)

    async def _carry_out(self, order: Order) -> None:
        claim = order.call.claims
        self._replies.say(claim, "accepted")
        await self._context.noted(NOTED_S)
        ending = await self._run(order)
        self._running.release(claim)
        await self._finish(claim, ending, order.device)

    async def _run(self, order: Order) -> Ending:
        verb, claim = order.verb, order.call.claims
        try:
            if order.delay_s:
                await self._context.clock.sleep(order.delay_s)
                await self._checks.again(order)
                self._running.hold(order)
            async with asyncio.timeout(verb.deadline_s):
                done = await verb.run(order.call, order.args)
            return self._replies.ending(claim, done)
        except CommandError as error:
            return self._replies.ending(claim, error)
        except DeviceError as error:
            return self._replies.ending(claim, order.failed(error))
        except TimeoutError:
            return self._replies.ending(claim, Failed("deadline", f"not done within {verb.deadline_s:g} s"))
        except DatabaseError as error:
            return self._replies.ending(claim, Failed("internal", f"the journal cannot be used: {error}"))
        except Exception as error:
            # A fault in one handler must not end the agent: the room's other devices are watched by it.
            log.exception("command %s %s", verb.name, claim.id)
            return self._replies.ending(claim, Failed("internal", f"{type(error).__name__}: {error}"))

    async def _finish(self, claim: Claims, ending: Ending, device: str | None) -> None:
        """Kept, told, answered, in this order: what was answered is on record, whatever dies next."""
        await self._keep(claim, self._journal.finish(claim.id, ending.kept))
        self._tell(claim, ending.state, ending.code, device)
        await self._context.settle(TOLD_S)
        self._replies.send(claim.iss, ending.answer)

    async def _keep(self, claim: Claims, keeping: Awaitable[None]) -> None:
        try:
            await keeping
        except DatabaseError as error:
            log.error("the answer to command %s is not kept: %s", claim.id, error)

    def _tell(self, claim: Claims, state: ReplyState, code: str | None, device: str | None) -> None:
        data = {"id": claim.id, "verb": claim.verb, "iss": claim.iss, "state": state}
        self._context.event("command", device=device, code=code, data=data)

    def _call(self, claim: Claims, payload: bytes = b"") -> Call:
        replies = self._replies
        return Call(self._context, self._journal, claim, replies.progress(claim), replies.told, payload)

"""From a message to an order, in the order of checks of docs/wire.md.

Size, signature, retained, audience; then the journal's word, which is the dispatcher's to ask; nonce, expiry,
role, verb, args; then what the room says (policy, too_often, frozen, busy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diemcau_agent.model import Claims

from .claims import (
    ANSWERABLE_BYTES,
    Letter,
    check_audience,
    check_envelope,
    check_times,
    claims,
    fitted,
    read,
)
from .context import Context
from .order import Order
from .outcome import Refused, Unanswerable
from .running import Running
from .signature import Verifier
from .verb import Call, Verb


class Checks:
    """``verifier`` None: commands are off, and nothing is one."""

    def __init__(
        self, context: Context, verifier: Verifier | None, verbs: Mapping[str, Verb[Any]], running: Running
    ) -> None:
        self._context = context
        self._verifier = verifier
        self._verbs = verbs
        self._running = running

    def open(self, payload: bytes) -> Letter:
        """Raises Unanswerable."""
        if self._verifier is None:
            raise Unanswerable("not_a_command", "commands are off")
        if len(payload) > ANSWERABLE_BYTES:
            raise Unanswerable("too_large", f"{len(payload)} bytes")
        return read(self._verifier.open(payload))

    def claims(self, letter: Letter, topic: str, size: int, *, retained: bool) -> Claims:
        """Those of a command to this point. Raises Refused."""
        check_envelope(size, retained)
        claim = claims(letter)
        check_audience(topic, claim, self._context.settings().audiences)
        return claim

    async def order(self, call: Call) -> Order:
        """Raises Refused."""
        context, claim = self._context, call.claims
        to_group = claim.aud.startswith("group/")
        if to_group and not context.stamp.synced:
            raise Refused("clock_unsynced", "a group's commands need a synced clock, this point has none")
        age_s = context.clock.monotonic() - context.started_s
        if to_group and claim.iat < int(context.clock.wall() - age_s):
            # No nonce tells it from one that ran before the start, where the journal was lost with the card.
            raise Refused("expired", "iat: a group's command from before this session of the agent")
        if not to_group and not context.nonce_valid(claim.nonce):
            raise Refused("bad_nonce", "nonce: expected the newest of this point's status")
        check_times(claim, context.clock.wall(), synced=context.stamp.synced)
        self._check_role(claim)
        verb = self._verbs.get(claim.verb)
        if verb is None:
            raise Refused("unknown_verb", f"got {claim.verb}, expected one of {', '.join(self._verbs)}")
        if to_group and not verb.group:
            raise Refused("not_permitted", f"{verb.name}: cannot be sent to a group")
        args = fitted(verb.args, claim.args, "args")
        spread_s = float(getattr(args, "spread_s", 0.0))
        delay_s = context.uniform(0.0, spread_s) if spread_s else 0.0
        order = Order(verb, call, args, delay_s)
        self._running.check_limits(claim.iss)
        await self._admit(order)
        return order

    async def again(self, order: Order) -> None:
        """After its delay: the key may have been revoked meanwhile, the room accepted, a conference begun.
        Raises Refused."""
        self._check_role(order.call.claims)
        await self._admit(order)

    def _check_role(self, claim: Claims) -> None:
        if self._verifier is None or not self._verifier.permits(claim.iss, claim.verb):
            raise Refused("not_permitted", f"{claim.verb}: not of this key's role")

    async def _admit(self, order: Order) -> None:
        """What the room says, now."""
        await order.verb.permit(order.call, order.args)
        forced = bool(getattr(order.args, "force", False))
        if order.verb.disturbs(order.args) and not forced and self._context.frozen():
            raise Refused("frozen", "a conference is on; force: true does it all the same")
        self._running.check_free(order.verb.holds(order.args))

"""``resend``: what the spool still holds of a range, published once more under its old numbers.

Slower than live traffic, :data:`AT_ONCE` numbers a command: ``next`` says where to go on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from diemcau_agent.commands.outcome import Done, Failed, Refused
from diemcau_agent.commands.verb import Args, Call, Verb
from diemcau_agent.database import DatabaseError

AT_ONCE = 1000
BATCH = 16
PAUSE_S = 0.1
"""Half as fast as catching up, so that both together leave room for what is new."""

_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"
Seq = Annotated[int, Meta(ge=1, le=2**53)]


class ResendArgs(Args, frozen=True, forbid_unknown_fields=True, kw_only=True):
    spool: Annotated[str, Meta(pattern=_UUID, description="the UUID of a spool, as its documents say it")]
    stream: Literal["event", "telemetry"]
    first: Seq = field(name="from")
    last: Seq = field(name="to")


class Resend(Verb[ResendArgs]):
    name = "resend"
    args = ResendArgs
    deadline_s = AT_ONCE * PAUSE_S + 120.0

    def holds(self, args: ResendArgs) -> tuple[str, ...]:
        return ("spool",)

    async def permit(self, call: Call, args: ResendArgs) -> None:
        if args.first > args.last:
            raise Refused("bad_args", f"args.to: got {args.last}, expected at least args.from, {args.first}")
        spool = call.context.spool
        if not spool.uuid:
            raise Refused("busy", "spool: the card does not answer now")
        if args.spool != spool.uuid:
            raise Refused("bad_args", f"args.spool: got {args.spool}, expected this point's, {spool.uuid}")

    async def run(self, call: Call, args: ResendArgs) -> Done:
        """``result``: ``sent``, how many; ``missing``, the ranges of what is not there any more (or never
        was); ``next``, the first number that was not looked at, or None."""
        context = call.context
        last = min(args.last, args.first + AT_ONCE - 1)
        sent = 0
        missing: list[tuple[int, int]] = []
        at = args.first
        while at <= last:
            try:
                records = await context.spool.range(args.stream, at, last, BATCH)
            except DatabaseError as error:
                raise Failed("internal", f"the spool cannot be read: {error}") from error
            for record in records:
                if record.spool != args.spool:
                    raise Failed("interrupted", "the spool was replaced meanwhile")
                if record.seq > at:
                    missing.append((at, record.seq - 1))
                if not await context.publish(record.stream, record.payload):
                    raise Failed("interrupted", f"the connection was lost after {sent} documents")
                sent += 1
                at = record.seq + 1
                call.progress({"sent": sent})
                await context.clock.sleep(PAUSE_S)
            if len(records) < BATCH:
                if at <= last:
                    missing.append((at, last))
                break
        return Done({"sent": sent, "missing": missing, "next": None if last == args.last else last + 1})

"""``rehearse``: a conference's load on the line, and how it carried it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Failed
from diemcau_agent.commands.verb import Call, GroupArgs, Verb


class RehearseArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    seconds: Annotated[float, Meta(ge=1, le=120)] = 15.0
    rate_pps: Annotated[int, Meta(ge=1, le=2000)] = 50
    size_bytes: Annotated[int, Meta(ge=64, le=1472)] = 200
    dscp: Annotated[int, Meta(ge=0, le=63)] = 46
    """RFC 3246: 46 is Expedited Forwarding, what voice is marked with."""
    force: bool = False


class Rehearse(Verb[RehearseArgs]):
    name = "rehearse"
    args = RehearseArgs
    group = True
    deadline_s = 150.0

    def holds(self, args: RehearseArgs) -> tuple[str, ...]:
        return ("line",)

    def disturbs(self, args: RehearseArgs) -> bool:
        return True

    async def run(self, call: Call, args: RehearseArgs) -> Done:
        rehearse = call.context.rehearse
        if rehearse is None:
            raise Failed("unsupported", "no reflector is configured: nothing at the far end would answer")
        load = msgspec.structs.asdict(args)
        try:
            record = await rehearse({key: load[key] for key in ("seconds", "rate_pps", "size_bytes", "dscp")})
        except OSError as error:
            raise Failed("reflector_silent", f"not measured: {error}") from error
        return Done(record)

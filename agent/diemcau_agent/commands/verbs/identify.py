"""``identify``: lights and screen call out "here"."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from diemcau_agent.commands.outcome import Done
from diemcau_agent.commands.verb import Call, GroupArgs, Verb


class IdentifyArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    seconds: Annotated[float, Meta(ge=1, le=300)] = 10.0
    force: bool = False


class Identify(Verb[IdentifyArgs]):
    name = "identify"
    args = IdentifyArgs
    group = True

    def disturbs(self, args: IdentifyArgs) -> bool:
        return True

    async def run(self, call: Call, args: IdentifyArgs) -> Done:
        await call.context.identify(args.seconds)
        return Done({"seconds": args.seconds})

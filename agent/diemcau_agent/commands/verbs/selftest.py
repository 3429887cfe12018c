"""``selftest``: the room's own, as a press of the button would run it."""

from __future__ import annotations

from diemcau_agent.commands.outcome import Done
from diemcau_agent.commands.verb import Call, GroupArgs, Verb
from diemcau_agent.model import Scope
from diemcau_drivers.contract import DEVICES


class SelftestArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    scope: Scope = "quick"
    force: bool = False


class Selftest(Verb[SelftestArgs]):
    name = "selftest"
    args = SelftestArgs
    group = True
    deadline_s = 90.0
    """A full one takes 60 s at most."""

    def holds(self, args: SelftestArgs) -> tuple[str, ...]:
        return DEVICES

    def disturbs(self, args: SelftestArgs) -> bool:
        return True

    async def run(self, call: Call, args: SelftestArgs) -> Done:
        return Done(await call.context.selftest(args.scope, "command", call.progress))

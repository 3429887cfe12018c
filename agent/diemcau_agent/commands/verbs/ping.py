"""``ping``: alive."""

from __future__ import annotations

from diemcau_agent.commands.outcome import Done
from diemcau_agent.commands.verb import Call, GroupArgs, Verb


class PingArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Ping(Verb[PingArgs]):
    name = "ping"
    args = PingArgs
    group = True
    harmless = True

    async def run(self, call: Call, args: PingArgs) -> Done:
        """``uptime_s`` is the agent's, ``host_uptime_s`` the machine's."""
        context = call.context
        now_s = context.clock.monotonic()
        return Done(
            {
                "session": context.stamp.session,
                "boot": context.stamp.boot,
                "uptime_s": round(now_s - context.started_s, 3),
                "host_uptime_s": round(now_s, 3),
            }
        )

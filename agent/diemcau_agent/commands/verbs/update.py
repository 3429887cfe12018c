"""``update``: another version, signed by the release key, or the old one back.

The agent downloads and hands over; it is restarted by what it handed over, so the answer comes from the other
side: the new version's session, or the old one's once it is back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from diemcau_agent import __version__
from diemcau_agent.commands.outcome import Done, Failed, Refused
from diemcau_agent.commands.verb import Call, GroupArgs, Verb
from diemcau_agent.update.release import Sha256, Version
from diemcau_agent.update.rules import NO_KEY, Url, check_window

ASK_AGAIN_S = 10.0
ASK_S = 2400.0
"""Longest that dpkg and two watches may take on a slow card."""

log = logging.getLogger(__name__)


class UpdateArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """No ``force``: it never begins while a conference is on, even one that freezes nothing."""

    version: Version
    url: Url
    sha256: Sha256


class Update(Verb[UpdateArgs]):
    name = "update"
    args = UpdateArgs
    group = True
    deadline_s = 3900.0
    unsaid = ("url",)
    resumes_beside = True

    def holds(self, args: UpdateArgs) -> tuple[str, ...]:
        return ("update",)

    async def permit(self, call: Call, args: UpdateArgs) -> None:
        context = call.context
        if context.update is None:
            raise Refused("not_permitted", NO_KEY)
        if context.conference_on():
            raise Refused("frozen", "a conference is on: no update begins before it has ended")
        window = context.settings().update.window
        check_window(window, context.clock.wall(), synced=context.stamp.synced)

    def intent(self, call: Call, args: UpdateArgs) -> Mapping[str, Any]:
        stamp = call.context.stamp
        return {"target": "agent", "session": stamp.session, "before": __version__, "to": args.version}

    async def run(self, call: Call, args: UpdateArgs) -> Done:
        context = call.context
        update = context.update
        if update is None:
            raise Refused("not_permitted", NO_KEY)
        if args.version == __version__:  # a group's command may come to a point that has it already
            return Done({"before": __version__, "version": __version__})
        try:
            release = await update.fetch(args.url, args.version, args.sha256)
            await self.permit(call, args)  # time has passed
            await call.told()
            await update.install(call.payload, release)
        finally:
            update.discard()
        return await self._ended(call)

    async def resume(self, call: Call, intent: Mapping[str, Any]) -> Done:
        if call.context.update is None:
            raise Failed("interrupted", "the agent was stopped meanwhile, and has no updater any more")
        return await self._ended(call)

    async def _ended(self, call: Call) -> Done:
        """Whoever installs it is asked until he knows; it may restart us first."""
        context, update = call.context, call.context.update
        deadline = context.clock.monotonic() + ASK_S
        while update is not None and context.clock.monotonic() < deadline:
            ending = await update.outcome(call.claims.id)
            if ending is None:
                await context.clock.sleep(ASK_AGAIN_S)
                continue
            if ending.state == "unknown":
                raise Failed("interrupted", "the agent was stopped before anything was installed")
            data = {"id": call.claims.id, "state": ending.state, "reason": ending.reason}
            code = None if ending.state == "installed" else ending.state
            context.event("update", code=code, from_=ending.before, to=ending.to, data=data)
            if code is None:
                return Done({"before": ending.before, "version": ending.to})
            raise Failed(code, f"{ending.to}: {ending.reason}")
        raise Failed("interrupted", f"the updater did not say within {ASK_S:g} s how it ended")

"""``restart``: of a device's process, the agent, the host. ``done`` comes from the far side, with proof.

A device: its process is killed and spawned anew, and a probe finds it well. The agent and the host: the
intent is in the journal before it happens; the next session finds it and answers with what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Failed, Refused
from diemcau_agent.commands.verb import Args, Call, Verb
from diemcau_drivers.contract import PROCESS_OF

HOST_RESTARTS_A_DAY = 3
GOOD_LOOKS = 3
"""Looks that a restarted device may take to be well: health wants two in a row before it drops a code."""
LOOK_AGAIN_S = 1.0
_BAD = ("failed", "stuck", "absent")


class RestartArgs(Args, frozen=True, forbid_unknown_fields=True, kw_only=True):
    target: Literal["camera", "microphone", "speaker", "display", "panel", "agent", "host"]
    reboot_nonce: Annotated[str, Meta(max_length=64)] | None = None
    """For the host: the reboot helper's own, which it checks itself."""
    force: bool = False


class Restart(Verb[RestartArgs]):
    name = "restart"
    args = RestartArgs
    deadline_s = 150.0
    unsaid = ("reboot_nonce",)

    def holds(self, args: RestartArgs) -> tuple[str, ...]:
        process = PROCESS_OF.get(args.target)
        if process is None:
            return (args.target,)
        others = (d for d in PROCESS_OF if PROCESS_OF[d] == process and d != args.target)
        return (args.target, *others)

    def disturbs(self, args: RestartArgs) -> bool:
        return True

    async def permit(self, call: Call, args: RestartArgs) -> None:
        context = call.context
        if args.target != "host":
            return
        if not context.settings().policy.host_restart:
            raise Refused("not_permitted", "this room's policy forbids to restart the host")
        count = await call.journal.restarts("host", context.clock.wall())
        if count >= HOST_RESTARTS_A_DAY:
            raise Refused(
                "too_often", f"got {count} restarts in 24 h, expected at most {HOST_RESTARTS_A_DAY}"
            )

    def intent(self, call: Call, args: RestartArgs) -> Mapping[str, Any] | None:
        if args.target in PROCESS_OF:
            return None
        stamp = call.context.stamp
        return {"target": args.target, "session": stamp.session, "boot": stamp.boot}

    async def run(self, call: Call, args: RestartArgs) -> Done:
        match args.target:
            case "agent":
                await call.told()
                call.context.restart_agent()
                return await _until_stopped()
            case "host":
                await self._host(call)
                return await _until_stopped()
            case device:
                return await self._device(call, device)

    async def resume(self, call: Call, intent: Mapping[str, Any]) -> Done:
        stamp = call.context.stamp
        if intent["target"] == "agent":
            return Done({"session_before": intent["session"], "session": stamp.session, "boot": stamp.boot})
        if intent["boot"] == stamp.boot:
            raise Failed("interrupted", "the agent came back, the host had not restarted")
        return Done({"boot_before": intent["boot"], "boot": stamp.boot, "session": stamp.session})

    async def _device(self, call: Call, device: str) -> Done:
        context, process = call.context, PROCESS_OF[device]
        pid_before = context.workers.pid(process)
        pid = await context.workers.restart(process)
        state, code, in_use_by = "unknown", None, None
        for look in range(GOOD_LOOKS):
            if look:
                await context.clock.sleep(LOOK_AGAIN_S)
            await context.look(process)
            judged = context.judged().get(device)
            if judged is not None:
                state, code, in_use_by = judged.state, judged.code, judged.in_use_by
            if state not in _BAD:
                break
        pid = context.workers.pid(process) or pid  # the look may have had to kill it once more
        if state in _BAD:
            raise Failed(code or state, f"restarted (pid {pid_before} to {pid}), but {device} is {state}")
        # What another program holds was not opened: then the proof says whose it is.
        holder = {} if in_use_by is None else {"in_use_by": in_use_by}
        return Done({"pid_before": pid_before, "pid": pid, "state": state, "code": code, **holder})

    async def _host(self, call: Call) -> None:
        context = call.context
        if context.restart_host is None:
            raise Failed("unsupported", "nothing on this kit may restart the host")
        await call.told()
        await context.restart_host(call.payload)
        # Whoever restarts it counts for himself, and is believed; this count only spares him questions.
        await call.journal.note_restart("host", context.clock.wall())


async def _until_stopped() -> Done:
    """The stop cancels this; where it never comes, the verb's deadline ends it."""
    return await asyncio.get_running_loop().create_future()

"""``microphone``: mute and gain. Muting is always allowed. Unmuting is, where the room's policy says so, and
only of what was muted from afar: who muted it in the room wants it so, and its process asks nobody else.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Refused
from diemcau_agent.commands.verb import Call, GroupArgs, Verb, given


class MicrophoneArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    mute: bool | None = None
    gain_db: Annotated[float, Meta(ge=-60, le=40)] | None = None
    force: bool = False


class Microphone(Verb[MicrophoneArgs]):
    name = "microphone"
    args = MicrophoneArgs
    group = True
    deadline_s = 75.0

    def holds(self, args: MicrophoneArgs) -> tuple[str, ...]:
        return ("microphone",)

    def disturbs(self, args: MicrophoneArgs) -> bool:
        return args.mute is False or args.gain_db is not None

    async def permit(self, call: Call, args: MicrophoneArgs) -> None:
        if not given(args, "mute", "gain_db"):
            raise Refused("bad_args", "args: got none, expected any of mute, gain_db")
        if args.mute is False and not call.context.settings().policy.unmute:
            raise Refused("not_permitted", "this room's policy forbids to unmute from afar")

    async def run(self, call: Call, args: MicrophoneArgs) -> Done:
        return Done(await call.context.ask("audio", "microphone", given(args, "mute", "gain_db")))

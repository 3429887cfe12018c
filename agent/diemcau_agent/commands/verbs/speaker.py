"""``speaker``: volume, mute, an announcement out of the kit's own store."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Refused
from diemcau_agent.commands.verb import Call, GroupArgs, Verb, given


class SpeakerArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    volume_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    mute: bool | None = None
    announce: Literal["chime", "attention", "here"] | None = None
    """contract.ANNOUNCEMENTS"""
    force: bool = False


class Speaker(Verb[SpeakerArgs]):
    name = "speaker"
    args = SpeakerArgs
    group = True
    deadline_s = 150.0

    def holds(self, args: SpeakerArgs) -> tuple[str, ...]:
        return ("speaker",)

    def disturbs(self, args: SpeakerArgs) -> bool:
        return args.announce is not None

    async def permit(self, call: Call, args: SpeakerArgs) -> None:
        if not given(args, "volume_percent", "mute", "announce"):
            raise Refused("bad_args", "args: got none, expected any of volume_percent, mute, announce")

    async def run(self, call: Call, args: SpeakerArgs) -> Done:
        ask = call.context.ask
        result = await ask("audio", "speaker", given(args, "volume_percent", "mute"))
        if args.announce is not None:
            force = {"force": True} if args.force else {}
            result |= {"announced": await ask("audio", "announce", {"name": args.announce} | force)}
        return Done(result)

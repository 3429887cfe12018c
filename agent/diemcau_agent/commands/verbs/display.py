"""``display``: power, input, brightness, words, a test card. ``unknown`` is what a screen does not tell."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Refused
from diemcau_agent.commands.verb import Call, GroupArgs, Verb, given

_ASKED = ("power", "input", "brightness_percent", "message", "card")


class DisplayArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    power: bool | None = None
    input: (
        Annotated[
            str,
            Meta(
                pattern=r"^(kit|[0-9a-f]\.[0-9a-f]\.[0-9a-f]\.[0-9a-f])\Z",
                description='"kit", or an HDMI physical address such as "2.0.0.0"',
            ),
        ]
        | None
    ) = None
    brightness_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    message: Annotated[str, Meta(max_length=300, description="text of at most 300 characters")] | None = None
    card: Literal["bars", "grid", "off"] | None = None
    """contract.TEST_CARDS"""
    force: bool = False


class Display(Verb[DisplayArgs]):
    name = "display"
    args = DisplayArgs
    group = True
    deadline_s = 75.0
    unsaid = ("message",)

    def holds(self, args: DisplayArgs) -> tuple[str, ...]:
        return ("display",)

    def disturbs(self, args: DisplayArgs) -> bool:
        return bool(given(args, "power", "input", "card"))

    async def permit(self, call: Call, args: DisplayArgs) -> None:
        if not given(args, *_ASKED):
            raise Refused("bad_args", f"args: got none, expected any of {', '.join(_ASKED)}")

    async def run(self, call: Call, args: DisplayArgs) -> Done:
        force = {"force": True} if args.force else {}
        return Done(await call.context.ask("display", "set", given(args, *_ASKED) | force))

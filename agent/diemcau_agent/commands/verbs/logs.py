"""``logs``: the newest lines of the journal."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Failed
from diemcau_agent.commands.verb import Args, Call, Verb

MAX_BYTES = 64 * 1024
LINE_LIMIT = 4096
"""Characters; what is longer is cut."""


class LogsArgs(Args, frozen=True, forbid_unknown_fields=True, kw_only=True):
    lines: Annotated[int, Meta(ge=1, le=2000)] = 200
    unit: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9][A-Za-z0-9@:_.-]{0,63}\Z",
                description="a unit's name, up to 64 of A-Z, a-z, 0-9 and @:_.-",
            ),
        ]
        | None
    ) = None
    """None: the agent's own."""


class Logs(Verb[LogsArgs]):
    name = "logs"
    args = LogsArgs
    deadline_s = 30.0

    async def run(self, call: Call, args: LogsArgs) -> Done:
        try:
            found = await call.context.journal_lines(args.unit, args.lines)
        except OSError as error:
            raise Failed("unsupported", f"the system's journal cannot be read: {error}") from error
        newest: list[str] = []
        room = MAX_BYTES
        for line in reversed(found[-args.lines :]):
            cut = line[:LINE_LIMIT]
            room -= len(msgspec.json.encode(cut)) + 1
            if room < 0:
                break
            newest.append(cut)
        newest.reverse()
        return Done({"unit": args.unit, "lines": newest, "left_out": len(found) - len(newest)})

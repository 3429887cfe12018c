"""``update``: another version, signed by the release key, or the old one back."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from diemcau_agent.commands.outcome import Done, Refused
from diemcau_agent.commands.verb import Call, GroupArgs, Verb

NO_KEY = "this kit holds no release key, and takes no package without one"


class UpdateArgs(GroupArgs, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: Annotated[str, Meta(pattern=r"^[0-9][0-9A-Za-z.+~-]{0,63}\Z", description='such as "1.4.2"')]
    url: Annotated[str, Meta(pattern=r"^https://[^\s]{1,500}\Z", description="an https:// URL")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 of 0-9 and a-f")]
    force: bool = False


class Update(Verb[UpdateArgs]):
    name = "update"
    args = UpdateArgs
    group = True
    unsaid = ("url",)

    def disturbs(self, args: UpdateArgs) -> bool:
        return True

    async def permit(self, call: Call, args: UpdateArgs) -> None:
        if call.context.update is None:
            raise Refused("not_permitted", NO_KEY)

    async def run(self, call: Call, args: UpdateArgs) -> Done:
        update = call.context.update
        if update is None:
            raise Refused("not_permitted", NO_KEY)
        return Done(await update(args.version, args.url, args.sha256))

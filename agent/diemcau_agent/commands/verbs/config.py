"""``config``: the settings in force, and those that may be changed from afar (:mod:`..remote`)."""

from __future__ import annotations

import logging
from typing import Any

from diemcau_agent.commands import remote
from diemcau_agent.commands.outcome import Done, Failed, Refused
from diemcau_agent.commands.verb import Args, Call, Verb
from diemcau_agent.config import ConfigError, Settings

log = logging.getLogger(__name__)


class ConfigArgs(Args, frozen=True, forbid_unknown_fields=True, kw_only=True):
    get: bool = False
    set: dict[str, Any] | None = None
    """Dotted names, or nested tables, and their new values."""


class Config(Verb[ConfigArgs]):
    name = "config"
    args = ConfigArgs
    deadline_s = 30.0

    def holds(self, args: ConfigArgs) -> tuple[str, ...]:
        return ("settings",)

    async def permit(self, call: Call, args: ConfigArgs) -> None:
        if args.get == (args.set is not None):
            raise Refused("bad_args", "args: expected get: true, or set with what is to change")
        if args.set is not None:
            try:
                remote.merge(_kept(call), args.set)
            except ConfigError as error:
                raise Refused("bad_args", "; ".join(f"args.set.{text}" for text in error.errors)) from error

    async def run(self, call: Call, args: ConfigArgs) -> Done:
        """``settings``: in force, secrets left out. ``pending``: kept, in force from the next start on."""
        context = call.context
        adopted: frozenset[str] = frozenset()
        changes: dict[str, Any] = {}
        if args.set is not None:
            changes = remote.flatten(args.set)
            merged = remote.merge(_kept(call), args.set)
            try:
                await context.remote.keep(changes)
            except OSError as error:
                raise Failed("internal", f"not kept, nothing is changed: {error}") from error
            adopted = context.adopt(merged)
        result = _in_force(call)
        if args.set is not None:
            result["changed"] = {name: "now" if name in adopted else "at the next start" for name in changes}
        return Done(result)


def _kept(call: Call) -> Settings:
    """What the next start will begin with; where the file is damaged, that is what is in force."""
    settings = call.context.settings()
    try:
        return call.context.remote.over(settings)
    except ConfigError as error:
        log.warning("remote settings: %s", error)
        return settings


def _in_force(call: Call) -> dict[str, Any]:
    settings = call.context.settings()
    kept = _kept(call)
    return {
        "settings": remote.shown(settings),
        "changeable": list(remote.CHANGEABLE),
        "pending": {
            name: remote.value_of(kept, name)
            for name in remote.CHANGEABLE
            if remote.value_of(kept, name) != remote.value_of(settings, name)
        },
    }

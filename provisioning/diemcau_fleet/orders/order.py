"""From the words of a command line to the claims of a command (docs/wire.md, Commands). Pure.

What a verb takes is for the kit to say, which may be of another version: it names each argument that is
wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from diemcau_agent.commands.claims import LIFETIME_S
from diemcau_agent.model import Claims, Verb

VERBS: tuple[str, ...] = get_args(Verb)


class OrderError(ValueError):
    """It is no command, and why."""


class Order(msgspec.Struct, frozen=True):
    """``audience``: ``point/xp-0417`` or ``group/lao-cai``."""

    audience: str
    verb: str
    args: Mapping[str, Any]

    @property
    def to_group(self) -> bool:
        return self.audience.startswith("group/")

    @property
    def spread_s(self) -> float:
        """Over which a group's points spread themselves."""
        given = self.args.get("spread_s")
        return float(given) if isinstance(given, int | float) else 0.0

    @property
    def restarts_host(self) -> bool:
        return self.verb == "restart" and self.args.get("target") == "host"

    def claims(self, command_id: str, iss: str, now_s: float, nonces: Nonces) -> Claims:
        """A group's have no nonce, the restart of a host two."""
        args = dict(self.args)
        if self.restarts_host and nonces.reboot_nonce is not None:
            args["reboot_nonce"] = nonces.reboot_nonce
        return Claims(
            id=command_id,
            aud=self.audience,
            verb=self.verb,
            iss=iss,
            iat=int(now_s),
            exp=int(now_s) + LIFETIME_S,
            args=args,
            nonce=None if self.to_group else nonces.nonce,
        )


class Nonces(msgspec.Struct, frozen=True):
    """Of a point's status."""

    nonce: str | None = None
    reboot_nonce: str | None = None


def order(audience: str, verb: str, words: Sequence[str]) -> Order:
    """``words``: NAME=VALUE each, the value JSON where it parses, else text. Raises OrderError."""
    args: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise OrderError(f"got {word!r}, expected NAME=VALUE")
        if name in args:
            raise OrderError(f"args.{name}: given twice")
        args[name] = _value(text)
    if verb not in VERBS:
        raise OrderError(f"verb: got {verb!r}, expected one of {', '.join(VERBS)}")
    return Order(audience, verb, args)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text

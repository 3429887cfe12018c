"""Whether this command restarts this machine now. Pure.

What every process of root's asks of a command (:mod:`diemcau_agent.privileged.authority`), a nonce of its own
making, the room's policy and three a day.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from msgspec import Meta, Struct

from diemcau_agent.commands.outcome import Refused
from diemcau_agent.commands.signature import Verifier
from diemcau_agent.privileged.authority import authorised, opened
from diemcau_agent.privileged.moment import Moment

A_DAY = 3
DAY_S = 86_400.0
SPENT = frozenset({"expired", "not_permitted", "unknown_verb", "bad_args", "too_often"})
"""Refused with the right nonce: that is used up too. What was refused today is not done tomorrow."""
KEEP_IDS = 1000
"""At three a day a year's; an older replay is stopped by its nonce."""


class Past(Struct, frozen=True):
    """``ids``: of the commands that were obeyed, oldest first. ``restarts``: those that may count still."""

    ids: tuple[str, ...] = ()
    restarts: tuple[Moment, ...] = ()


class _Args(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    target: Literal["host"]
    reboot_nonce: Annotated[str, Meta(max_length=64)]
    force: bool = False


def decide(
    command: bytes,
    *,
    point: str,
    verifier: Verifier | None,
    host_restart: bool,
    past: Past,
    now: Moment,
    nonce: str,
) -> Past:
    """The past with this restart in it: to be on the card before the machine restarts.

    ``verifier`` None: commands are off. ``host_restart``: the room's policy. Raises Refused; Unanswerable
    where it is not known who asks.
    """
    claim, verifier = opened(command, verifier, (f"point/{point}",), past.ids)
    given = claim.args.get("reboot_nonce")
    if not isinstance(given, str) or not secrets.compare_digest(given.encode(), nonce.encode()):
        raise Refused("bad_nonce", "args.reboot_nonce: expected the one of this point's status")
    authorised(claim, verifier, "restart", _Args, now)
    if not host_restart:
        raise Refused("not_permitted", "this room's policy forbids to restart the host")
    recent = tuple(then for then in past.restarts if not surely_over(then, now))
    if len(recent) >= A_DAY:
        raise Refused("too_often", f"got {len(recent)} restarts in 24 h, expected at most {A_DAY}")
    return Past((*past.ids, claim.id)[-KEEP_IDS:], (*recent, now))


def surely_over(then: Moment, now: Moment) -> bool:
    """Whether ``then`` is a day ago whatever the clock has done since. In doubt it is not."""
    if then.boot == now.boot:
        return now.mono_s - then.mono_s >= DAY_S
    # It was before this boot, so at least as long ago as this boot lasts.
    return now.mono_s >= DAY_S or (then.synced and now.synced and now.wall_s - then.wall_s >= DAY_S)


def full(now: Moment) -> Past:
    """What to believe where the record cannot be read: as many restarts as may be, just now."""
    return Past((), (now,) * A_DAY)

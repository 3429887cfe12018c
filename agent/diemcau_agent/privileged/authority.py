"""Whether a process of root's obeys a command, in the order of docs/wire.md: size, signature, audience, id;
then what that process asks itself (a nonce of its own making); then expiry, role, verb, args.

What the daemon checks too is checked here again by what is root's alone: its own list of keys, its own
journal. Only an operator's key will do. An installer's holds until the room is accepted, and that is the
daemon's word: one that was taken over would say "not yet" for ever. Who fits a kit stands before its plug.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

import msgspec

from diemcau_agent.commands.claims import MAX_BYTES, check_times, claims, fitted, read
from diemcau_agent.commands.outcome import Refused
from diemcau_agent.commands.signature import Signed, Verifier, verifier
from diemcau_agent.config import Settings
from diemcau_agent.keys import Keyring
from diemcau_agent.model import Claims

from .moment import Moment

T = TypeVar("T", bound=msgspec.Struct)


def keyring(path: Path, settings: Settings) -> Keyring:
    """Root's own list of keys, as kept in ``path``."""
    kept = Keyring(path, settings.fleet_keys)
    kept.load()
    return kept


def believed(path: Path, settings: Settings, at: Moment) -> Verifier | None:
    """By the list of keys in ``path``. None where commands are off."""
    return verifier(
        settings,
        lambda: Signed(
            keyring(path, settings),
            settings.point,
            now=lambda: at.wall_s if at.synced else None,
            accepted=lambda: True,  # an installer's key will not do
        ),
    )


def opened(
    command: bytes, verifier: Verifier | None, audiences: Collection[str], obeyed: Collection[str]
) -> tuple[Claims, Verifier]:
    """The claims of a command to one of ``audiences`` that is none of those ``obeyed`` before. Raises
    Refused; Unanswerable where it is not known who asks."""
    if verifier is None:
        raise Refused("not_permitted", "commands are off in this room's settings")
    if len(command) > MAX_BYTES:
        raise Refused("too_large", f"got {len(command)} bytes, expected at most {MAX_BYTES}")
    claim = claims(read(verifier.open(command)))
    if claim.aud not in audiences:
        raise Refused("wrong_audience", f"aud: got {claim.aud}, expected {' or '.join(audiences)}")
    if claim.id in obeyed:
        raise Refused("bad_nonce", "id: it was obeyed before")
    return claim, verifier


def authorised(
    claim: Claims, verifier: Verifier, verb: str, kind: type[T], now: Moment, *, grace_s: float = 0.0
) -> T:
    """The arguments, of ``kind``, of a command that may be obeyed ``now``. ``grace_s``: how long after its
    expiry, where the daemon has work to do first. Raises Refused."""
    check_times(claim, now.wall_s, synced=now.synced, grace_s=grace_s)
    if not verifier.permits(claim.iss, claim.verb):
        raise Refused("not_permitted", f"{claim.iss}: to {verb} takes an operator's key")
    if claim.verb != verb:
        raise Refused("unknown_verb", f"got {claim.verb}, expected {verb}")
    return fitted(kind, claim.args, "args")

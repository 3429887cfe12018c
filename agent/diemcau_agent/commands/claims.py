"""From bytes to claims (docs/wire.md, Commands). Nothing that comes over the wire raises anything but
:class:`~.outcome.Unanswerable` or :class:`~.outcome.Refused`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from diemcau_agent.explain import explain
from diemcau_agent.model import Claims
from diemcau_agent.topics import command_audience, is_id

from .outcome import Refused, Unanswerable

MAX_BYTES = 16 * 1024
ANSWERABLE_BYTES = 4 * MAX_BYTES
"""A command that is too large is still opened up to here, to learn who is to be told so."""
MAX_CONTAINERS = 256
"""No command has ten; how deep a decoder may go differs between Pythons."""
LIFETIME_S = 120
"""``exp`` lies at most so long after ``iat``; a clock may be wrong by as much."""

T = TypeVar("T", bound=msgspec.Struct)

_COMMAND_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


class Letter(msgspec.Struct, frozen=True):
    """A command whose signature held. ``id``, ``iss``: whom to answer; the rest is not looked at yet."""

    id: str
    iss: str
    data: dict[str, Any]


def read(text: bytes) -> Letter:
    """Raises Unanswerable where it is no JSON object, or does not say whom to answer."""
    if text.count(b"[") + text.count(b"{") > MAX_CONTAINERS:
        raise Unanswerable("malformed", f"got more than {MAX_CONTAINERS} objects and lists")
    try:
        data = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unanswerable("malformed", str(error)) from None
    if not isinstance(data, dict):
        raise Unanswerable("malformed", "not an object")
    claims = cast("dict[str, Any]", data)
    command_id, iss = claims.get("id"), claims.get("iss")
    if not isinstance(command_id, str) or not _COMMAND_ID.fullmatch(command_id):
        raise Unanswerable("malformed", "id: expected 8 to 64 of A-Z, a-z, 0-9 and -")
    if not isinstance(iss, str) or not is_id(iss):
        raise Unanswerable("malformed", "iss: expected an operator's key id")
    return Letter(command_id, iss, claims)


def check_envelope(size: int, retained: bool) -> None:
    """Raises Refused (``too_large``, ``retained``)."""
    if size > MAX_BYTES:
        raise Refused("too_large", f"got {size} bytes, expected at most {MAX_BYTES}")
    if retained:
        raise Refused("retained", "a retained command would come again for ever: publish it without")


def check_audience(topic: str, claim: Claims, audiences: Sequence[str]) -> None:
    """The claims, not the topic, say whom a command is for; they must not contradict each other either.
    Raises Refused (``wrong_audience``)."""
    if claim.aud not in audiences:
        raise Refused("wrong_audience", f"aud: got {claim.aud}, expected one of {', '.join(audiences)}")
    if command_audience(topic) != (claim.aud, claim.verb):
        raise Refused("wrong_audience", f"aud, verb: got {claim.aud}, {claim.verb}, but it came on {topic}")


def claims(letter: Letter) -> Claims:
    """Raises Refused (``bad_args``) with every field that is wrong."""
    return fitted(Claims, letter.data)


def fitted(kind: type[T], data: Any, path: str = "") -> T:
    """Plain ``data`` as ``kind``. Raises Refused (``bad_args``) with every field that is wrong."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise Refused("bad_args", "; ".join(explain(kind, data, path)) or str(error)) from None


def check_times(claim: Claims, now_s: float, *, synced: bool, grace_s: float = 0.0) -> None:
    """Raises Refused (``expired``). How long a command may live needs no clock; whether it still does, a true
    one. ``grace_s``: how long after its end it still holds."""
    if not 0 < claim.exp - claim.iat <= LIFETIME_S:
        raise Refused("expired", f"exp lies {claim.exp - claim.iat} s after iat, expected 1 to {LIFETIME_S}")
    if synced and now_s >= claim.exp + grace_s:
        raise Refused("expired", f"exp was {now_s - claim.exp:.0f} s ago")
    if synced and now_s < claim.iat - LIFETIME_S:
        raise Refused("expired", f"iat lies {claim.iat - now_s:.0f} s ahead: the sender's clock is wrong")

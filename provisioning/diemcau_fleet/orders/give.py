"""``diemcau-fleet command``: sign a command, send it, and print what comes of it.

Exit codes: 0 every answer is ``done``; 1 not so, or none came; 2 wrong usage.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from diemcau_agent import jws, topics
from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import Clock, SystemClock
from diemcau_agent.exits import NOT, OK
from diemcau_agent.model import Claims, Reply, Status, encode
from diemcau_agent.mqtt import ConnectFailed, ConnectionLost, Message
from diemcau_fleet.session import Session

from .order import Nonces, Order

STATUS_S = 5.0
"""A retained status comes at once, where there is one."""
TURN_S = 0.5
FINAL = ("done", "failed", "refused")

D = TypeVar("D", bound=msgspec.Struct)


class NotGivenError(Exception):
    """The command was not sent, and why."""


class Giving(msgspec.Struct, frozen=True):
    """``address`` None: only where ``nonces`` are known, or none is needed. ``seed``: the key of ``iss``."""

    order: Order
    iss: str
    seed: bytes
    address: Address | None
    tls: Tls
    wait_s: float
    printed: bool = False
    """Print the signed command, and send nothing."""
    nonces: Nonces | None = None


def give(giving: Giving, clock: Clock | None = None, say: Callable[[str], None] = print) -> int:
    """Returns the exit code. ``clock``: this machine's, whose time the command carries."""
    try:
        return _give(giving, clock or SystemClock(), say)
    except (NotGivenError, ConnectFailed, ConnectionLost) as error:
        print(f"diemcau-fleet command: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("diemcau-fleet command: not waited for the answer", file=sys.stderr)
    return NOT


def _give(giving: Giving, clock: Clock, say: Callable[[str], None]) -> int:
    order = giving.order
    command_id = str(uuid.uuid4())
    nonces = Nonces() if order.to_group else giving.nonces

    def signed(nonces: Nonces) -> bytes:
        return sign(order.claims(command_id, giving.iss, clock.wall(), nonces), giving.seed)

    if giving.printed and nonces is not None:
        say(signed(nonces).decode())
        return OK
    if giving.address is None:
        raise NotGivenError("--broker: missing, expected where it is sent, and the point's nonce comes from")
    points = "+" if order.to_group else order.audience.partition("/")[2]
    filters = [topics.point(points, f"reply/{giving.iss}")]
    if nonces is None:
        filters.append(topics.point(points, "status"))
    session = Session.open(giving.address, client_id=giving.iss, tls=giving.tls, filters=filters)
    try:
        command = signed(nonces or _nonces(session, order))
        if giving.printed:
            say(command.decode())
            return OK
        session.deliver(f"{topics.ROOT}/{order.audience}/command/{order.verb}", command)
        return _answers(session, order, command_id, giving.wait_s, say)
    finally:
        session.close()


def sign(claims: Claims, seed: bytes) -> bytes:
    """The command as a kit wants it."""
    return jws.sign(encode(claims), seed)


def _nonces(session: Session, order: Order) -> Nonces:
    """Of the point's newest status. Raises NotGivenError."""
    found: Status | None = None
    until_s = time.monotonic() + STATUS_S
    while found is None and (left_s := until_s - time.monotonic()) > 0:
        for topic, status in _documents(session, left_s, Status):
            if topic.endswith("/status"):
                found = status
    point = order.audience.partition("/")[2]
    if found is None:
        raise NotGivenError(
            f"{point}: the broker has no status of it, or has not been told that we may hear it "
            f"(`diemcau-fleet broker`, after `operator add`)"
        )
    if found.status != "online" or found.nonce is None:
        raise NotGivenError(f"{point}: it is {found.status}")
    if order.restarts_host and found.reboot_nonce is None:
        raise NotGivenError(f"{point}: its status has no reboot_nonce, so nothing there restarts the host")
    return Nonces(found.nonce, found.reboot_nonce)


def _answers(
    session: Session, order: Order, command_id: str, wait_s: float, say: Callable[[str], None]
) -> int:
    """Print the replies as they come: of a point until the last, of a group while ``wait_s`` passes."""
    ends: dict[str, str] = {}
    until_s = time.monotonic() + wait_s
    while (left_s := until_s - time.monotonic()) > 0 and (order.to_group or not ends):
        for _, reply in _documents(session, min(TURN_S, left_s), Reply):
            if reply.id != command_id:
                continue
            say(told(reply))
            if reply.state in FINAL:
                ends[reply.point] = reply.state
    if not ends:
        raise NotGivenError(f"{order.audience}: no answer within {wait_s:g} s (its key may be unknown there)")
    if order.to_group:
        counts = {state: sum(end == state for end in ends.values()) for state in FINAL}
        say(f"{len(ends)} points: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    return OK if all(state == "done" for state in ends.values()) else NOT


def told(reply: Reply) -> str:
    """One line: point, state, code, detail, result."""
    words = [reply.point, reply.state, reply.code, reply.detail]
    if reply.result is not None:
        words.append(msgspec.json.encode(reply.result).decode())
    return " ".join(_printable(word) for word in words if word)


def _printable(text: str) -> str:
    """A point that was taken over moves no terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def _documents(session: Session, wait_s: float, kind: type[D]) -> Iterator[tuple[str, D]]:
    """What came on its topic; what is none of ``kind`` is passed over."""
    messages: list[Message] = session.receive(wait_s)
    session.acknowledge(messages)
    for message in messages:
        try:
            yield message.topic, msgspec.json.decode(message.payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue

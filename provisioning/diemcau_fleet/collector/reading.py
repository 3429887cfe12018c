"""From a message to a document, or to the reason why it is none. Pure.

Of ``event`` and ``telemetry`` only what every document of a spool carries is asked for: the payload is stored
as it came, and a consumer that is older than the kit must not lose what it does not understand.

Raises :class:`Rejected`, whatever the bytes.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from diemcau_agent import model, topics
from diemcau_agent.model import CommandPolicy, Document, Lasting, Readiness, Reply, RunResult, Spooled, Status

from . import times

LIMIT_BYTES = 64 * 1024
LARGEST = 2**53
"""Beyond it a number is not the same in every JSON reader; SQLite's integers reach to 2**63."""
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREFIX = f"{topics.ROOT}/point/"


class Rejected(Exception):
    """No document of docs/wire.md; the message says which field, what it got and what it expects."""


class Birth(Lasting, frozen=True, kw_only=True):
    commands: CommandPolicy


class Health(Lasting, frozen=True, kw_only=True):
    readiness: Readiness


class Selftest(Document, frozen=True, kw_only=True):
    result: RunResult


class Event(Spooled, frozen=True, kw_only=True):
    kind: str
    data: Any = None


class Dropped(msgspec.Struct, frozen=True):
    """The data of an event ``dropped``: ``count`` (by default all) of these numbers will not come, of
    ``spool`` (by default the event's own)."""

    stream: Literal["event", "telemetry"]
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    count: int | None = None
    spool: str | None = None
    reason: str = ""


class Replaced(msgspec.Struct, frozen=True):
    """The data of an event ``spool_replaced``: the spool before this one, where it is known."""

    previous: str | None = None


class Resent(msgspec.Struct, frozen=True):
    """The result of ``resend``: what of the range is not there, and where to go on (None: it was all)."""

    missing: tuple[tuple[int, int], ...] = ()
    next: int | None = None


Read = Birth | Status | Health | Selftest | Event | Spooled | Reply

_DECODERS: dict[str, tuple[str, msgspec.json.Decoder[Any]]] = {
    "birth": (model.SCHEMA_IDS[model.Birth], msgspec.json.Decoder(Birth)),
    "status": (model.SCHEMA_IDS[Status], msgspec.json.Decoder(Status)),
    "health": (model.SCHEMA_IDS[model.Health], msgspec.json.Decoder(Health)),
    "selftest": (model.SCHEMA_IDS[model.Selftest], msgspec.json.Decoder(Selftest)),
    "event": (model.SCHEMA_IDS[model.Event], msgspec.json.Decoder(Event)),
    "telemetry": (model.SCHEMA_IDS[model.Telemetry], msgspec.json.Decoder(Spooled)),
    "reply": (model.SCHEMA_IDS[Reply], msgspec.json.Decoder(Reply)),
}


class Envelope(msgspec.Struct, frozen=True):
    """A message that is what its topic says. ``name``: the topic below the point, as ``health``."""

    point: str
    name: str
    document: Read | None
    """None: the topic was cleared, as when a kit is retired."""
    time_ms: int
    """``time`` of the document, milliseconds since the epoch."""


def read(topic: str, payload: bytes) -> Envelope:
    """Raises Rejected."""
    point, _, name = topic.removeprefix(_PREFIX).partition("/")
    kind = "reply" if name.startswith("reply/") else name
    if not topic.startswith(_PREFIX) or not topics.is_id(point) or kind not in _DECODERS:
        raise Rejected(f"topic: got {topic[:100]!r}, expected {_PREFIX}{{point}}/{{document}}")
    if not payload and name in topics.RETAINED:
        return Envelope(point, name, None, 0)
    if len(payload) > LIMIT_BYTES:
        raise Rejected(f"size: got {len(payload)} bytes, expected at most {LIMIT_BYTES}")
    schema, decoder = _DECODERS[kind]
    try:
        payload.decode()  # what nobody asks for is skipped unread, and is stored too
        document: Read = decoder.decode(payload)
        time_ms = times.parse(document.time)
    except (ValueError, OverflowError, RecursionError) as error:  # msgspec's and Unicode's are ValueErrors
        raise Rejected(str(error)[:200]) from None
    if document.schema != schema:
        raise Rejected(f"schema: got {document.schema[:64]!r}, expected {schema!r}")
    if document.point != point:
        raise Rejected(f"point: got {document.point!r}, but it came on the topic of {point!r}")
    _check(document)
    return Envelope(point, name, document, time_ms)


def _check(document: Read) -> None:
    _number("session", document.session)
    _number("mono_ms", document.mono_ms)
    _token("boot", document.boot)
    _token("connection", document.connection)
    if isinstance(document, Lasting):
        _number("valid_s", document.valid_s)
    if isinstance(document, Spooled):
        _token("spool", document.spool)
        _number("seq", document.seq, least=1)
    if isinstance(document, Event):
        _token("kind", document.kind)
    if isinstance(document, Status) and document.nonce is not None:
        _token("nonce", document.nonce)


def _number(name: str, value: int, least: int = 0) -> None:
    if not least <= value <= LARGEST:
        got = value if value.bit_length() < 128 else f"{value.bit_length()} bits"
        raise Rejected(f"{name}: got {got}, expected {least} to 2**53")


def _token(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(value):
        raise Rejected(f"{name}: got {value[:64]!r}, expected 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")

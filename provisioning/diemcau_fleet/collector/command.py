"""``diemcau-fleet collect``: run the collector, or print what it knows of every room.

Exit codes: 0 stopped in order, 1 the database failed (its messages stay with the broker), 2 wrong usage.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import msgspec

from diemcau_agent import jws
from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import SystemClock
from diemcau_agent.database import DatabaseError
from diemcau_agent.exits import NOT, OK, USAGE
from diemcau_agent.model import encode
from diemcau_fleet import signing_key
from diemcau_fleet.signing_key import SigningKeyError

from .collect import UNSIGNED, Collector, Signer
from .records import Records
from .store import Store


class Options(msgspec.Struct, frozen=True):
    """``history``: how many documents before the first one seen of a spool are missed, and asked for.
    ``signing_key``: of ``iss``, which signs what it asks. ``unsigned``: ask with commands that only a
    simulated kit believes."""

    db: Path
    address: Address
    tls: Tls
    iss: str
    signing_key: Path | None
    unsigned: bool
    history: int
    stats_s: float


def collect(options: Options) -> int:
    """Until SIGTERM or SIGINT."""
    if options.address.secure:
        try:
            options.tls.context()
        except OSError as error:  # ssl.SSLError too
            return _wrong(USAGE, f"--ca-file, --cert-file, --key-file: {error}")
    try:
        signer = _signer(options)
    except (OSError, SigningKeyError) as error:
        return _wrong(USAGE, f"--signing-key: {error}")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    try:
        with Store.open(options.db) as store:
            _collect(options, signer, store, stop)
    except DatabaseError as error:
        return _wrong(NOT, str(error))
    return OK


def status(path: Path) -> int:
    """A line a room: its point, presence, readiness, and how many of its documents are missing."""
    try:
        with Records.open(path) as records:
            gaps = records.gaps()
            for room in records.rooms(int(SystemClock().wall() * 1000)):
                missing = sum(gap.range.documents for gap in gaps if gap.key.point == room.point)
                _say(f"{room.point} {room.presence} {room.readiness} missing={missing}")
    except DatabaseError as error:
        return _wrong(NOT, str(error))
    return OK


def _signer(options: Options) -> Signer | None:
    """Raises OSError, SigningKeyError."""
    if options.signing_key is None:
        return UNSIGNED if options.unsigned else None
    seed = signing_key.load(options.signing_key)
    return Signer("signed", lambda claims: jws.sign(encode(claims), seed))


def _collect(options: Options, signer: Signer | None, store: Store, stop: threading.Event) -> None:
    collector = Collector(
        store,
        store.ledger(options.history),
        address=options.address,
        tls=options.tls,
        iss=options.iss,
        signer=signer,
        clock=SystemClock(),
        say=_say,
        stats_s=options.stats_s,
    )
    if signer is None:
        logging.warning("no signer: gaps are found and told, but no point is asked to send again")
    collector.run(stop)
    _say(collector.summary())


def _wrong(code: int, what: str) -> int:
    print(f"diemcau-fleet collect: {what}", file=sys.stderr)
    return code


def _say(line: str) -> None:
    print(line, flush=True)

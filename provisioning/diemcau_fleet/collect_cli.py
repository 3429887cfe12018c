"""``diemcau-fleet collect``: run the collector, or print what it knows of every room.

Exit codes: 0 stopped in order, 1 the database failed (its messages stay with the broker), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import SystemClock
from diemcau_agent.database import DatabaseError
from diemcau_agent.exits import NOT, OK, USAGE
from diemcau_agent.topics import ID_PATTERN, is_id

from .collector import UNSIGNED, Collector
from .ledger import HISTORY
from .records import Records
from .store import Store

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[Any]  # pyright: ignore[reportPrivateUsage]


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "collect",
        help="store what every point reports, exactly once, in SQLite",
        description=__doc__.partition("\n\n")[0] if __doc__ else None,
    )
    parser.add_argument("--db", type=Path, required=True, metavar="FILE", help="made where it is not there")
    parser.add_argument("--broker", type=_address, metavar="URL", help="such as mqtts://broker.example:8883")
    parser.add_argument("--ca-file", metavar="FILE", help="whose certificate the broker has")
    parser.add_argument("--cert-file", metavar="FILE", help="our own certificate")
    parser.add_argument("--key-file", metavar="FILE")
    parser.add_argument(
        "--iss", type=_id, default="collector", metavar="ID", help="key id and MQTT client id (collector)"
    )
    parser.add_argument(
        "--unsigned", action="store_true", help="ask with commands that only a simulated kit believes"
    )
    history = parser.add_mutually_exclusive_group()
    history.add_argument(
        "--history",
        type=_count,
        default=HISTORY,
        metavar="N",
        help=f"so many documents before the first one seen of a spool are missed, and asked for ({HISTORY})",
    )
    history.add_argument(
        "--from-now", dest="history", action="store_const", const=0, help="nothing before it is missed"
    )
    parser.add_argument(
        "--stats-s", type=_seconds, default=60.0, metavar="S", help="a line of statistics so often (60)"
    )
    parser.add_argument(
        "--status", action="store_true", help="print every room as it is known now, and leave"
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    try:
        return _status(arguments.db) if arguments.status else _collect(arguments)
    except DatabaseError as error:
        print(f"diemcau-fleet collect: {error}", file=sys.stderr)
        return NOT


def _status(path: Path) -> int:
    with Records.open(path) as records:
        gaps = records.gaps()
        for room in records.rooms(int(SystemClock().wall() * 1000)):
            missing = sum(gap.range.documents for gap in gaps if gap.key.point == room.point)
            print(f"{room.point} {room.presence} {room.readiness} missing={missing}")
    return OK


def _collect(arguments: argparse.Namespace) -> int:
    tls = Tls(arguments.ca_file, arguments.cert_file, arguments.key_file)
    if (wrong := _usage(arguments, tls)) is not None:
        print(f"diemcau-fleet collect: {wrong}", file=sys.stderr)
        return USAGE
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    with Store.open(arguments.db) as store:
        collector = Collector(
            store,
            store.ledger(arguments.history),
            address=arguments.broker,
            tls=tls,
            iss=arguments.iss,
            signer=UNSIGNED if arguments.unsigned else None,
            clock=SystemClock(),
            say=_say,
            stats_s=arguments.stats_s,
        )
        if not arguments.unsigned:
            logging.warning("no signer: gaps are found and told, but no point is asked to send again")
        collector.run(stop)
        _say(collector.summary())
    return OK


def _usage(arguments: argparse.Namespace, tls: Tls) -> str | None:
    """What is wrong with the arguments together."""
    if arguments.broker is None:
        return "--broker: expected a URL such as mqtts://broker.example:8883"
    if arguments.broker.scheme != "mqtt":
        try:
            tls.context()
        except OSError as error:  # ssl.SSLError too
            return f"--ca-file, --cert-file, --key-file: {error}"
    return None


def _say(line: str) -> None:
    print(line, flush=True)


def _address(text: str) -> Address:
    try:
        address = Address.parse(text)
    except (KeyError, ValueError):
        address = None
    if address is None or not address.host:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected mqtt://, mqtts:// or wss:// and a host")
    return address


def _id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {ID_PATTERN}")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected seconds above 0")
    return seconds

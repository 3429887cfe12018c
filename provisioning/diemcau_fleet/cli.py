"""``diemcau-fleet``: the centre's tools.

Exit codes: 0 done; 1 not; 2 wrong usage. Each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

from diemcau_agent.exits import OK, USAGE

from . import papers
from .arguments import broker_address as _address
from .arguments import fleet_id as _id
from .arguments import number as _number
from .card import command as card
from .office import ca, est, kits, operators, releases, services
from .orders import options as orders


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt:  # before a command took care of it
        return OK


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="diemcau-fleet",
        description="The centre's tools for a fleet of conference rooms.",
        epilog="Exit codes: 0 done; 1 not; 2 wrong usage.",
    )
    version = importlib.metadata.version("diemcau-fleet")
    whole.add_argument("--version", action="version", version=f"diemcau-fleet {version}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_reflector(commands.add_parser("reflector", help="answer the kits' STAMP packets (RFC 8762)"))
    _add_collect(commands.add_parser("collect", help="store what every point reports, exactly once"))
    _add_broker(commands.add_parser("broker", help="write the broker's rules from the registry"))
    for office in (ca, kits, card, services, operators, releases, est, orders):
        office.add(commands)
    return whole


def _add_reflector(reflector: argparse.ArgumentParser) -> None:
    from .reflector.reflect import SOURCE_PPS

    reflector.description = (
        "Answers STAMP test packets until SIGTERM or SIGINT: RFC 8762, unauthenticated, with session ids, "
        "Extra Padding and Class of Service of RFC 8972. Says on stderr where it listens and what it did."
    )
    reflector.add_argument(
        "--listen",
        type=_listen,
        action="append",
        required=True,
        metavar="HOST[:PORT]",
        help="an address, IPv6 in brackets; port 862 unless given, 0 for any; may be given several times",
    )
    reflector.add_argument(
        "--stateless",
        action="store_true",
        help="echo the sender's sequence number; default: count the replies of each session",
    )
    reflector.add_argument(
        "--processes", type=_number(1, 64), default=1, metavar="N", help="that share the port; default: 1"
    )
    reflector.add_argument(
        "--source-pps",
        type=_number(1, 1_000_000),
        default=SOURCE_PPS,
        metavar="N",
        help="packets a second that are answered of a source address; default: %(default)s",
    )
    reflector.add_argument(
        "--stats-s",
        type=_seconds,
        metavar="SECONDS",
        help="between lines of counters; default: only at the end",
    )


def _add_collect(collect: argparse.ArgumentParser) -> None:
    from .collector.gaps import HISTORY

    collect.description = (
        "Stores what every point reports in SQLite, exactly once, until SIGTERM or SIGINT; finds what was "
        "lost on the way and has it sent again. Says on stdout, now and then, what it has."
    )
    collect.add_argument("--db", type=Path, required=True, metavar="FILE", help="made where it is not there")
    what = collect.add_mutually_exclusive_group(required=True)
    what.add_argument("--broker", type=_address, metavar="URL", help="such as mqtts://broker.example:8883")
    what.add_argument("--status", action="store_true", help="print every room as FILE knows it, and leave")
    papers.add(collect)
    collect.add_argument("--ca-file", metavar="FILE", help="whose certificate the broker has")
    collect.add_argument("--cert-file", metavar="FILE", help="our own certificate")
    collect.add_argument("--key-file", metavar="FILE", help="and its key")
    collect.add_argument(
        "--iss",
        type=_id,
        metavar="ID",
        help="id of its key and client; default: collector",
    )
    signer = collect.add_mutually_exclusive_group()
    signer.add_argument("--signing-key", type=Path, metavar="FILE", help="signs what it asks; role collector")
    signer.add_argument(
        "--unsigned", action="store_true", help="ask with commands that only a simulated kit believes"
    )
    collect.add_argument(
        "--history",
        type=_number(0, 10_000_000),
        default=HISTORY,
        metavar="N",
        help="documents before the first one seen of a spool that are asked for; default: %(default)s",
    )
    collect.add_argument(
        "--stats-s",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="between lines; default: %(default)s",
    )


def _add_broker(broker: argparse.ArgumentParser) -> None:
    from .broker import options

    options.add(broker)


def _listen(text: str) -> object:
    """argparse names the option and shows this message, as of those that follow."""
    from .reflector.sockets import Listen, ListenError

    try:
        return Listen.parse(text)
    except ListenError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected seconds from 0.1 to 86400")
    return seconds


def _reflector(arguments: argparse.Namespace) -> int:
    from .reflector import processes

    return processes.main(
        processes.Options(
            listens=arguments.listen,
            stateful=not arguments.stateless,
            processes=arguments.processes,
            source_pps=arguments.source_pps,
            stats_s=arguments.stats_s,
        )
    )


def _collect(arguments: argparse.Namespace) -> int:
    from diemcau_agent.address import Tls

    from .collector import command

    if arguments.status:
        return command.status(arguments.db)
    try:
        papers.unfold(arguments)
    except ValueError as error:
        print(f"diemcau-fleet collect: {error}", file=sys.stderr)
        return USAGE
    return command.collect(
        command.Options(
            db=arguments.db,
            address=arguments.broker,
            tls=Tls(arguments.ca_file, arguments.cert_file, arguments.key_file),
            iss=arguments.iss or "collector",
            signing_key=None if arguments.unsigned else arguments.signing_key,
            unsigned=arguments.unsigned,
            history=arguments.history,
            stats_s=arguments.stats_s,
        )
    )


def _broker(arguments: argparse.Namespace) -> int:
    from .broker import command

    return command.run(arguments)


_COMMANDS = {
    "broker": _broker,
    "ca": ca.run,
    "card": card.run,
    "collect": _collect,
    "command": orders.command,
    "conference": orders.conference,
    "keys": operators.keys,
    "kit": kits.run,
    "operator": operators.run,
    "publish": orders.publish,
    "reflector": _reflector,
    "release": releases.run,
    "serve-est": est.run,
    "service": services.run,
}

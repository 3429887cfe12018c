"""The options of ``diemcau-fleet command``, ``conference`` and ``publish``. Imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diemcau_agent.exits import USAGE
from diemcau_fleet import papers
from diemcau_fleet.arguments import broker_address, fleet_id, number

if TYPE_CHECKING:
    from diemcau_fleet.office.ca import Commands

POINT_WAIT_S = 120
GROUP_WAIT_S = 30
"""Beyond the time over which the points spread themselves."""


def add(commands: Commands) -> None:
    _add_command(commands.add_parser("command", help="sign a command, send it, print what comes of it"))
    _add_conference(commands.add_parser("conference", help="sign a conference for all kits"))
    _add_publish(commands.add_parser("publish", help="publish a signed list of keys or conference"))


def _add_command(command: argparse.ArgumentParser) -> None:
    command.usage = "%(prog)s --as DIR --broker URL [options] (POINT | --group GROUP) VERB [NAME=VALUE ...]"
    command.description = (
        "Signs a command, sends it, and prints each reply: point, state, code, detail, result. VALUE is JSON "
        "where it is some, else text. The point's newest nonces are taken from its status."
    )
    command.epilog = (
        "Exit codes: 0 every answer is done; 1 not so, or none came; 2 wrong usage. "
        "Example: diemcau-fleet command xp-0417 restart target=camera --as an-nguyen "
        "--broker mqtts://broker.example:8883"
    )
    command.add_argument("words", nargs="+", metavar="WORD", help="POINT VERB NAME=VALUE ...")
    command.add_argument("--group", type=fleet_id, metavar="GROUP", help="instead of POINT: all of a group")
    _add_key(command)
    _add_broker(command, required=False)
    command.add_argument("--print", action="store_true", help="print the signed command, and send nothing")
    command.add_argument("--nonce", metavar="NONCE", help="for --print without a broker")
    command.add_argument("--reboot-nonce", metavar="NONCE", help="the same, to restart the host")
    command.add_argument(
        "--wait-s",
        type=number(1, 86400),
        metavar="SECONDS",
        help=f"for the answer; default: {POINT_WAIT_S}; of a group: its spread_s and {GROUP_WAIT_S} more",
    )


def _add_conference(conference: argparse.ArgumentParser) -> None:
    conference.description = (
        "Signs a conference (docs/conference.md) for all kits, having checked it as they will. Prints it, or "
        "publishes it, retained."
    )
    conference.add_argument("file", type=Path, metavar="FILE.toml")
    _add_key(conference)
    _add_broker(conference, required=False)
    conference.add_argument("--cancel", action="store_true", help="say that it will not take place")


def _add_publish(publish: argparse.ArgumentParser) -> None:
    publish.description = (
        "Publishes a signed list of keys or conference, retained, at the topic that its content names."
    )
    publish.add_argument("file", type=Path, metavar="FILE", help="- for standard input")
    publish.add_argument("--client-id", type=fleet_id, metavar="ID", help="default: publisher")
    _add_broker(publish, required=True)


def _add_broker(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Where the broker is, and how to be sure of it."""
    papers.add(parser)
    parser.add_argument(
        "--broker",
        type=broker_address,
        required=required,
        metavar="URL",
        help="such as mqtts://broker.example:8883",
    )
    parser.add_argument("--ca-file", metavar="FILE", help="whose certificate the broker has")
    parser.add_argument("--cert-file", metavar="FILE", help="our own certificate")
    parser.add_argument("--key-file", metavar="FILE", help="and its key")


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, metavar="FILE", help="which signs: Ed25519, PKCS#8")
    parser.add_argument("--iss", type=fleet_id, metavar="ID", help="id of the key, our client's too")


def command(arguments: argparse.Namespace) -> int:
    from .give import Giving, give
    from .order import Nonces, OrderError, order

    if (why := _nobody(arguments)) is not None:
        return _wrong("command", why)
    words = list(arguments.words)
    try:
        audience = f"group/{arguments.group}" if arguments.group else f"point/{_point(words)}"
        if not words:
            raise OrderError("verb: missing")
        wanted = order(audience, words[0], words[1:])
    except (OrderError, argparse.ArgumentTypeError) as error:
        return _wrong("command", str(error))

    def with_seed(seed: bytes) -> int:
        nonces = None if arguments.nonce is None else Nonces(arguments.nonce, arguments.reboot_nonce)
        default_s = wanted.spread_s + GROUP_WAIT_S if wanted.to_group else POINT_WAIT_S
        return give(
            Giving(
                order=wanted,
                iss=arguments.iss,
                seed=seed,
                address=arguments.broker,
                tls=_tls(arguments),
                wait_s=arguments.wait_s or default_s,
                printed=arguments.print,
                nonces=nonces,
            )
        )

    return _with_seed("command", arguments, with_seed)


def conference(arguments: argparse.Namespace) -> int:
    from .notice import announce

    if (why := _nobody(arguments)) is not None:
        return _wrong("conference", why)

    def with_seed(seed: bytes) -> int:
        link = None if arguments.broker is None else _link(arguments, arguments.iss)
        return announce(arguments.file, arguments.iss, seed, link, cancelled=arguments.cancel)

    return _with_seed("conference", arguments, with_seed)


def publish(arguments: argparse.Namespace) -> int:
    from .notice import publish

    try:
        papers.unfold(arguments)
    except ValueError as error:
        return _wrong("publish", str(error))
    if (why := _unusable(arguments)) is not None:
        return _wrong("publish", why)
    return publish(arguments.file, _link(arguments, arguments.client_id or "publisher"))


def _point(words: list[str]) -> str:
    return fleet_id(words.pop(0))


def _with_seed(name: str, arguments: argparse.Namespace, work: Callable[[bytes], int]) -> int:
    from diemcau_fleet.signing_key import SigningKeyError, load

    try:
        seed = load(arguments.key)
    except (OSError, SigningKeyError) as error:
        return _wrong(name, f"--key: {error}")
    if (why := _unusable(arguments)) is not None:
        return _wrong(name, why)
    return work(seed)


def _nobody(arguments: argparse.Namespace) -> str | None:
    """Why it is not known who signs."""
    try:
        papers.unfold(arguments)
    except ValueError as error:
        return str(error)
    missing = [f"--{name}" for name in ("key", "iss") if getattr(arguments, name) is None]
    return f"{', '.join(missing)}: missing, expected these or --as DIR" if missing else None


def _unusable(arguments: argparse.Namespace) -> str | None:
    """Why the files that the broker's connection needs are of no use."""
    if arguments.broker is None or not arguments.broker.secure:
        return None
    try:
        _tls(arguments).context()
    except OSError as error:  # ssl.SSLError too
        return f"--ca-file, --cert-file, --key-file: {error}"
    return None


def _tls(arguments: argparse.Namespace) -> Any:
    from diemcau_agent.address import Tls

    return Tls(arguments.ca_file, arguments.cert_file, arguments.key_file)


def _link(arguments: argparse.Namespace, client_id: str) -> Any:
    from .notice import Link

    return Link(arguments.broker, _tls(arguments), client_id)


def _wrong(command: str, what: str) -> int:
    print(f"diemcau-fleet {command}: {what}", file=sys.stderr)
    return USAGE

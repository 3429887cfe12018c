"""``diemcau-fleet serve-est``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .desk import add_directory, carry_out

if TYPE_CHECKING:
    from .ca import Commands


def add(commands: Commands) -> None:
    serve = commands.add_parser("serve-est", help="give kits their certificates (EST, RFC 7030)")
    serve.description = (
        "Enrols kits with their one-time tokens, and renews their certificates, until SIGTERM or SIGINT. "
        "Says each outcome on stderr."
    )
    serve.add_argument(
        "--listen", type=_listen, required=True, metavar="HOST:PORT", help="IPv6 in brackets; port 0 for any"
    )
    serve.add_argument("--cert-file", type=Path, required=True, metavar="FILE", help="of `ca server`")
    serve.add_argument("--key-file", type=Path, required=True, metavar="FILE", help="and its key")
    add_directory(serve)


def run(arguments: argparse.Namespace) -> int:
    from diemcau_fleet.est import command

    host, port = arguments.listen
    options = command.Options(arguments.dir, host, port, arguments.cert_file, arguments.key_file)
    code = 0

    def serve() -> None:
        nonlocal code
        code = command.serve(options)

    return carry_out("serve-est", serve) or code


def _listen(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path or parts.username is not None:  # pyright: ignore
        raise argparse.ArgumentTypeError(f"got {text!r}, expected HOST:PORT, IPv6 in brackets")
    return host, port

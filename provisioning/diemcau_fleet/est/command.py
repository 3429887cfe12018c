"""``diemcau-fleet serve-est``: until SIGTERM or SIGINT.

Exit codes: 0 stopped in order, 1 the registry or the authority cannot be used, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from diemcau_agent.database import DiskThread
from diemcau_agent.exits import OK, USAGE
from diemcau_fleet.authority import CERTIFICATE, Authority
from diemcau_fleet.registry import Registry

from .enrolment import Enrolment
from .server import Server, context


class Options(msgspec.Struct, frozen=True):
    """``host``: an address or a name, IPv6 without brackets."""

    directory: Path
    host: str
    port: int
    cert_file: Path
    key_file: Path


def serve(options: Options) -> int:
    """Says on stdout where it listens. Raises AuthorityError, RegistryError, DatabaseError, OSError."""
    try:
        tls = context(options.directory / CERTIFICATE, options.cert_file, options.key_file)
    except OSError as error:  # ssl.SSLError too
        print(f"diemcau-fleet serve-est: --cert-file, --key-file: {error}", file=sys.stderr)
        return USAGE
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    authority = Authority.load(options.directory)
    thread = DiskThread("registry")
    registry = thread.submit(lambda: Registry.open(options.directory)).result()
    try:
        enrolment = Enrolment(registry, authority)
        server = Server(enrolment, thread, authority.certificate.public_bytes(Encoding.DER), tls)
        asyncio.run(_run(server, listener(options.host, options.port)))
    finally:
        thread.submit(registry.close).result()
        thread.end()
    return OK


def listener(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    return socket.create_server((host, port), family=family, backlog=512)


async def _run(server: Server, listening: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = listening.getsockname()[:2]
    with listening:
        print(f"listening on {f'[{host}]' if ':' in host else host}:{port}", flush=True)
        await server.serve(listening, stop)

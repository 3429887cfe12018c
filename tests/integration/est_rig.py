"""The EST server as it is run, and a kit that speaks to it: real TLS on loopback, Python's HTTP client."""

from __future__ import annotations

import asyncio
import base64
import http.client
import logging
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

import fleet
from diemcau_agent.database import DiskThread
from diemcau_fleet.authority import Authority, Certificate
from diemcau_fleet.est.enrolment import Enrolment
from diemcau_fleet.est.server import PATH, Server, context
from diemcau_fleet.registry import Registry


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def certificate(self) -> x509.Certificate:
        (one,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(self.body))
        return one


class Est:
    """``registry``: the office's own view of it, beside the server's."""

    def __init__(self, directory: Path, registry: Registry, port: int) -> None:
        self.directory = directory
        self.registry = registry
        self.port = port
        self.authority = Authority.load(directory)

    def tls(self, identity: Path | None = None) -> ssl.SSLContext:
        tls = ssl.create_default_context(cafile=self.directory / "ca.pem")
        if identity is not None:
            tls.load_cert_chain(identity)
        return tls

    def ask(
        self, operation: str, body: bytes | None = None, *, identity: Path | None = None,
        basic: tuple[str, str] | None = None, **headers: str,
    ) -> Answer:  # fmt: skip
        """GET without a ``body``, POST with one."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, context=self.tls(identity)
        )
        if basic is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(':'.join(basic).encode()).decode()}"
        if body is not None:
            headers |= {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        try:
            connection.request("GET" if body is None else "POST", PATH + operation, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def enrol(self, kit: str, token: str, key: ec.EllipticCurvePrivateKey | None = None) -> Answer:
        return self.ask("simpleenroll", fleet.request(kit, key), basic=(kit, token))

    def enrolled(self, kit: str) -> Path:
        """A kit that has been let in: its key and certificate."""
        key = fleet.ec_key()
        answer = self.enrol(kit, self.registry.add_kit(kit), key)
        assert answer.status == 200, answer.body
        return fleet.identity(self.directory, key, Certificate.of(answer.certificate))

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return self.tls().wrap_socket(plain, server_hostname="127.0.0.1")


@contextmanager
def serving(directory: Path) -> Generator[Est]:
    """A fleet in ``directory``, and its EST server."""
    with fleet.found(directory) as registry:
        authority, key = Authority.load(directory), fleet.ec_key()
        made = authority.server("est", ["localhost", "127.0.0.1"], key.public_key(), registry.now_s)
        own = fleet.identity(directory, key, made)
        logging.getLogger("diemcau_fleet").setLevel(logging.INFO)
        tls = context(directory / "ca.pem", own, own)
        thread = DiskThread("registry")
        served = thread.submit(lambda: Registry.open(directory)).result()
        server = Server(
            Enrolment(served, authority), thread, authority.certificate.public_bytes(Encoding.DER), tls
        )
        listener = socket.create_server(("127.0.0.1", 0))
        started, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

        async def run() -> None:
            stop = asyncio.Event()
            loops.append((asyncio.get_running_loop(), stop))
            started.set()
            await server.serve(listener, stop)

        running = threading.Thread(target=lambda: asyncio.run(run()), name="est")
        running.start()
        try:
            assert started.wait(5)
            yield Est(directory, registry, listener.getsockname()[1])
        finally:
            loop, stop = loops[0]
            loop.call_soon_threadsafe(stop.set)
            running.join(15)
            assert not running.is_alive()
            listener.close()
            thread.submit(served.close).result()
            thread.end()

"""An EST server for the tests: real TLS on loopback, which can also be every bad server there is."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from est_authority import HOUR, Authority

Certificates = list[x509.Certificate]


def degenerate(certificates: Certificates) -> bytes:
    """certs-only PKCS#7 in base64, as EST answers it."""
    return base64.encodebytes(pkcs7.serialize_certificates(certificates, Encoding.DER))


class EstServer:
    """``tokens``: point -> its one-time token. ``asked``: what was asked, in order. Whatever a test sets in
    ``instead`` is done in place of the right answer."""

    def __init__(self, authority: Authority, folder: Path, **how: Any) -> None:
        self.authority = authority
        self.tokens: dict[str, str] = {}
        self.revoked: set[str] = set()
        self.asked: list[str] = []
        self.peers: list[int | None] = []
        """The serial number of each client's certificate."""
        self.instead: dict[str, Callable[[Handler], None]] = {}
        self.since: datetime | None = None
        self.life: timedelta = 90 * HOUR
        self.sign = authority.sign
        self.purpose = "client"
        self.issued: Certificates = []
        self.subject: str | None = None
        self.key: Any = None
        self._httpd = _Httpd(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self._httpd.est = self
        self.port = self._httpd.server_address[1]
        self.context = authority.server_context(folder, **how)
        self._thread = Thread(target=self._httpd.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def __enter__(self) -> EstServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()

    def issue(self, request: x509.CertificateSigningRequest, point: str) -> x509.Certificate:
        (subject,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert subject.value == point
        made = self.sign(
            self.key or request.public_key(),
            self.subject or point,
            since=self.since,
            life=self.life,
            server=self.purpose == "server",
        )
        self.issued.append(made)
        return made


class _Httpd(ThreadingHTTPServer):
    est: EstServer

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake in the connection's own thread: one that hangs holds up nobody."""
        try:
            with self.est.context.wrap_socket(request, server_side=True) as wrapped:
                der = wrapped.getpeercert(binary_form=True)
                peer = None if der is None else x509.load_der_x509_certificate(der).serial_number
                self.est.peers.append(peer)
                super().finish_request(cast("Any", wrapped), client_address)
        except (OSError, ValueError):
            pass  # a client that does not believe us, or has gone

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go at any time."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def est(self) -> EstServer:
        return cast("_Httpd", self.server).est

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._instead("cacerts"):
            return
        self.answer([self.est.authority.certificate])

    def do_POST(self) -> None:
        what = self.path.rpartition("/")[2]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/pkcs10"
        request = x509.load_der_x509_csr(base64.b64decode(body))
        assert request.is_signature_valid
        point = self._who(what)
        if point is None:
            self.refuse(401)
            return
        made = self.est.issue(request, point)
        if not self._instead(what):
            self.answer([made])

    def _instead(self, what: str) -> bool:
        self.est.asked.append(what)
        instead = self.est.instead.get(what)
        if instead is None:
            return False
        with contextlib.suppress(OSError):
            instead(self)
        self.close_connection = True
        return True

    def _who(self, what: str) -> str | None:
        if what == "simplereenroll":
            peer = cast("ssl.SSLSocket", self.connection).getpeercert()
            if not peer:
                return None
            names = dict(pair for group in cast("Any", peer["subject"]) for pair in group)
            point = str(names["commonName"])
            return None if point in self.est.revoked else point
        scheme, _, basic = self.headers.get("Authorization", "").partition(" ")
        assert scheme == "Basic"
        point, _, token = base64.b64decode(basic).decode().partition(":")
        if self.est.tokens.get(point) != token:
            self.est.asked.append("refused")
            return None
        del self.est.tokens[point]
        return point

    def answer(self, certificates: Certificates) -> None:
        self.say(200, degenerate(certificates))

    def refuse(self, status: int) -> None:
        self.say(status, b"no\n", "text/plain")

    def say(
        self,
        status: int,
        body: bytes,
        kind: str = "application/pkcs7-mime; smime-type=certs-only",
        **more: str,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for header, value in more.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

"""The EST server's HTTPS (RFC 7030): cacerts, simpleenroll, simplereenroll.

The kit is known by its one-time token (HTTP Basic) or by its certificate (mutual TLS); :mod:`.enrolment`
decides.
Bounded: :data:`CONNECTIONS` at once, each for :data:`CONNECTION_S` whatever it does, a body of 16 KiB.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from diemcau_agent.database import DatabaseError, DiskThread
from diemcau_agent.topics import is_id
from diemcau_fleet.authority import AuthorityError

from .enrolment import Enrolment, Peer, Refused
from .request import MAX_BYTES

PATH = "/.well-known/est/"
CONNECTIONS = 200
CONNECTION_S = 30.0
HANDSHAKE_S = 10.0
KEEPALIVE_S = 5.0
LINGER_S = 1.0
"""For the rest of a body that was refused, so that its sender hears why."""
BUSY_S = 10.0
"""When a kit may come again after the registry was busy or its disk full."""

T = TypeVar("T")
log = logging.getLogger(__name__)


def context(ca_file: Path, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A client may come without a certificate (with a token), but not with a foreign one. Raises OSError."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(cert_file, key_file)
    tls.load_verify_locations(ca_file)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.verify_flags |= ssl.VERIFY_X509_STRICT
    tls.options |= ssl.OP_NO_TICKET  # each connection is verified anew
    tls.num_tickets = 0
    return tls


class Server:
    """``enrolment`` is asked in ``thread`` alone. ``authority``: the certificate of the authority, DER."""

    def __init__(
        self, enrolment: Enrolment, thread: DiskThread, authority: bytes, tls: ssl.SSLContext
    ) -> None:
        self._enrolment = enrolment
        self._thread = thread
        self._authority = authority
        self._tls = tls
        self._routes = {
            "cacerts": ("GET", self._cacerts),
            "simpleenroll": ("POST", self._simpleenroll),
            "simplereenroll": ("POST", self._simplereenroll),
        }

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Until ``stop``; what is under way then has until its own end."""
        listener.setblocking(False)
        loop, slots = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTIONS)
        http = _Http(self._answer)

        async def accept() -> None:
            while True:
                await slots.acquire()
                try:
                    connection, address = await loop.sock_accept(listener)
                except OSError as error:  # no file descriptor left, or gone again
                    log.warning("accept: %s", error)
                    slots.release()
                    await asyncio.sleep(0.1)
                    continue
                task = connections.create_task(self._connection(http, connection, address[0]))
                task.add_done_callback(lambda _: slots.release())

        async with asyncio.TaskGroup() as connections:
            accepting = connections.create_task(accept())
            await stop.wait()
            accepting.cancel()
            await http.shutdown(CONNECTION_S)

    async def _connection(self, http: _Http, connection: socket.socket, address: str) -> None:
        handler: web.RequestHandler | None = None
        try:
            async with asyncio.timeout(CONNECTION_S):
                _, handler = await asyncio.get_running_loop().connect_accepted_socket(
                    http, connection, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S
                )
                await http.gone(handler)
        except TimeoutError:
            log.info("%s: took too long", address)
        except OSError as error:  # ssl.SSLError too
            log.info("%s: no TLS: %s", address, error)
        finally:
            if handler is not None and handler.transport is not None:
                handler.transport.abort()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One line in the log a request, whatever comes of it."""
        address, operation = request.remote or "?", request.path.removeprefix(PATH)
        route = self._routes.get(operation) if request.path.startswith(PATH) else None
        try:
            if route is None:
                raise Refused(HTTPStatus.NOT_FOUND, f"no such operation below {PATH}")
            method, answer = route
            if request.method != method:
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"got {request.method}, expected {method}")
            who, der = await answer(request, address)
        except Refused as refused:
            # Of the path and the user name only what is well-formed: they are anybody's words.
            log.warning("%s: %s: %s", address, operation if route else "?", refused)
            return _refusal(refused)
        except (DatabaseError, AuthorityError) as error:
            log.error("%s: %s: %s", address, operation, error)
            return _refusal(Refused(HTTPStatus.SERVICE_UNAVAILABLE, "busy; come again", wait_s=BUSY_S))
        log.info("%s: %s: %s", address, operation, who)
        return _certificates(der)

    async def _cacerts(self, request: web.BaseRequest, address: str) -> tuple[str, bytes]:
        return "the authority's certificate", self._authority

    async def _simpleenroll(self, request: web.BaseRequest, address: str) -> tuple[str, bytes]:
        kit, token = _credentials(request)
        await self._ask(lambda: self._enrolment.admit(address, kit, token))
        body = await _body(request)
        return f"{kit} enrolled", await self._ask(lambda: self._enrolment.enrol(address, kit, token, body))

    async def _simplereenroll(self, request: web.BaseRequest, address: str) -> tuple[str, bytes]:
        peer = _peer(request)
        await self._ask(lambda: self._enrolment.recognise(peer))
        body = await _body(request)
        kit, der = await self._ask(lambda: self._enrolment.renew(address, peer, body))
        return f"{kit} renewed", der

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(question))


class _Http(web.Server):
    """aiohttp's, which tells when a connection has gone."""

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(answer, access_log=None, keepalive_timeout=KEEPALIVE_S, lingering_time=LINGER_S)
        self._waiting: dict[web.RequestHandler, asyncio.Future[None]] = {}

    async def gone(self, handler: web.RequestHandler) -> None:
        if handler.transport is not None:
            self._waiting[handler] = waiting = asyncio.get_running_loop().create_future()
            await waiting

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        waiting = self._waiting.pop(handler, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def _credentials(request: web.BaseRequest) -> tuple[str, str]:
    """HTTP Basic (RFC 7617): the kit's id, its token. Raises Refused."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise Refused(HTTPStatus.UNAUTHORIZED, "expected the kit's id and its token (HTTP Basic)")
    try:
        kit, colon, token = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):  # UnicodeDecodeError too
        kit = colon = token = ""
    if not colon or not is_id(kit):
        raise Refused(HTTPStatus.UNAUTHORIZED, "the credentials are malformed")
    return kit, token


def _peer(request: web.BaseRequest) -> Peer:
    """Raises Refused."""
    secured = request.get_extra_info("ssl_object")
    der = secured.getpeercert(binary_form=True) if isinstance(secured, ssl.SSLObject) else None
    if der is None:
        raise Refused(HTTPStatus.FORBIDDEN, "expected the kit's certificate (mutual TLS)")
    return Peer(f"{x509.load_der_x509_certificate(der).serial_number:x}", der)


async def _body(request: web.BaseRequest) -> bytes:
    """Raises Refused."""
    body = bytearray()
    if request.content_length is None or request.content_length <= MAX_BYTES:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BYTES:
                break
        else:
            return bytes(body)
    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BYTES} bytes")


def _certificates(der: bytes) -> web.Response:
    """Certs-only PKCS#7 in base64 (RFC 7030, 4.1.3 and 4.2.3)."""
    certificate = x509.load_der_x509_certificate(der)
    return web.Response(
        body=base64.encodebytes(pkcs7.serialize_certificates([certificate], Encoding.DER)),
        headers={
            "Content-Type": "application/pkcs7-mime; smime-type=certs-only",
            "Content-Transfer-Encoding": "base64",
        },
    )


def _refusal(refused: Refused) -> web.Response:
    """The rest of a request that was not read is not waited for."""
    headers = {"Connection": "close"}
    if refused.status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="diemcau"'
    if refused.wait_s > 0:
        headers["Retry-After"] = str(math.ceil(refused.wait_s))
    response = web.Response(status=refused.status, text=f"{refused.reason}\n", headers=headers)
    response.force_close()
    return response

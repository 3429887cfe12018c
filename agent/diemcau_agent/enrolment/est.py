"""The client's side of EST (RFC 7030) over HTTPS: three questions, each bounded in time and size.

The standard library does it. Redirects are not followed: a token goes to the server that was named.
"""

from __future__ import annotations

import base64
import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from threading import Timer
from typing import NoReturn
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import answer
from .errors import EnrolError
from .proof import NO_CHECK_TIME

DEADLINE_S = 30.0
"""For one question, from the first packet to the last."""
_NOT_YET_VALID = 9
"""X509_V_ERR_CERT_NOT_YET_VALID"""


class NotYetValid(EnrolError):
    """The server's certificate is of a time that our clock has not come to."""

    def __init__(self, detail: str) -> None:
        super().__init__("server_certificate", detail)


class Est:
    """``ca_file``: whose certificate the server has; None: the system's authorities.

    Without ``check_time`` its chain and its name are verified, its dates are not.
    """

    def __init__(self, url: str, ca_file: str | None, *, deadline_s: float = DEADLINE_S) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 443
        self._ca_file = ca_file
        self._deadline_s = deadline_s

    def authorities(self) -> str:
        """``cacerts``: PEM. Raises EnrolError, as all do."""
        found = self._ask("cacerts")
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)

    def enrol(
        self, request: bytes, user: str, token: str, *, check_time: bool
    ) -> tuple[x509.Certificate, ...]:
        """``simpleenroll`` with HTTP Basic (RFC 7617)."""
        basic = base64.b64encode(f"{user}:{token}".encode()).decode()
        try:
            return self._ask(
                "simpleenroll", request, {"Authorization": f"Basic {basic}"}, check_time=check_time
            )
        except _Unauthorised as error:
            raise EnrolError("token_refused", error.detail) from None

    def renew(self, request: bytes, identity: Path, *, check_time: bool) -> tuple[x509.Certificate, ...]:
        """``simplereenroll`` with the certificate in force."""
        return self._ask("simplereenroll", request, identity=identity, check_time=check_time)

    def _ask(
        self,
        what: str,
        request: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        identity: Path | None = None,
        check_time: bool = True,
    ) -> tuple[x509.Certificate, ...]:
        context = self._context(identity, check_time=check_time)
        try:
            line = socket.create_connection((self._host, self._port), self._deadline_s)
        except socket.gaierror as error:
            raise EnrolError("name", f"{self._host}: {error.strerror}") from None
        except OSError as error:
            raise EnrolError("unreachable", f"{self._where}: {error.strerror or error}") from None
        # A server that sends a byte now and then never lets a read time out: its line is cut instead.
        body = b""
        with line, line.dup() as cut:
            late = _Late(cut, self._deadline_s)
            try:
                wrapped = context.wrap_socket(line, server_hostname=self._host)
                with wrapped:
                    body = self._exchange(wrapped, what, request, headers or {})
            except TimeoutError:
                late.cut = True
            except (OSError, HTTPException, ValueError, EnrolError) as error:
                if not late.cut:
                    self._failed(error, what)
            finally:
                late.cancel()
        if late.cut:  # whatever was read until then
            raise EnrolError("unreachable", f"{self._where}: no answer in {self._deadline_s:g} s")
        try:
            return answer.read(body)
        except answer.AnswerError as error:
            raise EnrolError("answer", f"{what}: {error}") from None

    def _exchange(
        self, wrapped: ssl.SSLSocket, what: str, request: bytes | None, headers: dict[str, str]
    ) -> bytes:
        connection = HTTPConnection(self._host, self._port)
        connection.sock = wrapped
        if request is not None:
            headers = {
                **headers,
                "Content-Type": "application/pkcs10",
                "Content-Transfer-Encoding": "base64",
            }
        connection.request(
            "GET" if request is None else "POST",
            f"/.well-known/est/{what}",
            None if request is None else base64.b64encode(request),
            {**headers, "Connection": "close"},
        )
        with connection.getresponse() as response:
            _status(response, what)
            kind = response.headers.get_content_type()
            if kind != "application/pkcs7-mime":
                raise EnrolError("answer", f"{what}: got {kind}, expected application/pkcs7-mime")
            body = response.read(answer.LIMIT_BYTES + 1)
            if response.length and len(body) <= answer.LIMIT_BYTES:  # read(n) does not look
                raise IncompleteRead(body, response.length)
            return body

    def _context(self, identity: Path | None, *, check_time: bool) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except (OSError, ValueError) as error:
            raise EnrolError(
                "server_certificate", f"enrolment.ca_file {self._ca_file}: {_words(error)}"
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not check_time:
            context.verify_flags |= NO_CHECK_TIME
        if identity is not None:
            try:
                context.load_cert_chain(identity)
            except (OSError, ValueError) as error:
                raise EnrolError("storage", f"{identity}: {_words(error)}") from None
        return context

    @property
    def _where(self) -> str:
        return f"{self._host}:{self._port}"

    def _failed(self, error: Exception, what: str) -> NoReturn:
        if isinstance(error, EnrolError):
            raise error
        if isinstance(error, ssl.SSLCertVerificationError):
            detail = f"{self._where}: {error.verify_message}"
            if error.verify_code == _NOT_YET_VALID:
                raise NotYetValid(detail) from None
            raise EnrolError("server_certificate", detail) from None
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "") and what == "simplereenroll":
            # With TLS 1.3 it comes after the handshake (RFC 8446, 4.4.2.4).
            raise EnrolError("certificate_refused", f"{self._where}: {_words(error)}") from None
        if isinstance(error, OSError):
            raise EnrolError("unreachable", f"{self._where}: {_words(error)}") from None
        raise EnrolError("answer", f"{what}: {type(error).__name__}: {error}") from None


class _Unauthorised(EnrolError):
    def __init__(self, detail: str) -> None:
        super().__init__("certificate_refused", detail)


class _Late:
    """Cuts ``line`` at the deadline."""

    def __init__(self, line: socket.socket, deadline_s: float) -> None:
        self._line = line
        self.cut = False
        self._timer = Timer(deadline_s, self._end)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()
        self._timer.join()

    def _end(self) -> None:
        self.cut = True
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is over already


def _status(response: HTTPResponse, what: str) -> None:
    """Raises unless it is 200."""
    told = f"{what}: {response.status} {response.reason}"
    match response.status:
        case 200:
            return
        case 202:  # RFC 7030, 4.2.3
            again = response.headers.get("Retry-After", "")
            raise EnrolError("not_approved", f"{told}, Retry-After {again}" if again else told)
        case 401 | 403:
            raise _Unauthorised(told)
        case status if status >= 500:
            raise EnrolError("server", told)
        case _:
            raise EnrolError("answer", f"{told}, expected 200")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)

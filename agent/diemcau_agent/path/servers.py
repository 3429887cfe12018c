"""How long the broker's door takes to open: TCP, then TLS, then closed again; no MQTT is spoken.

A handshake costs the broker 1.5 ms of CPU, so this is asked on trouble and in a self-test only.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

from diemcau_agent.address import Address, Tls
from diemcau_agent.sockets import opened

DEADLINE_S = 5.0
ALERT_S = 0.2
"""With TLS 1.3 a broker that refuses our certificate says so only after the handshake (RFC 8446, 4.4.2.4)."""
_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def connect(
    broker: Address,
    tls: Tls,
    addresses: Sequence[str],
    *,
    deadline_s: float = DEADLINE_S,
    interface: str | None = None,
) -> dict[str, Any]:
    """``broker_tcp_ms`` or ``broker_error``; then, for TLS, ``broker_tls_ms`` or ``broker_tls_error``.

    ``broker_cert_time`` is True where a certificate's dates do not fit our clock. ``addresses``: numeric,
    tried in order; none gives nothing.
    """
    end_s = time.monotonic() + deadline_s
    failed: dict[str, Any] = {}
    for number, address in enumerate(addresses):
        # No address may use up what those after it need.
        until_s = time.monotonic() + (end_s - time.monotonic()) / (len(addresses) - number)
        began_s = time.monotonic()
        try:
            sock = _tcp(address, broker.port, until_s - began_s, interface)
        except OSError as error:
            failed = failed or {"broker_error": _words(error, deadline_s)}
            continue
        with sock:
            tcp_ms = (time.monotonic() - began_s) * 1000
            facts: dict[str, Any] = {"broker_tcp_ms": round(tcp_ms, 3)}
            if broker.secure:
                facts |= _handshake(sock, broker, tls, end_s, deadline_s)
            return facts
    return failed


def _tcp(address: str, port: int, timeout_s: float, interface: str | None) -> socket.socket:
    sock, sockaddr = opened(address, port, socket.SOCK_STREAM, interface=interface)
    try:
        sock.settimeout(max(timeout_s, 0.01))
        sock.connect(sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def _handshake(
    sock: socket.socket, broker: Address, tls: Tls, end_s: float, deadline_s: float
) -> dict[str, Any]:
    try:
        context = tls.context()
    except (OSError, ValueError) as error:
        return {"broker_tls_error": f"our own certificate: {_words(error, deadline_s)}"}
    began_s = time.monotonic()
    try:
        sock.settimeout(max(end_s - began_s, 0.01))
        with context.wrap_socket(sock, server_hostname=broker.host) as wrapped:
            tls_ms = (time.monotonic() - began_s) * 1000
            _alert(wrapped, max(ALERT_S, tls_ms / 1000))
    except ssl.SSLCertVerificationError as error:
        facts: dict[str, Any] = {"broker_tls_error": error.verify_message}
        return facts | ({"broker_cert_time": True} if error.verify_code in (_NOT_YET_VALID, _EXPIRED) else {})
    except (OSError, ValueError) as error:
        return {"broker_tls_error": _words(error, deadline_s)}
    return {"broker_tls_ms": round(tls_ms, 3)}


def _alert(wrapped: ssl.SSLSocket, wait_s: float) -> None:
    """Raises the alert, where the broker sends one. Silence is a yes."""
    wrapped.settimeout(wait_s)
    try:
        wrapped.recv(1)
    except TimeoutError:
        pass


def _words(error: Exception, deadline_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {deadline_s:g} s"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)

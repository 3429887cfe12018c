"""Whether an identity will be believed: a TLS handshake in memory, which OpenSSL judges as at the broker."""

from __future__ import annotations

import os
import ssl

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl has no name for."""
_TURNS = 10
"""A handshake of TLS 1.3 has three flights."""


class ProofError(Exception):
    """It would not be."""


def prove(pem: bytes, authorities: str, *, check_time: bool) -> None:
    """Key and certificate of ``pem`` fit, the chain leads to one of ``authorities`` (PEM), the purpose is a
    client's, and the dates hold where ``check_time``. Raises ProofError."""
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    here.check_hostname, here.verify_mode = False, ssl.CERT_NONE  # the other side plays no part
    there.verify_mode = ssl.CERT_REQUIRED
    if not check_time:
        there.verify_flags |= NO_CHECK_TIME
    to_there, to_here = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        there.load_verify_locations(cadata=authorities)
        _load(pem, there, here)
        server = there.wrap_bio(to_there, to_here, server_side=True)
        client = here.wrap_bio(to_here, to_there)
        for _ in range(_TURNS):
            done = [_step(side) for side in (client, server)]
            if all(done):
                return
    except ssl.SSLCertVerificationError as error:
        raise ProofError(error.verify_message) from None
    except (ssl.SSLError, ValueError) as error:
        raise ProofError(str(error)) from None
    raise ProofError("the handshake does not end")


def _load(pem: bytes, *contexts: ssl.SSLContext) -> None:
    """ssl reads files only: one in memory, as a key that is not in force yet has no business on the card."""
    with open(os.memfd_create("identity", os.MFD_CLOEXEC), "wb") as file:  # noqa: PTH123
        file.write(pem)
        file.flush()
        for context in contexts:
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True

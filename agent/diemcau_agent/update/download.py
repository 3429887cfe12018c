"""From an HTTPS server into a file: bounded in size, in time and in trust. Blocking: for a thread of its
own."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from diemcau_agent.commands.outcome import Failed

READ_S = 30.0
"""A server that says nothing for so long is given up."""
DOWNLOAD_S = 1200.0
"""A package of 60 MB at half a megabit a second."""
CHUNK_BYTES = 64 * 1024


def fetch(url: str, trust: ssl.SSLContext, most_bytes: int) -> bytes:
    """A small document, whole. Raises Failed (``download``)."""
    got = bytearray()
    _read(url, trust, most_bytes, got.extend, lambda: False)
    return bytes(got)


def download(
    url: str, trust: ssl.SSLContext, into: Path, size: int, sha256: str, given_up: Callable[[], bool]
) -> None:
    """``into`` has the ``size`` bytes of that hash, or is not there. Raises Failed (``download``)."""
    digest = hashlib.sha256()
    try:
        with into.open("wb") as file:
            got = _read(url, trust, size, _both(file, digest.update), given_up)
        if (got, digest.hexdigest()) != (size, sha256):
            raise Failed(
                "download", f"{url}: got {got} bytes of {digest.hexdigest()}, expected {size} of {sha256}"
            )
    except OSError as error:
        into.unlink(missing_ok=True)
        raise Failed("download", f"{into}: {error}") from None
    except Failed:
        into.unlink(missing_ok=True)
        raise


def _both(file: IO[bytes], update: Callable[[bytes], None]) -> Callable[[bytes], object]:
    def take(chunk: bytes) -> None:
        update(chunk)
        file.write(chunk)

    return take


def _read(
    url: str,
    trust: ssl.SSLContext,
    most_bytes: int,
    take: Callable[[bytes], object],
    given_up: Callable[[], bool],
) -> int:
    """How many bytes came. A redirect is not followed: where a package lies is the operator's word."""
    place, deadline = urlsplit(url), time.monotonic() + DOWNLOAD_S
    got = 0
    try:
        connection = http.client.HTTPSConnection(place.netloc, timeout=READ_S, context=trust)
        try:
            connection.request("GET", place.path or "/", headers={"Accept-Encoding": "identity"})
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise Failed("download", f"{url}: got status {answer.status}, expected 200")
                while chunk := answer.read1(CHUNK_BYTES):
                    got += len(chunk)
                    if got > most_bytes:
                        raise Failed("download", f"{url}: got more than {most_bytes} bytes")
                    if given_up() or time.monotonic() > deadline:
                        raise Failed("download", f"{url}: not there within {DOWNLOAD_S:g} s")
                    take(chunk)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failed("download", f"{url}: {error or type(error).__name__}") from None
    return got

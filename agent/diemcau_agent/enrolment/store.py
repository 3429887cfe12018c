"""The identity on the card: each file whole or not at all, and each power cut completed by the next run.

``identity.pem``  our key and certificate, in force
``ca.pem``        whom we believe, at the broker
``request.pem``   the key of a request under way, and its certificate once the answer has come
``clock-wanted``  only while an enrolment waits for the clock: diemcau-clock.path starts who may set it

The order of an enrolment is request.pem with the key; the request; request.pem with the certificate; the
token deleted; ca.pem; request.pem renamed to identity.pem. Before the last step the old identity is in force,
after it the new one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from diemcau_agent import files

from .errors import EnrolError
from .pair import Pair, PairError

LIMIT_BYTES = 256 * 1024


class Store:
    """Every method raises EnrolError("storage") where the card fails."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity_file = directory / "identity.pem"
        self.ca_file = directory / "ca.pem"
        self.request_file = directory / "request.pem"
        self.clock_wanted_file = directory / "clock-wanted"

    @contextmanager
    def alone(self) -> Generator[None]:
        """The directory, made where it is not there, and nobody else in it. Raises EnrolError("busy")."""
        with _told(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EnrolError("busy", f"{self.directory} is locked") from None
            yield
        finally:
            os.close(folder)

    def identity(self) -> Pair | None:
        """In force; None where there is none. Raises PairError where it is damaged."""
        pair = self._pair(self.identity_file)
        if pair is not None and not pair.chain:
            raise PairError("got a key without its certificate")
        return pair

    def request(self) -> Pair | None:
        """The one under way; None where there is none or it is damaged: then it is worth nothing."""
        try:
            return self._pair(self.request_file)
        except PairError:
            return None

    def keep_request(self, pair: Pair) -> None:
        self._replace(self.request_file, pair.pem())

    def drop_request(self) -> None:
        with _told(self.request_file):
            self.request_file.unlink(missing_ok=True)

    def put_in_force(self, authorities: str) -> None:
        """The request under way, with whom to believe."""
        self.keep_authorities(authorities)
        with _told(self.identity_file):
            self.request_file.replace(self.identity_file)
            files.settle(self.directory)

    def keep_authorities(self, authorities: str) -> None:
        self._replace(self.ca_file, authorities.encode())

    @contextmanager
    def clock_wanted(self) -> Generator[None]:
        """Whoever may set the clock is called, and the certificate it is to look at is on the card."""
        self._replace(self.clock_wanted_file, b"")
        try:
            yield
        finally:
            with _told(self.clock_wanted_file):
                self.clock_wanted_file.unlink(missing_ok=True)

    def _pair(self, path: Path) -> Pair | None:
        with _told(path):
            try:
                with path.open("rb") as file:
                    pem = file.read(LIMIT_BYTES)
            except FileNotFoundError:
                return None
        return Pair.parse(pem)

    def _replace(self, path: Path, data: bytes) -> None:
        with _told(path):
            files.replace(path, data)


@contextmanager
def _told(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise EnrolError("storage", f"{path}: {error.strerror or error}") from error

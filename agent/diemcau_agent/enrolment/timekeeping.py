"""The kit's clock, set by the one process that may (``diemcau-agent set-clock``): it has CAP_SYS_TIME and no
network. It believes a certificate on the card, forward only, and only while nothing else keeps the clock.

What the card says is judged again: the agent, which can write there, may have been taken over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from diemcau_agent.clock import SystemClock, rfc3339

from .errors import EnrolError
from .pair import Pair, PairError
from .proof import ProofError, prove
from .store import Store

_CAP_SYS_TIME = 25
"""include/uapi/linux/capability.h"""


class Clock(Protocol):
    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def synced(self) -> bool: ...


class WaitingClock(Clock, Protocol):
    """All that an enrolment does with it."""

    def wait(self, seconds: float) -> None: ...


class SettableClock(Clock, Protocol):
    def may_set(self) -> bool: ...

    def set(self, wall_s: float) -> None:
        """Raises OSError."""
        ...


class KernelClock(SystemClock):
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def may_set(self) -> bool:
        """Whether this process has CAP_SYS_TIME (capabilities(7))."""
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "CapEff":
                return bool(int(value, 16) >> _CAP_SYS_TIME & 1)
        return False

    def set(self, wall_s: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, wall_s)


def set_forward(point: str, ca_file: str | None, store: Store, clock: SettableClock) -> float | None:
    """Set ``clock`` to where the newest certificate in ``store`` begins that is ``point``'s and that
    ``ca_file`` vouches for. That time; None where the clock was left alone as it is synced or not before any.

    Raises EnrolError where it lies before one and was left alone all the same.
    """
    if clock.synced():
        return None
    refused: list[EnrolError] = []
    ahead = (pair for pair in _pairs(store) if pair.not_before_s > clock.wall())
    for pair in sorted(ahead, key=lambda one: one.not_before_s, reverse=True):
        try:
            _judge(pair, point, ca_file)
        except EnrolError as error:
            refused.append(error)
        else:
            _set(clock, pair.not_before_s)
            return pair.not_before_s
    if refused:
        raise refused[0]
    return None


def _pairs(store: Store) -> Iterator[Pair]:
    """In force, and under way. Each file is written whole or not at all, so no lock is needed."""
    try:
        identity = store.identity()
    except PairError:
        identity = None  # as the enrolment tells, which comes next
    yield from (pair for pair in (identity, store.request()) if pair is not None and pair.chain)


def _judge(pair: Pair, point: str, ca_file: str | None) -> None:
    """Dates apart: those are what is to be learnt. Raises EnrolError."""
    if ca_file is None:
        raise EnrolError("clock", "without enrolment.ca_file nobody is believed about the time")
    try:
        prove(pair.with_answer(pair.chain, point).pem(), Path(ca_file).read_text(), check_time=False)
    except OSError as error:
        raise EnrolError("clock", f"enrolment.ca_file {ca_file}: {error.strerror or error}") from None
    except (PairError, ProofError, ValueError) as error:
        begins = rfc3339(pair.not_before_s)
        raise EnrolError("clock", f"the certificate of {begins} is not believed: {error}") from None


def _set(clock: SettableClock, to_s: float) -> None:
    if not clock.may_set():
        raise EnrolError("clock", "this process may not set it (CAP_SYS_TIME)")
    try:
        clock.set(to_s)
    except OSError as error:
        raise EnrolError("clock", f"cannot be set: {error.strerror or error}") from error

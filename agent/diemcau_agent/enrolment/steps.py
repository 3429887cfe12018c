"""An enrolment from beginning to end (RFC 7030): what is due is asked for, proved, and only then in force.

A kit's clock may stand in 1970. Then the server is believed by chain and name alone, and what comes back
must be signed by the authority that the settings name, over a key of ours that is new: it was made just now,
and its ``notBefore`` is the time. Another process, which has no network, sets the clock there
(:mod:`.timekeeping`); then the server is asked again with dates on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography import x509

from diemcau_agent.clock import rfc3339
from diemcau_agent.config import Enrolment

from .errors import EnrolError
from .est import Est, NotYetValid
from .pair import Pair, PairError
from .proof import ProofError, prove
from .store import Store
from .timekeeping import WaitingClock
from .token import TokenFile

SKEW_S = 20.0
"""So far the server's clock may be ahead of one that is kept."""
CLOCK_S = 20.0
"""So long it takes at most until the clock is set by whom the store has called."""
_LOOK_S = 0.5
Result = Literal["enrolled", "renewed", "nothing"]


@dataclass(slots=True)
class Notes:
    """What happened beside, told whether it ended well or not."""

    clock_set: str | None = None
    """The time to which the clock was moved meanwhile, RFC 3339."""
    token_left: str | None = None
    """Why the used token could not be deleted."""
    token_old: bool = False
    """There is a token that was used already, and an identity that is good without it."""
    damaged: str | None = None
    """What was wrong with the identity that was there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``not_after_s``, ``due_s``: until when the identity is good, and when it is to be renewed."""

    result: Result
    not_after_s: float
    due_s: float


@dataclass(slots=True)
class Enrolling:
    point: str
    settings: Enrolment
    store: Store
    clock: WaitingClock
    token: TokenFile
    est: Est
    notes: Notes = field(default_factory=Notes)
    _result: Result = "renewed"

    def run(self, *, renew: bool = False) -> Outcome:
        """``renew``: now, and not at two thirds of the certificate's life. Raises EnrolError."""
        with self.store.alone():
            identity = self._identity()
            request = self.store.request()
            if request is None or not request.chain:
                answered = self._asked(request, identity, renew=renew)
                if answered is None:
                    assert identity is not None
                    self._believe()
                    return _outcome("nothing", identity)
                request = answered
            elif identity is None:
                self._result = "enrolled"
            self._put_in_force(request)
            return _outcome(self._result, request)

    def _identity(self) -> Pair | None:
        try:
            return self.store.identity()
        except PairError as error:
            self.notes.damaged = f"{self.store.identity_file}: {error}"
            return None

    # --- Asking

    def _asked(self, request: Pair | None, identity: Pair | None, *, renew: bool) -> Pair | None:
        """The request with its certificate, on the card; None where nothing is due."""
        token = self.token.read()
        expired = identity is not None and self.clock.wall() > identity.not_after_s and self.clock.synced()
        good = identity is not None and not expired
        if token is not None:
            try:
                return self._answered(request, token)
            except EnrolError as error:
                if error.code != "token_refused" or not good:
                    raise
                self.notes.token_old = True  # a power cut came before it was deleted
        if identity is None:
            raise EnrolError("token_missing", str(self.token.path))
        if expired:
            raise EnrolError("certificate_expired", rfc3339(identity.not_after_s))
        if renew or self.clock.wall() >= identity.due_s:
            return self._answered(request, None)
        return None

    def _answered(self, request: Pair | None, token: str | None) -> Pair:
        if request is None:
            request = Pair.new()
            self.store.keep_request(request)
        wanted = request.request(self.point)
        dated = True
        try:
            chain = self._certificates(wanted, token, check_time=True)
        except NotYetValid as error:
            self._allow_any_date(error)
            dated = False
            chain = self._certificates(wanted, token, check_time=False)
        try:
            request = request.with_answer(chain, self.point)
        except PairError as error:
            raise EnrolError("answer", str(error)) from None
        if not dated:
            self._prove(request, Path(self.settings.ca_file or "").read_text(), check_time=False)
        self.store.keep_request(request)
        if token is not None:
            self._result = "enrolled"
            self.notes.token_left = self.token.used()
        return request

    def _certificates(
        self, wanted: bytes, token: str | None, *, check_time: bool
    ) -> tuple[x509.Certificate, ...]:
        if token is None:
            return self.est.renew(wanted, self.store.identity_file, check_time=check_time)
        return self.est.enrol(wanted, self.point, token, check_time=check_time)

    def _allow_any_date(self, error: NotYetValid) -> None:
        """Where the clock is not kept, and the settings say whose word on the time counts."""
        if self.clock.synced():
            raise error
        if self.settings.ca_file is None:
            now = rfc3339(self.clock.wall())
            raise EnrolError("clock", f"{now}; without enrolment.ca_file nobody is believed about the time")

    # --- Proving

    def _put_in_force(self, request: Pair) -> None:
        self._begin(request)
        authorities = self.est.authorities()
        try:
            self._prove(request, authorities, check_time=True)
        except EnrolError:
            self.store.drop_request()  # no later run can make it better
            raise
        self.store.put_in_force(authorities)

    def _begin(self, request: Pair) -> None:
        """Until its ``notBefore`` has come: where nothing keeps the clock, call who may set it; where one
        that is kept is a little late, wait."""
        if not self.clock.synced() and self._ahead_s(request) > SKEW_S:
            self._have_clock_set(request)
        ahead_s = self._ahead_s(request)
        if ahead_s > SKEW_S:
            begins, now = rfc3339(request.not_before_s), rfc3339(self.clock.wall())
            raise EnrolError("clock", f"{now}; the certificate that came begins at {begins}")
        if ahead_s > 0:
            self.clock.wait(ahead_s)

    def _have_clock_set(self, request: Pair) -> None:
        with self.store.clock_wanted():
            for _ in range(round(CLOCK_S / _LOOK_S)):
                self.clock.wait(_LOOK_S)
                if self._ahead_s(request) <= 0:
                    self.notes.clock_set = rfc3339(self.clock.wall())
                    return

    def _ahead_s(self, request: Pair) -> float:
        return request.not_before_s - self.clock.wall()

    def _prove(self, request: Pair, authorities: str, *, check_time: bool) -> None:
        try:
            prove(request.pem(), authorities, check_time=check_time)
        except ProofError as error:
            raise EnrolError("answer", f"the certificate would not be believed: {error}") from None

    def _believe(self) -> None:
        """Whom to believe, where that was lost."""
        if not self.store.ca_file.exists():
            self.store.keep_authorities(self.est.authorities())


def _outcome(result: Result, pair: Pair) -> Outcome:
    return Outcome(result, pair.not_after_s, pair.due_s)

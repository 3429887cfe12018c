"""A kit for the tests of the enrolment: its files, its clock, its token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diemcau_agent.config import Enrolment
from diemcau_agent.enrolment.est import Est
from diemcau_agent.enrolment.pair import Pair
from diemcau_agent.enrolment.steps import Enrolling, Outcome
from diemcau_agent.enrolment.store import Store
from diemcau_agent.enrolment.timekeeping import set_forward
from diemcau_agent.enrolment.token import TokenFile
from est_server import EstServer
from fakeclock import FakeClock

POINT = "xp-0417"
TOKEN = "8Kq-2mWz-one-time"
FUTURE_S = 400 * 365 * 86400.0


class KitClock(FakeClock):
    settable = True
    waited_s = 0.0
    stubborn = False
    called: Callable[[], object] | None = None
    """What happens while somebody waits."""

    def may_set(self) -> bool:
        return self.settable

    def set(self, wall_s: float) -> None:
        assert wall_s > self.wall_s, "a clock is never set back"
        if self.stubborn:
            raise PermissionError(1, "Operation not permitted")
        self.wall_s = wall_s

    def wait(self, seconds: float) -> None:
        self.wall_s += seconds
        self.waited_s += seconds
        if self.called is not None:
            self.called()


class Kit:
    def __init__(self, folder: Path, server: EstServer, wall_s: float) -> None:
        self.folder = folder
        self.store = Store(folder / "state" / "identity")
        self.clock = KitClock(wall_s)
        self.token_file = folder / "token"
        self.ca_file = folder / "est-ca.pem"
        self.ca_file.write_bytes(server.authority.pem)
        self.server = server
        self.deadline_s = 5.0
        self.url = server.url

    def given(self, token: str = TOKEN) -> None:
        """The centre gives a token, the technician brings it."""
        self.server.tokens[POINT] = token
        self.token_file.write_text(f"{token}\n")

    def enrolling(self) -> Enrolling:
        wanted = Enrolment(url=self.url, ca_file=str(self.ca_file), token_file=str(self.token_file))
        return Enrolling(
            POINT,
            wanted,
            self.store,
            self.clock,
            TokenFile(self.token_file, None),
            Est(wanted.url, wanted.ca_file, deadline_s=self.deadline_s),
        )

    def enrol(self, *, renew: bool = False) -> Outcome:
        """A new run of the program. Raises EnrolError."""
        return self.enrolling().run(renew=renew)

    def set_clock(self) -> float | None:
        """What diemcau-clock.service does. Raises EnrolError."""
        return set_forward(POINT, str(self.ca_file), self.store, self.clock)

    @property
    def identity(self) -> Pair:
        identity = self.store.identity()
        assert identity is not None
        return identity

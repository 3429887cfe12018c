"""The power may go at any moment of an enrolment: the next run has the old identity, or completes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent import files
from diemcau_agent.enrolment.errors import EnrolError
from diemcau_agent.enrolment.proof import prove
from diemcau_agent.enrolment.steps import Outcome
from enrolling_kit import POINT, Kit
from est_authority import Authority
from est_server import EstServer, Handler

AUTHORITY = Authority()


class PowerCut(BaseException):
    pass


class Power:
    """Goes at the ``left``-th change of the card, before it or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: float = float("inf")
        self.after = False
        self.changes = 0
        for place, name in ((files, "replace"), (files, "settle"), (Path, "replace"), (Path, "unlink")):
            monkeypatch.setattr(place, name, self._cut(getattr(place, name)))

    def goes(self, left: float, *, after: bool) -> None:
        self.left, self.after, self.changes = left, after, 0

    def _cut(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **kwargs: Any) -> Any:
            self.changes += 1
            mine = self.changes == self.left
            if mine and not self.after:
                raise PowerCut
            result = change(*args, **kwargs)
            if mine:
                raise PowerCut
            return result

        return changed


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Power:
    return Power(monkeypatch)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    with EstServer(AUTHORITY, tmp_path) as running:
        yield running


@pytest.fixture
def kit(server: EstServer, tmp_path: Path) -> Kit:
    return Kit(tmp_path, server, time.time())


CUTS = [(number, after) for number in range(1, 25) for after in (False, True)]


LOST = [(5, False), (6, False), (6, True), (7, False)]
"""Before the answer's file is whole: its files.replace, that one's unlink, and its rename."""


def _whole(kit: Kit) -> bool:
    """What is in force would be let in by the broker. Never a half of it."""
    if not kit.store.identity_file.exists():
        return False
    prove(kit.store.identity_file.read_bytes(), kit.store.ca_file.read_text(), check_time=True)
    return True


def _cut(kit: Kit, power: Power, number: int, *, after: bool, renew: bool) -> bool:
    """Whether the power went before the end."""
    power.goes(number, after=after)
    try:
        kit.enrol(renew=renew)
    except PowerCut:
        return True
    finally:
        power.goes(float("inf"), after=False)
    return False


@pytest.mark.parametrize(("number", "after"), CUTS)
def test_a_first_enrolment_that_is_cut_is_completed_or_says_that_it_needs_a_new_token(
    kit: Kit, server: EstServer, power: Power, number: int, after: bool
) -> None:
    kit.given()
    if not _cut(kit, power, number, after=after, renew=False):
        assert number > 8, "the enrolment has fewer changes of the card than this test cuts"
        return
    _whole(kit)
    if not _completed(kit):
        assert POINT not in server.tokens
        kit.given("another")
        kit.enrol()
    assert _whole(kit)
    assert sorted(path.name for path in kit.store.directory.iterdir() if not path.name.startswith(".")) == [
        "ca.pem",
        "identity.pem",
    ]
    assert kit.enrol().result == "nothing"


@pytest.mark.parametrize(("number", "after"), CUTS)
def test_a_renewal_that_is_cut_leaves_the_old_identity_or_the_new_one_and_the_next_run_completes_it(
    kit: Kit, power: Power, number: int, after: bool
) -> None:
    kit.given()
    kit.enrol()
    before = kit.store.identity_file.read_bytes()
    cut = _cut(kit, power, number, after=after, renew=True)
    assert _whole(kit)
    assert cut or number > 8
    kit.enrol(renew=kit.store.identity_file.read_bytes() == before)
    assert kit.store.identity_file.read_bytes() != before
    assert _whole(kit)


def test_only_the_answer_itself_can_be_lost_with_the_token(kit: Kit, server: EstServer, power: Power) -> None:
    """Where the server gives no certificate twice: between its answer and the first write of it."""
    lost: list[tuple[int, bool]] = []
    for number, after in CUTS:
        kit.store.identity_file.unlink(missing_ok=True)
        kit.store.request_file.unlink(missing_ok=True)
        kit.given(f"token-{number}-{after}")
        if not _cut(kit, power, number, after=after, renew=False):
            continue
        if not _completed(kit):
            lost.append((number, after))
    assert lost == LOST


def test_an_answer_that_never_came_is_told_and_a_new_token_helps(kit: Kit, server: EstServer) -> None:
    def hang_up(handler: Handler) -> None:
        handler.connection.close()

    kit.given()
    server.instead["simpleenroll"] = hang_up
    assert _code(kit.enrol) == "unreachable"
    key = kit.store.request_file.read_bytes()
    server.instead.clear()
    assert _code(kit.enrol) == "token_refused"
    assert kit.store.request_file.read_bytes() == key, "the same key: a server may give its certificate again"
    kit.given("another")
    assert kit.enrol().result == "enrolled"


def test_a_server_that_goes_after_its_answer_costs_no_token(kit: Kit, server: EstServer) -> None:
    kit.given()
    server.instead["cacerts"] = lambda handler: handler.refuse(503)
    assert _code(kit.enrol) == "server"
    assert not kit.store.identity_file.exists()
    server.instead.clear()
    assert kit.enrol().result == "enrolled"
    assert server.asked.count("simpleenroll") == 1


def test_a_renewal_is_done_again_where_its_answer_was_lost(kit: Kit, server: EstServer) -> None:
    kit.given()
    kit.enrol()
    before = kit.store.identity_file.read_bytes()
    server.instead["simplereenroll"] = lambda handler: handler.connection.close()
    with pytest.raises(EnrolError, match="unreachable"):
        kit.enrol(renew=True)
    assert kit.store.identity_file.read_bytes() == before
    server.instead.clear()
    assert kit.enrol(renew=True).result == "renewed"


def _completed(kit: Kit) -> bool:
    """By a next run; False where that says that the token is spent."""
    try:
        kit.enrol()
    except EnrolError as error:
        if error.code == "token_refused":
            return False
        raise
    return True


def test_a_full_card_is_told_and_the_old_identity_stays(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.given()
    kit.enrol()
    before = kit.store.identity_file.read_bytes()

    def full(path: Path, data: bytes, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "replace", full)
    with pytest.raises(EnrolError, match="No space left") as caught:
        kit.enrol(renew=True)
    assert caught.value.code == "storage"
    assert kit.store.identity_file.read_bytes() == before


def _code(enrol: Callable[[], Outcome]) -> str:
    with pytest.raises(EnrolError) as caught:
        enrol()
    return caught.value.code

"""A kit without a battery clock starts in 1970: it gets through, and is not fooled."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent.enrolment.errors import EnrolError
from diemcau_agent.enrolment.timekeeping import forward
from enrolling_kit import POINT, TOKEN, Kit, KitClock
from est_authority import YEAR, Authority, now
from est_server import EstServer
from kit_in_1970 import Faked

AUTHORITY = Authority()
STRANGER = Authority("stranger")


def made(folder: Path, server: EstServer) -> Faked:
    server.tokens[POINT] = TOKEN
    return Faked(folder, server.url, AUTHORITY.pem, TOKEN)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    with EstServer(AUTHORITY, tmp_path) as running:
        yield running


@pytest.fixture
def faked(tmp_path: Path, server: EstServer) -> Faked:
    return made(tmp_path, server)


def test_a_first_boot_in_1970_gets_through_and_has_the_time_of_its_certificate(
    faked: Faked, server: EstServer
) -> None:
    told = faked.enrol()
    assert told["result"] == "enrolled", told
    assert told["began_s"] < 120
    (issued,) = server.issued
    assert told["clock_set"].startswith(issued.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%S"))
    assert 0 <= told["ended_s"] - issued.not_valid_before_utc.timestamp() < 60
    assert faked.in_force
    assert server.asked == ["simpleenroll", "cacerts"]


def test_a_clock_of_last_month_goes_forward_too(faked: Faked, server: EstServer) -> None:
    faked.rc.write_text((datetime.now(UTC) - timedelta(days=30)).strftime("%Y-%m-%d %H:%M:%S"))
    assert faked.enrol()["clock_set"] is not None
    assert faked.in_force


@pytest.mark.parametrize(
    ("authority", "how"),
    [(STRANGER, {}), (AUTHORITY, {"host": "elsewhere.example"})],
    ids=["another authority", "another host"],
)
def test_in_1970_chain_and_host_name_still_count(
    tmp_path: Path, authority: Authority, how: dict[str, Any]
) -> None:
    with EstServer(authority, tmp_path, **how) as server:
        faked = made(tmp_path, server)
        assert faked.enrol()["code"] == "server_certificate"
        assert server.asked == []
    assert not faked.in_force


def test_in_1970_a_stranger_may_not_say_what_time_it_is(faked: Faked, server: EstServer) -> None:
    """Whoever has an old certificate of the server, whose key has leaked, and an authority of his own."""
    server.sign = STRANGER.sign
    told = faked.enrol()
    assert told["code"] == "answer"
    assert told["ended_s"] < 200, "the clock was left alone"
    assert not faked.in_force


def test_in_1970_a_server_whose_certificate_has_run_out_is_found_once_the_time_is_known(
    tmp_path: Path,
) -> None:
    with EstServer(AUTHORITY, tmp_path, since=now() - 2 * YEAR, life=YEAR) as server:
        faked = made(tmp_path, server)
        told = faked.enrol()
    assert told["code"] == "server_certificate"
    assert "expired" in told["detail"]
    assert not faked.in_force


def test_in_1970_no_token_is_spent_where_the_clock_may_not_be_set(faked: Faked, server: EstServer) -> None:
    faked.settable = False
    assert faked.enrol()["code"] == "clock"
    assert server.asked == []
    assert POINT in server.tokens


def test_a_clock_that_something_keeps_is_never_moved(tmp_path: Path, server: EstServer) -> None:
    kit = Kit(tmp_path, server, time.time())
    kit.given()
    kit.enrol()
    kit.clock.wall_s = before_s = kit.identity.not_before_s - 10 * 3600
    assert kit.enrol().result == "nothing"
    assert kit.clock.wall_s == before_s


def test_a_server_that_is_some_seconds_ahead_is_waited_for(tmp_path: Path, server: EstServer) -> None:
    kit = Kit(tmp_path, server, time.time() - 10)
    server.since = now()
    kit.given()
    assert kit.enrol().result == "enrolled"
    assert 8 < kit.clock.waited_s <= 10


def test_one_that_is_further_ahead_is_told_and_costs_no_token(tmp_path: Path, server: EstServer) -> None:
    kit = Kit(tmp_path, server, time.time() - 60)
    server.since = now()
    kit.given()
    with pytest.raises(EnrolError, match="begins at") as caught:
        kit.enrol()
    assert caught.value.code == "clock"
    assert not kit.store.identity_file.exists()
    kit.clock.wall_s = time.time()
    assert kit.enrol().result == "enrolled"
    assert server.asked.count("simpleenroll") == 1


def test_at_each_boot_the_clock_goes_to_the_newest_certificate_at_least(
    tmp_path: Path, server: EstServer
) -> None:
    kit = Kit(tmp_path, server, time.time())
    kit.given()
    kit.enrol()
    kit.clock.is_synced, kit.clock.wall_s = False, 60.0
    server.asked.clear()
    enrolling = kit.enrolling()
    assert enrolling.run().result == "nothing"
    assert kit.clock.wall_s == kit.identity.not_before_s
    assert enrolling.notes.clock_set is not None
    assert server.asked == [], "no network is needed for that"


@pytest.mark.parametrize(
    ("synced", "settable", "to_s", "moved"),
    [
        (False, True, 200.0, 100.0),
        (False, True, 100.0, None),
        (False, True, 99.0, None),
        (True, True, 200.0, None),
        (False, False, 200.0, None),
    ],
)
def test_forward_only_and_only_where_nothing_keeps_the_clock(
    synced: bool, settable: bool, to_s: float, moved: float | None
) -> None:
    clock = KitClock(100.0, synced=synced)
    clock.settable = settable
    assert forward(clock, to_s) == moved
    assert clock.wall_s == 100.0 + (moved or 0.0)


def test_a_kernel_that_will_not_set_its_clock_is_told(tmp_path: Path, server: EstServer) -> None:
    class Stubborn(KitClock):
        def set(self, wall_s: float) -> None:
            raise PermissionError(1, "Operation not permitted")

    kit = Kit(tmp_path, server, 60.0)
    kit.clock = Stubborn(60.0, synced=False)
    kit.given()
    with pytest.raises(EnrolError, match="not permitted") as caught:
        kit.enrol()
    assert caught.value.code == "clock"


def test_whether_the_clock_may_be_set_is_the_capability_of_this_process() -> None:
    """setpriv takes CAP_SYS_TIME away from a child; that it has none is seen before anything is tried."""
    ask = "from diemcau_agent.enrolment.timekeeping import KernelClock; print(KernelClock().may_set())"
    without = subprocess.run(
        ("setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", sys.executable, "-c", ask),
        check=True, capture_output=True, text=True, timeout=15,
    )  # fmt: skip
    assert without.stdout.strip() == "False"

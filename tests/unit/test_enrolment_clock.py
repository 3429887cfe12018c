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
from diemcau_agent.enrolment.pair import Pair
from diemcau_agent.enrolment.timekeeping import set_forward
from enrolling_kit import POINT, TOKEN, Kit
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


def test_in_1970_no_token_is_sent_where_the_settings_name_no_authority(
    faked: Faked, server: EstServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(faked.ca_file))  # the system has it among its authorities
    faked.ca_file = None
    told = faked.enrol()
    assert (told["code"], "without enrolment.ca_file" in told["detail"]) == ("clock", True), told
    assert server.asked == []


def test_where_nobody_sets_the_clock_it_is_told_and_costs_no_second_token(
    faked: Faked, server: EstServer
) -> None:
    faked.settable = False
    told = faked.enrol()
    assert (told["code"], told["clock_set"]) == ("clock", None)
    assert "begins at" in told["detail"]
    assert not faked.in_force
    assert not (faked.folder / "identity" / "clock-wanted").exists(), "the call ends with the caller"
    faked.settable = True
    assert faked.enrol()["result"] == "enrolled"
    assert server.asked == ["simpleenroll", "cacerts"]


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
    assert kit.clock.waited_s == 0, "nobody is called for a clock that is kept"
    assert not kit.store.identity_file.exists()
    kit.clock.wall_s = time.time()
    assert kit.enrol().result == "enrolled"
    assert server.asked.count("simpleenroll") == 1


def test_an_enrolment_calls_for_the_clock_only_where_it_is_far_behind_and_unkept(
    tmp_path: Path, server: EstServer
) -> None:
    kit = Kit(tmp_path, server, time.time() - 10)
    kit.clock.is_synced, server.since = False, now()
    kit.clock.called = lambda: called.append(kit.store.clock_wanted_file.exists())
    called: list[bool] = []
    kit.given()
    assert kit.enrol().result == "enrolled"
    assert called == [False]


@pytest.fixture
def booted(tmp_path: Path, server: EstServer) -> Kit:
    """An enrolled kit that has started again, a minute after 1970."""
    kit = Kit(tmp_path, server, time.time())
    kit.given()
    kit.enrol()
    server.asked.clear()
    kit.clock.is_synced, kit.clock.wall_s = False, 60.0
    return kit


def later(kit: Kit, authority: Authority = AUTHORITY, point: str = POINT) -> Pair:
    """A certificate that begins in ten years, over a key that lies here: as one who has taken the agent over
    could put it on the card, if an authority gave it."""
    made = Pair.new()
    since = now() + 10 * YEAR
    pair = Pair(made.key, (authority.sign(made.key.public_key(), point, since=since),))
    kit.store.keep_request(pair)
    return pair


def test_at_each_boot_the_clock_goes_to_the_certificate_at_least(booted: Kit, server: EstServer) -> None:
    assert booted.set_clock() == booted.clock.wall_s == booted.identity.not_before_s
    assert booted.set_clock() is None, "it is there"
    assert booted.enrol().result == "nothing"
    assert server.asked == [], "no network is needed for that"


def test_the_newest_certificate_counts_also_where_it_is_not_in_force_yet(booted: Kit) -> None:
    pair = later(booted)
    assert booted.set_clock() == booted.clock.wall_s == pair.not_before_s


@pytest.mark.parametrize(
    ("authority", "point"),
    [(STRANGER, POINT), (AUTHORITY, "xp-9999")],
    ids=["another authority", "another point"],
)
def test_what_the_authority_has_not_given_to_this_kit_moves_no_clock(
    booted: Kit, authority: Authority, point: str
) -> None:
    later(booted, authority, point)
    booted.set_clock()
    assert booted.clock.wall_s == booted.identity.not_before_s, "only where the one in force begins"
    booted.store.identity_file.unlink()
    with pytest.raises(EnrolError, match="is not believed") as caught:
        booted.set_clock()
    assert caught.value.code == "clock"


def test_another_keys_certificate_moves_no_clock(booted: Kit) -> None:
    """A certificate is public: the broker's log may have it. Its key is not."""
    pair = later(booted)
    booted.store.keep_request(Pair(Pair.new().key, pair.chain))
    booted.set_clock()
    assert booted.clock.wall_s == booted.identity.not_before_s


@pytest.mark.parametrize(
    ("wall_s", "synced"), [(60.0, True), (4e9, False), (4e9, True)], ids=["kept", "later", "kept and later"]
)
def test_forward_only_and_only_where_nothing_keeps_the_clock(
    booted: Kit, wall_s: float, synced: bool
) -> None:
    booted.clock.wall_s, booted.clock.is_synced = wall_s, synced
    assert booted.set_clock() is None
    assert booted.clock.wall_s == wall_s


def test_a_kit_without_an_identity_has_nothing_to_set_its_clock_by(tmp_path: Path, server: EstServer) -> None:
    kit = Kit(tmp_path, server, 60.0)
    kit.clock.is_synced = False
    assert kit.set_clock() is None
    assert not kit.store.directory.exists(), "it writes nothing"


def test_a_damaged_identity_is_no_time(booted: Kit) -> None:
    booted.store.identity_file.write_text("-----BEGIN")
    assert booted.set_clock() is None
    pair = later(booted)
    assert booted.set_clock() == pair.not_before_s


def test_without_an_authority_in_the_settings_nobody_is_believed(booted: Kit) -> None:
    with pytest.raises(EnrolError, match=r"without enrolment\.ca_file"):
        set_forward(POINT, None, booted.store, booted.clock)
    booted.ca_file.unlink()
    with pytest.raises(EnrolError, match=r"est-ca.pem: No such file"):
        booted.set_clock()
    booted.ca_file.write_text("no PEM")
    with pytest.raises(EnrolError, match="is not believed"):
        booted.set_clock()
    assert booted.clock.wall_s == 60.0


def test_who_may_not_set_the_clock_or_whose_kernel_refuses_says_so(booted: Kit) -> None:
    booted.clock.settable = False
    with pytest.raises(EnrolError, match="CAP_SYS_TIME"):
        booted.set_clock()
    booted.clock.settable, booted.clock.stubborn = True, True
    with pytest.raises(EnrolError, match="not permitted"):
        booted.set_clock()


def test_whether_the_clock_may_be_set_is_the_capability_of_this_process() -> None:
    """setpriv takes CAP_SYS_TIME away from a child; that it has none is seen before anything is tried."""
    ask = "from diemcau_agent.enrolment.timekeeping import KernelClock; print(KernelClock().may_set())"
    without = subprocess.run(
        ("setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", sys.executable, "-c", ask),
        check=True, capture_output=True, text=True, timeout=15,
    )  # fmt: skip
    assert without.stdout.strip() == "False"

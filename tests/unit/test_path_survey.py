"""The survey of the path: what is near, what is far, each part by its own deadline."""

from __future__ import annotations

import pathlib
import socket
import threading
import time
from typing import Any

import pytest

from diemcau_agent.address import Address, Tls
from diemcau_agent.path import survey as path
from diemcau_agent.path.survey import Path, side_by_side
from diemcau_agent.path.trace import trace

NO_TLS = Tls(None, None, None)
ROUTE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"


def test_parts_run_side_by_side_and_what_they_tell_is_one() -> None:
    meet = threading.Barrier(3)

    def part(name: str) -> dict[str, Any]:
        meet.wait(5)  # only where all three run at once
        return {name: True}

    parts = [lambda name=name: part(name) for name in ("a", "b", "c")]
    assert side_by_side(parts, 5) == {"a": True, "b": True, "c": True}


def test_a_part_that_is_late_tells_nothing() -> None:
    released = threading.Event()
    try:
        began_s = time.monotonic()
        assert side_by_side([lambda: {"quick": 1}, lambda: {"late": released.wait(10)}], 0.1) == {"quick": 1}
        assert time.monotonic() - began_s < 2
    finally:
        released.set()


def test_what_nobody_expected_is_not_hidden() -> None:
    def broken() -> dict[str, Any]:
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        side_by_side([broken], 5)


@pytest.fixture
def proc(tmp_path: pathlib.Path) -> pathlib.Path:
    """A machine with no way out but loopback."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/route").write_text(ROUTE)
    return tmp_path


def test_a_centre_on_this_machine_is_behind_no_gateway(proc: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        broker = Address("mqtt", "127.0.0.1", door.getsockname()[1], "/")
        facts = Path(broker, NO_TLS, None, proc=proc).survey()
    assert facts.pop("broker_tcp_ms") >= 0
    assert facts.pop("clock_source") in ("chrony", "timesyncd", "none")
    assert set(facts) <= {"clock_offset_ms", "clock_server"}


def test_the_near_part_asks_neither_names_nor_the_broker(
    proc: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("asked")

    for name in ("connect", "path_mtu", "trace", "time_source"):
        monkeypatch.setattr(path, name, never)
    monkeypatch.setattr("diemcau_agent.path.names.Names.look_up", never)
    (proc / "net/route").write_text(ROUTE + "lo\t00000000\t0100007F\t0003\t0\t0\t0\t00000000\n")
    facts = Path(Address("mqtts", "broker.example", 8883, "/"), NO_TLS, proc=proc).survey(near_only=True)
    assert facts["gateway"] == "127.0.0.1"
    assert set(facts) <= {"gateway", "gateway_answers", "gateway_rtt_ms"}


def test_a_way_without_a_gateway_has_nobody_to_ask(proc: pathlib.Path) -> None:
    (proc / "net/route").write_text(ROUTE + "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\n")
    assert Path(Address("mqtt", "127.0.0.1", 1, "/"), NO_TLS, proc=proc).survey(near_only=True) == {}


def test_a_name_that_was_never_known_and_no_way_out_is_a_gateway_that_is_missing(proc: pathlib.Path) -> None:
    unknown = Path(Address("mqtt", "broker.example", 1, "/"), NO_TLS, proc=proc)
    assert unknown.survey(near_only=True) == {"gateway_answers": False}


def test_an_uplink_is_asked_for_its_own_gateway(proc: pathlib.Path) -> None:
    (proc / "net/route").write_text(
        ROUTE + "eth7\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n"
        "lo\t00000000\t0100007F\t0003\t0\t0\t9\t00000000\n"
    )
    broker = Address("mqtt", "127.0.0.1", 1, "/")
    assert Path(broker, NO_TLS, interface="lo", proc=proc).survey(near_only=True)["gateway"] == "127.0.0.1"
    assert path.uplinks(proc) == ["eth7", "lo"]


def test_this_machine_is_no_hop_of_its_own_route() -> None:
    assert trace("127.0.0.1", deadline_s=0.2) == []

"""A line that refuses a train's packets, or a reflector that restarts under it: what cannot be sent is
lost, and told why."""

from __future__ import annotations

import errno
import os
import time
from typing import ClassVar

import pytest

from diemcau_agent.line import train
from diemcau_agent.line.stamps import StampedSocket
from diemcau_agent.line.train import Address, Plan, run
from scripted_reflector import Reflector, Request, counts, good, lost, sent_to


def test_a_reflector_that_restarts_costs_the_packets_of_that_time_alone() -> None:
    def script(request: Request) -> list[bytes]:
        if request.n == 4:
            reflector.shut(0.1)
            return []
        return good(request)

    with Reflector(script) as reflector:
        train = sent_to(reflector, count=25, interval_ms=20)
    missing = lost(train)
    assert missing[0] == 4
    assert missing == list(range(4, 4 + len(missing)))
    assert 3 <= len(missing) <= 18
    assert train.error == "Connection refused"
    assert counts(train) == {}


def test_where_nobody_listens_all_is_lost_and_the_whole_train_is_sent() -> None:
    with Reflector() as reflector:
        address = reflector.address
    train = run(
        Plan(address=address, count=10, interval_ms=5, size_bytes=44, wait_s=0.1), synced=lambda: False
    )
    assert lost(train) == list(range(10))
    assert train.error == "Connection refused"


class Refusing(StampedSocket):
    """The kernel's refusals, by the index of the packet."""

    refusals: ClassVar[dict[int, int]] = {}

    def send(self, index: int, packet: bytes) -> None:
        if index in self.refusals:
            raise OSError(self.refusals[index], os.strerror(self.refusals[index]))
        super().send(index, packet)


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EMSGSIZE, errno.ENETDOWN])
def test_what_no_later_packet_could_mend_ends_the_train(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "StampedSocket", Refusing)
    monkeypatch.setattr(Refusing, "refusals", dict.fromkeys(range(3, 10), code))
    with Reflector() as reflector:
        told = sent_to(reflector)
    assert lost(told) == [3]
    assert len(told.rtts_ms) == 4
    assert told.error == os.strerror(code)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOBUFS, errno.EHOSTUNREACH, errno.EAGAIN])
def test_a_packet_that_is_refused_is_lost_and_the_next_one_sent(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "StampedSocket", Refusing)
    monkeypatch.setattr(Refusing, "refusals", dict.fromkeys((0, 3, 4), code))
    with Reflector() as reflector:
        told = sent_to(reflector)
    assert lost(told) == [0, 3, 4]
    assert told.lost_forward == 3
    assert told.error == os.strerror(code)


def test_an_address_that_the_kernel_sends_nothing_to_is_told_at_once() -> None:
    started_s = time.monotonic()
    told = run(
        Plan(address=Address("255.255.255.255", 862), count=10, interval_ms=5, size_bytes=44),
        synced=lambda: True,
    )
    assert lost(told) == [0]
    assert told.error == "Permission denied"
    assert time.monotonic() - started_s < 1


def test_a_train_goes_through_its_interface_alone() -> None:
    with Reflector() as reflector:
        plan = Plan(address=reflector.address, count=3, interval_ms=5, size_bytes=44, interface="lo")
        assert lost(run(plan, synced=lambda: False)) == []
        plan = Plan(address=reflector.address, count=3, interval_ms=5, size_bytes=44, interface="nosuch0")
        with pytest.raises(OSError, match="No such device"):
            run(plan, synced=lambda: False)

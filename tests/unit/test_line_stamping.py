"""The daemon's sender promises: trains run beside the event loop, an address once found serves on when the
name server is gone, and a stop ends a train at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Generator

import pytest

from diemcau_agent.line import stamping
from diemcau_agent.line.record import record
from diemcau_agent.line.stamping import FRESH_S, Stamping, parse
from diemcau_agent.line.train import Address
from fakeclock import FakeClock
from scripted_reflector import Reflector


@pytest.fixture
def reflector() -> Generator[Reflector]:
    with Reflector() as one:
        yield one


def stamping_to(address: Address, clock: FakeClock) -> Stamping:
    return Stamping(f"{address.host}:{address.port}", 46, clock, lambda: True)


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("stamp.example", ("stamp.example", 862)),
        ("stamp.example:8620", ("stamp.example", 8620)),
        ("192.0.2.7", ("192.0.2.7", 862)),
        ("[2001:db8::7]", ("2001:db8::7", 862)),
        ("[2001:db8::7]:8620", ("2001:db8::7", 8620)),
    ],
)
def test_a_reflector_is_named_with_or_without_its_port(setting: str, found: tuple[str, int]) -> None:
    assert parse(setting) == found


async def test_a_train_runs_while_the_loop_goes_on(reflector: Reflector, clock: FakeClock) -> None:
    measure = stamping_to(reflector.address, clock)
    train = asyncio.create_task(measure(count=20, interval_ms=10))
    turns = 0
    while not train.done():
        await asyncio.sleep(0.001)
        turns += 1
        assert measure.sending or train.done()
    found = record([train.result()])
    assert (found.sent, found.lost, measure.sending) == (20, 0, False)
    assert turns > 20
    assert {request.tos >> 2 for request in reflector.requests} == {46}
    measure.close()


async def test_its_address_outlives_the_name_server_and_is_asked_anew_in_time(
    reflector: Reflector, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    answers = True

    def resolve(host: str, port: int) -> Address:
        asked.append(clock.mono_s)
        if not answers:
            raise socket.gaierror(socket.EAI_AGAIN, host)
        return reflector.address

    monkeypatch.setattr(stamping, "resolve", resolve)
    measure = Stamping("stamp.example", 46, clock, lambda: True)
    for passed_s, names_answer in ((0.0, True), (1.0, True), (FRESH_S, False)):
        clock.mono_s += passed_s
        answers = names_answer
        assert record([await measure(count=2, interval_ms=1)]).lost == 0
    assert asked == [clock.mono_s - FRESH_S - 1.0, clock.mono_s]
    measure.close()


async def test_a_name_that_was_never_found_is_an_error_that_names_it(clock: FakeClock) -> None:
    measure = Stamping("stamp.invalid", 46, clock, lambda: True)
    with pytest.raises(OSError, match=r"stamp\.invalid"):
        await measure(count=1, interval_ms=1)
    measure.close()


async def test_a_stop_ends_the_train_under_way(reflector: Reflector, clock: FakeClock) -> None:
    measure = stamping_to(reflector.address, clock)
    train = asyncio.create_task(measure(count=1000, interval_ms=100))
    while not reflector.requests:
        await asyncio.sleep(0.005)
    stopped_s = time.monotonic()
    measure.close()
    found = record([await train])
    assert found.sent < 1000
    assert time.monotonic() - stopped_s < 2

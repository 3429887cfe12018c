"""One uplink: what a burst says, what a hundred packets decide, and how seldom they are sent."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise

import pytest

from diemcau_agent.line.record import Train
from diemcau_agent.line.train import Limits
from diemcau_agent.line.uplink import BURST, DOUBT_S, ENOUGH, POOL_S, Uplink, verdict
from fakeclock import FakeClock

LOST = float("nan")


class Path:
    """Plays the line: ``rtt_ms(packet)`` for each packet since the beginning, NaN where it is lost."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.sent = 0
        self.trains: list[int] = []
        self.rtt_ms: Callable[[int], float] = lambda packet: 10.0

    async def __call__(
        self,
        *,
        count: int,
        interval_ms: float,
        size_bytes: int = 52,
        dscp: int | None = None,
        uplink: str | None = None,
        limits: Limits | None = None,
    ) -> Train:
        assert interval_ms == 20.0
        rtts_ms = array("d", (self.rtt_ms(self.sent + packet) for packet in range(count)))
        self.sent += count
        self.trains.append(count)
        return Train(at_s=-1.0, rtts_ms=rtts_ms, interval_ms=interval_ms)


@pytest.fixture
def path(clock: FakeClock) -> Path:
    return Path(clock)


@pytest.fixture
def uplink(path: Path, clock: FakeClock) -> Uplink:
    return Uplink(None, path, clock)


def lose(*packets: int) -> Callable[[int], float]:
    return lambda packet: LOST if packet in packets else 10.0


def settled(uplink: Uplink) -> tuple[str, ...]:
    assert uplink.settled is not None
    return verdict(uplink.settled)


async def test_a_good_line_is_known_after_ten_packets(path: Path, uplink: Uplink) -> None:
    await uplink.burst()
    assert (settled(uplink), path.trains) == ((), [BURST])


async def test_one_lost_packet_of_ten_is_no_verdict_but_a_hundred_are(path: Path, uplink: Uplink) -> None:
    await uplink.burst()
    path.rtt_ms = lose(15)
    await uplink.burst()
    assert path.trains == [BURST, BURST, ENOUGH]
    assert settled(uplink) == ()
    assert uplink.settled is not None
    assert uplink.settled.sent == ENOUGH  # on its own packets alone: the doubtful burst is not among them


async def test_real_loss_is_confirmed_at_once(path: Path, uplink: Uplink) -> None:
    await uplink.burst()
    path.rtt_ms = lambda packet: LOST if packet % 4 == 0 else 10.0
    await uplink.burst()
    assert settled(uplink) == ("uplink_loss",)


async def test_weak_signs_that_meant_nothing_must_wait_longer_each_time(
    path: Path, uplink: Uplink, clock: FakeClock
) -> None:
    await uplink.burst()
    confirmed_at_s: list[float] = []
    for _ in range(60):
        path.rtt_ms = lose(path.sent)
        await uplink.burst()
        if path.trains[-1] == ENOUGH:
            confirmed_at_s.append(clock.mono_s)
        await clock.advance(50)
    pauses_s = [later - former for former, later in pairwise(confirmed_at_s)]
    assert pauses_s[0] >= DOUBT_S
    assert pauses_s == sorted(pauses_s)
    assert len(confirmed_at_s) <= 8  # of 60 bursts in 50 minutes


BROKEN: dict[str, Callable[[int], float]] = {
    "uplink_delay": lambda packet: 150.0,
    "uplink_jitter": lambda packet: 10.0 + 80.0 * (packet % 2),
    "reflector_silent": lambda packet: LOST,
    "uplink_loss": lambda packet: LOST if packet % 3 else 10.0,
}


@pytest.mark.parametrize("code", BROKEN)
async def test_a_strong_sign_is_followed_whatever_came_before(path: Path, uplink: Uplink, code: str) -> None:
    await uplink.burst()
    path.rtt_ms = lose(path.sent)
    await uplink.burst()  # a weak sign that meant nothing
    path.rtt_ms = BROKEN[code]
    await uplink.burst()
    assert settled(uplink) == (code,)
    path.rtt_ms = lambda packet: 10.0
    await uplink.burst()
    assert settled(uplink) == ()


async def test_in_a_conference_the_last_twenty_seconds_are_judged_and_no_train_is_sent(
    path: Path, uplink: Uplink, clock: FakeClock
) -> None:
    path.rtt_ms = lambda packet: 10.0
    for _ in range(12):
        await uplink.burst()
        await clock.advance(2)
    path.trains.clear()
    path.rtt_ms = lambda packet: LOST if packet % 10 == 0 else 10.0
    for _ in range(6):
        await uplink.burst()
        await clock.advance(2)
    assert settled(uplink) == ("uplink_loss",)
    assert set(path.trains) == {BURST}
    assert uplink.settled is not None
    assert uplink.settled.sent == ENOUGH


async def test_windows_are_of_the_agents_own_clock(path: Path, uplink: Uplink, clock: FakeClock) -> None:
    assert uplink.record_of(10) is None
    for _ in range(40):
        await uplink.burst()
        await clock.advance(2)
    ten, minute = uplink.record_of(10), uplink.record_of(60)
    assert ten is not None
    assert minute is not None
    assert (ten.sent, minute.sent) == (4 * BURST, 29 * BURST)  # the last one was 2 s ago
    assert sum(len(train.rtts_ms) for train in uplink.trains) <= 31 * BURST  # and no more is kept
    assert POOL_S * BURST / 2 == ENOUGH


async def test_a_train_that_cannot_begin_is_the_callers_to_tell(clock: FakeClock) -> None:
    class Down(Path):
        async def __call__(self, **_: object) -> Train:
            raise OSError("no such interface")

    uplink = Uplink("wwan0", Down(clock), clock)
    with pytest.raises(OSError, match="no such interface"):
        await uplink.burst()
    assert uplink.settled is None

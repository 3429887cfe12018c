"""The impaired line does what it is asked; its truth is what sender and upstream count on their own."""

from __future__ import annotations

import itertools
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from diemcau_agent.line import packet
from diemcau_sim import impairment
from diemcau_sim.chance import Chance, GilbertElliott, Impairment
from diemcau_sim.impairment import ImpairedRelay
from udp_line import TEST_PACKET, Line, Sender, bursts, reordered

HELD_S = 0.4
"""Over how long a packet is held back."""


@pytest.fixture
def line() -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(stack)


def test_a_clean_line_hands_over_everything_once_in_order_and_at_once(line: Line) -> None:
    sender, truth = line.run(200)
    assert sender.numbers == line.echo.numbers == list(range(200))
    assert (truth.sent, truth.lost, truth.duplicates, truth.reordered, truth.loss_bursts) == (
        200,
        0,
        0,
        0,
        (),
    )
    assert truth.delay_ms(50) < 2
    assert truth.forward_bytes == truth.backward_bytes == 200 * (28 + 28)


@pytest.mark.parametrize("seed", range(3))
def test_what_it_counts_is_what_sender_and_upstream_count(line: Line, seed: int) -> None:
    what = Impairment(
        seed=seed,
        loss_ratio=0.04,
        burst=GilbertElliott(p=0.02, r=0.4),
        delay_ms=8,
        jitter_ms=6,
        keeps_order=False,
        reorder_ratio=0.05,
        duplicate_ratio=0.05,
    )
    sender, truth = line.run(400, what, quiet_s=HELD_S)
    lost = set(range(400)) - set(sender.numbers)
    assert truth.sent == 400
    assert 0 < truth.lost == len(lost)
    assert truth.loss_bursts == bursts(lost)
    assert 0 < truth.duplicates == len(sender.numbers) - len(set(sender.numbers))
    assert 0 < truth.reordered == reordered(sender.numbers)
    assert truth.lost_forward == 400 - len(set(line.echo.numbers))
    assert sum(one.copies for one in truth.packets) == len(line.echo.numbers)


def test_seeded_runs_repeat_packet_by_packet(line: Line) -> None:
    ordered = Impairment(
        seed=3, loss_ratio=0.1, duplicate_ratio=0.1, reorder_ratio=0.1, delay_ms=5, jitter_ms=2
    )
    runs = [line.run(200, ordered, quiet_s=HELD_S) for _ in range(2)]
    copies, replies, came = zip(
        *(
            (
                [one.copies for one in truth.packets],
                [len(one.handed) for one in truth.packets],
                sender.numbers,
            )
            for sender, truth in runs
        ),
        strict=True,
    )
    assert copies[0] == copies[1]
    assert replies[0] == replies[1]
    assert sorted(came[0]) == sorted(came[1])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_one_direction_is_impaired_alone(line: Line, direction: Any) -> None:
    sender, truth = line.run(300, Impairment(loss_ratio=0.2, delay_ms=30, direction=direction))
    reached = len(line.echo.numbers)
    assert (
        (reached, truth.lost_forward) == (300, 0)
        if direction == "backward"
        else (len(sender.numbers), truth.lost)
    )
    assert truth.lost == pytest.approx(60, abs=28)
    assert truth.delay_ms(50) == pytest.approx(30, abs=2)


def test_each_direction_has_an_impairment_of_its_own(line: Line) -> None:
    ways = Impairment(loss_ratio=1, direction="backward"), Impairment(delay_ms=5, direction="forward")
    _, truth = line.run(20, *ways)
    assert (truth.lost, truth.lost_forward, len(line.echo.numbers)) == (20, 0, 20)


@pytest.mark.parametrize("delay_ms", [5, 40, 150])
def test_the_delay_really_applied_is_the_one_asked_for_and_the_one_felt(line: Line, delay_ms: float) -> None:
    sender, truth = line.run(100, Impairment(delay_ms=delay_ms), interval_s=0.005, quiet_s=0.4)
    assert truth.delay_ms(50) == pytest.approx(2 * delay_ms, abs=1)
    felt_ms = [sender.took_ms[one.number] - one.handed[0].delay_ms for one in truth.packets]
    assert 0 <= statistics.median(felt_ms) < 1


def test_a_line_that_keeps_order_keeps_it_under_any_jitter(line: Line) -> None:
    sender, truth = line.run(200, Impairment(delay_ms=30, jitter_ms=30))
    assert sender.numbers == list(range(200))
    assert truth.reordered == 0
    sender, truth = line.run(200, Impairment(delay_ms=30, jitter_ms=30, keeps_order=False))
    assert truth.reordered == reordered(sender.numbers) > 50


def test_who_is_held_back_goes_after_the_next_ones(line: Line) -> None:
    held = Impairment(seed=1, reorder_ratio=0.1, reorder_past=2, direction="forward")
    sender, truth = line.run(100, held, quiet_s=HELD_S)
    chance = Chance(held, "forward/0")
    late = [number for number in range(100) if chance.next(56).held_past]
    assert late
    for number in late[:-3]:  # the last may have no followers
        before = sender.numbers[: sender.numbers.index(number)]
        assert sum(other > number for other in before) >= 2
    assert truth.lost == 0


def test_who_is_held_back_and_has_no_follower_goes_nevertheless(line: Line) -> None:
    sender, truth = line.run(
        3, Impairment(reorder_ratio=1, reorder_past=9, direction="forward"), quiet_s=HELD_S
    )
    assert sorted(sender.numbers) == [0, 1, 2]
    assert truth.delay_ms(50) == pytest.approx(impairment.HELD_MAX_NS / 1e6, abs=20)


def test_a_black_hole_swallows_the_large_ones_only(line: Line) -> None:
    hole = Impairment(drop_over_bytes=1400)
    assert line.run(10, hole, size_bytes=1372)[1].lost == 0
    assert line.run(10, hole, size_bytes=1373)[1].lost == 10


def test_it_falls_silent_and_heals_while_it_runs(line: Line) -> None:
    line.relay.impair(Impairment(silent=True))
    sender = line.sender()
    sender.socket.send(b"ab")  # no number: that alone is no way past
    sender.send(10)
    assert sender.numbers == line.echo.numbers == []
    line.relay.impair()
    sender.send(10, first=10)
    assert sender.numbers == list(range(10, 20))
    assert line.relay.truth().loss_bursts == (10,)


def test_several_senders_have_each_their_own_replies_and_their_own_luck(line: Line) -> None:
    line.relay.impair(Impairment(loss_ratio=0.3))
    senders = [line.sender() for _ in range(4)]
    threads = [threading.Thread(target=sender.send, args=(100,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    truth = line.relay.truth()
    assert truth.sent == 400
    assert truth.lost == sum(100 - len(sender.numbers) for sender in senders)
    assert len({tuple(sender.numbers) for sender in senders}) == 4
    assert sorted(truth.loss_bursts) == sorted(
        itertools.chain.from_iterable(bursts(set(range(100)) - set(sender.numbers)) for sender in senders)
    )


def test_what_has_no_number_passes_uncounted(line: Line) -> None:
    line.relay.impair(Impairment(loss_ratio=1))
    sender = line.sender()
    sender.socket.settimeout(5)
    sender.socket.send(b"ab")
    assert sender.socket.recv(100) == b"ab"
    assert line.relay.truth().sent == 0


def test_what_the_upstream_takes_beyond_its_word_is_the_paths_own() -> None:
    """A reflector that kept a request for 30 ms and owns up to 20 (T3 - T2 of its reply)."""
    with ExitStack() as stack:
        upstream = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        upstream.bind(("127.0.0.1", 0))
        upstream.settimeout(5)
        relay = ImpairedRelay("127.0.0.1", upstream.getsockname()[1], Impairment(delay_ms=5))
        stack.callback(relay.stop)
        sender = stack.enter_context(Sender(relay.start()).socket)
        sender.settimeout(5)
        sender.send(packet.request(7, time.time_ns(), 1, 1))
        _, source = upstream.recvfrom(100)
        time.sleep(0.03)
        received_ns = time.time_ns()
        said = packet.to_ntp(received_ns + 20_000_000), 1, 1, packet.to_ntp(received_ns), 7, 0, 1, 255
        upstream.sendto(packet.REPLY.pack(0, *said), source)
        sender.recv(100)
        truth = relay.truth()
    (answer,) = truth.packets[0].handed
    assert (truth.delay_ms(50), answer.path_ms) == pytest.approx((10, 10), abs=3)
    assert truth.with_path().delay_ms(50) == answer.delay_ms + answer.path_ms


def test_dscp_is_carried_over_both_ways(line: Line) -> None:
    sender = line.sender()
    sender.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
    sender.send(3)
    assert line.echo.tos == [46 << 2] * 3


def test_an_upstream_that_is_not_there_loses_all_and_ends_nothing(line: Line) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    relay = ImpairedRelay("127.0.0.1", port)
    sender = Sender(relay.start())
    sender.send(20)
    assert relay.truth().lost == 20
    sender.socket.close()
    relay.stop()


def test_reset_begins_anew_and_drops_what_is_under_way(line: Line) -> None:
    line.relay.impair(Impairment(delay_ms=150))
    sender = line.sender()
    sender.socket.send(TEST_PACKET.pack(0, 0))
    deadline_s = time.monotonic() + 5
    while line.relay.truth().sent == 0 and time.monotonic() < deadline_s:
        pass
    line.relay.reset()
    sender.send(2, first=1, quiet_s=0.4)
    assert sender.numbers == [1, 2]
    assert [one.number for one in line.relay.truth().packets] == [1, 2]


def test_it_says_that_it_has_forgotten_rather_than_count_too_few(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impairment, "PACKETS_MAX", 10)
    line.sender().send(10)
    assert line.relay.truth().sent == 10
    line.sender().send(3)
    with pytest.raises(RuntimeError, match="forgotten 3 packets"):
        line.relay.truth()


def test_an_idle_sender_makes_room_and_is_served_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impairment, "IDLE_NS", 0)
    first, second = line.sender(), line.sender()
    for round_ in range(3):
        first.send(2, first=2 * round_)
        second.send(2, first=2 * round_)
    assert first.numbers == second.numbers == list(range(6))
    assert line.relay.truth().lost == 0


def test_it_can_be_stopped_twice_and_unstarted_and_still_tells(line: Line) -> None:
    line.sender().send(5)
    line.relay.stop()
    line.relay.stop()
    assert line.relay.truth().sent == 5
    ImpairedRelay("127.0.0.1", line.echo.port).stop()

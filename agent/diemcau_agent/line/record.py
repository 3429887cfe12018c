"""What a train of packets says of the line: the standard metrics, exact, from the samples kept. Pure.

Every figure names its source in :class:`Record`. Percentiles are nearest rank over all samples.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec

from . import emodel

_T = TypeVar("_T")


class Train(msgspec.Struct, frozen=True, kw_only=True):
    """Packets sent one after another, and what came back of each. Eight bytes a packet, so that a whole
    conference can be kept: 5 packets a second over 3 hours are 432 kB.

    ``at_s``: monotonic time of the first packet. ``rtts_ms``: in the order sent, NaN where no reply came in
    time; the reflector's own dwell is taken off. ``interval_ms``: between packets as sent. ``forward_ms``,
    ``backward_ms``: one way, the same order, only where both clocks are synced (else None).
    ``reordered``: replies that came after one of a later packet (RFC 4737, 3.3). ``duplicates``: replies to a
    packet that had one already. ``strange``: what came in and was not believed (truncated, foreign, forged,
    of another session or train, late). ``clock_steps``: wall-clock jumps seen, on either side.
    ``lost_forward``: packets that never reached a reflector that keeps state; None where that is not known.
    ``dscp``: as sent; ``reflector_dscp``, ``returned_dscp``: as it arrived there and came back here, None
    where it was not told. ``error``: why sending ended early ("Network is unreachable"), if it did.
    """

    at_s: float
    rtts_ms: array[float]
    interval_ms: float
    duplicates: int = 0
    reordered: int = 0
    strange: int = 0
    clock_steps: int = 0
    forward_ms: array[float] | None = None
    backward_ms: array[float] | None = None
    lost_forward: int | None = None
    dscp: int = 0
    reflector_dscp: int | None = None
    returned_dscp: int | None = None
    error: str | None = None


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Of all samples; percentiles by nearest rank."""

    min: float
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The line's record over one or more trains. A spread is None where there is no sample for it.

    ``loss_percent``: RFC 7680. ``loss_bursts``: the length of each run of lost packets, in order (RFC 3357
    loss periods). ``rtt_ms``: RFC 2681. ``jitter_ms``: difference of delay between packets that follow each
    other (RFC 5481 IPDV, absolute); ``jitter_rfc3550_ms``: the same, smoothed as RFC 3550, 6.4.1 has it.
    ``pdv_ms``: delay over the least (RFC 5481 PDV). ``reordered``: RFC 4737. ``availability_percent``:
    ITU-T Y.1540. ``r_factor``, ``mos``: ITU-T G.107 (:mod:`.emodel`), None where nothing came back.
    """

    sent: int
    received: int
    lost: int
    duplicates: int
    reordered: int
    strange: int
    clock_steps: int
    loss_percent: float
    loss_bursts: tuple[int, ...]
    lost_forward: int | None
    rtt_ms: Spread | None
    jitter_ms: Spread | None
    jitter_rfc3550_ms: float | None
    pdv_ms: Spread | None
    forward_ms: Spread | None
    backward_ms: Spread | None
    availability_percent: float | None
    dscp: int
    reflector_dscp: int | None
    returned_dscp: int | None
    r_factor: float | None
    mos: float | None
    error: str | None


C1 = 0.20
"""Y.1540's outage threshold: a minute that loses a greater share is not available."""
AVAILABILITY_S = 60.0


def record(trains: Sequence[Train]) -> Record:
    """Trains in the order of time, at least one (else ValueError). Jitter and bursts never reach over from
    one to the next. Nothing is rounded; with nothing sent, nothing is lost: 0.0 %, and the rest is None.

    ``r_factor`` takes the round trip's loss for one way's, which is never too kind.
    """
    if not trains:
        raise ValueError("trains: got none, expected at least one")
    sent = sum(len(train.rtts_ms) for train in trains)
    rtts = [rtt for train in trains for rtt in train.rtts_ms if rtt == rtt]  # NaN is unequal to itself
    bursts = [length for train in trains for length in loss_bursts(train.rtts_ms)]
    steps = [step for train in trains for step in delay_steps(train.rtts_ms)]
    lost = sent - len(rtts)
    loss_ratio = lost / sent if sent else 0.0
    rtt_ms = spread(rtts)
    r = None
    if rtt_ms is not None:
        mouth_to_ear_ms = emodel.mouth_to_ear_ms(rtt_ms.p95)
        r = emodel.r_factor(mouth_to_ear_ms, loss_ratio, emodel.burst_ratio(bursts, loss_ratio))
    forward_losses = [train.lost_forward for train in trains if train.lost_forward is not None]
    return Record(
        sent=sent,
        received=len(rtts),
        lost=lost,
        duplicates=sum(train.duplicates for train in trains),
        reordered=sum(train.reordered for train in trains),
        strange=sum(train.strange for train in trains),
        clock_steps=sum(train.clock_steps for train in trains),
        loss_percent=100.0 * loss_ratio,
        loss_bursts=tuple(bursts),
        lost_forward=sum(forward_losses) if len(forward_losses) == len(trains) else None,
        rtt_ms=rtt_ms,
        jitter_ms=spread(steps),
        jitter_rfc3550_ms=smoothed(steps),
        pdv_ms=None if rtt_ms is None else above_least(rtt_ms),
        forward_ms=spread([d for train in trains for d in train.forward_ms or () if d == d]),
        backward_ms=spread([d for train in trains for d in train.backward_ms or () if d == d]),
        availability_percent=availability_percent(trains),
        dscp=trains[-1].dscp,
        reflector_dscp=_last([train.reflector_dscp for train in trains]),
        returned_dscp=_last([train.returned_dscp for train in trains]),
        r_factor=r,
        mos=None if r is None else emodel.mos(r),
        error=_last([train.error for train in trains]),
    )


def spread(samples: Sequence[float]) -> Spread | None:
    """Percentiles by nearest rank (ISO 3534-1), in whole numbers so that no rounding moves a rank."""
    if not samples:
        return None
    ordered = sorted(samples)
    n = len(ordered)
    p50, p95, p99 = (ordered[-(-percent * n // 100) - 1] for percent in (50, 95, 99))
    return Spread(min=ordered[0], mean=math.fsum(ordered) / n, p50=p50, p95=p95, p99=p99, max=ordered[-1])


def above_least(delays: Spread) -> Spread:
    """RFC 5481 PDV: each delay less the least of all. Taking the same off every sample keeps their order, so
    the spread moves as a whole and nothing is sorted again."""
    least = delays.min
    return Spread(
        min=0.0,
        mean=delays.mean - least,
        p50=delays.p50 - least,
        p95=delays.p95 - least,
        p99=delays.p99 - least,
        max=delays.max - least,
    )


def delay_steps(rtts_ms: Sequence[float]) -> list[float]:
    """|IPDV| of RFC 5481: between packets adjacent as sent, where both came back (a NaN makes NaN)."""
    return [step for a, b in pairwise(rtts_ms) if (step := abs(b - a)) == step]


def smoothed(steps: Sequence[float]) -> float | None:
    """J += (|D| - J) / 16 (RFC 3550, 6.4.1), of round trips and from the first |D| on: from the RFC's 0 a
    burst of ten would still show but 44 % of its jitter. Goes on through trains, with no D between two."""
    if not steps:
        return None
    jitter = steps[0]
    for step in steps:
        jitter += (step - jitter) / 16
    return jitter


def loss_bursts(rtts_ms: Sequence[float]) -> list[int]:
    """Lengths of the runs of lost packets, in order (RFC 3357 loss periods)."""
    bursts: list[int] = []
    end = -1
    for at in [at for at, rtt in enumerate(rtts_ms) if rtt != rtt]:
        if at == end:
            bursts[-1] += 1
        else:
            bursts.append(1)
        end = at + 1
    return bursts


def availability_percent(trains: Sequence[Train]) -> float | None:
    """Share of minutes that are available: ITU-T Y.1540 (12/2019), clause 7: a minute, its shortest period of
    evaluation, is not when more than :data:`C1` of its packets are lost. None where nothing was sent.

    Minutes are counted from the first train's ``at_s`` on; a packet belongs to the one in which it was
    sent, ``at_s`` + its number times ``interval_ms``, whatever train it is of. A minute in which nothing was
    sent is not judged, one that was cut short is by what was sent of it.
    """
    minutes: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for train in trains:
        begin_s = train.at_s - trains[0].at_s

        def minute_of(number: int, begin_s: float = begin_s, interval_ms: float = train.interval_ms) -> int:
            return math.floor((begin_s + number * interval_ms / 1000) / AVAILABILITY_S)

        numbers, first = range(len(train.rtts_ms)), 0
        while first < len(numbers):
            minute, end = minute_of(first), len(numbers)
            if minute_of(end - 1) > minute:  # else, as nearly every train, within one minute
                end = bisect_right(numbers, minute, lo=first, key=minute_of)
            counts = minutes[minute]
            counts[0] += end - first
            counts[1] += sum(map(math.isnan, train.rtts_ms[first:end]))
            first = end
    if not minutes:
        return None
    return 100.0 * sum(lost <= C1 * sent for sent, lost in minutes.values()) / len(minutes)


def _last(told: Sequence[_T | None]) -> _T | None:
    return next((value for value in reversed(told) if value is not None), None)

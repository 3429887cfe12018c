"""The grid of impaired lines, and what must be said of each by its parameters alone. Pure.

Every case keeps away from the limits (LESSONS.md: loss 1 %, round trip 100 ms, jitter 30 ms) by a margin, or
is refused when this module is imported; so a cause follows from the case, not from what came out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from diemcau_sim.chance import CLEAN, GilbertElliott, Impairment

LIMITS = {"uplink_loss": 1.0, "uplink_delay": 100.0, "uplink_jitter": 30.0}
MARGINS = {"uplink_loss": (0.6, 1.8), "uplink_delay": (0.8, 1.2), "uplink_jitter": (0.8, 1.25)}
"""Of the limit: no case lies between. Loss has the widest, as a few hundred packets err by whole ones."""
IP_UDP_BYTES = 28


@dataclass(frozen=True)
class Case:
    """``wait_s`` is over all that the line of a case can take, but where ``late`` says so."""

    name: str
    impairments: tuple[Impairment, ...] = ()
    count: int = 300
    interval_ms: float = 10.0
    size_bytes: int = 72
    wait_s: float = 1.2
    late: bool = False
    causes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        ways = [
            next((one for one in self.impairments if one.direction in (way, "both")), CLEAN)
            for way in ("forward", "backward")
        ]
        object.__setattr__(self, "causes", frozenset(self._causes(ways)))

    def _causes(self, ways: list[Impairment]) -> set[str]:
        """What holds of the line as asked for. Nothing passes: then nothing else is known of it."""
        if any(way.silent or self.size_bytes + IP_UDP_BYTES > (way.drop_over_bytes or 9999) for way in ways):
            return {"reflector_silent"}
        nominal = {
            "uplink_loss": 100 * (1 - math.prod(1 - _loss(way) for way in ways)),
            "uplink_delay": sum(way.delay_ms for way in ways),
            "uplink_jitter": math.hypot(*map(_jitter_ms, ways)) + sum(map(self._held_ms, ways)),
        }
        if self.late:
            nominal["uplink_loss"] += 100 * sum(way.reorder_ratio for way in ways)
        for code, value in nominal.items():
            low, high = MARGINS[code]
            if low < value / LIMITS[code] < high:
                raise ValueError(f"{self.name}: {code} at {value:.2f} is too close to {LIMITS[code]:g}")
        return {code for code, value in nominal.items() if value > LIMITS[code]}

    def _held_ms(self, way: Impairment) -> float:
        """The step into and out of a packet that is held back; where it is late it has no delay at all."""
        share = way.reorder_ratio * (1 - way.reorder_ratio)
        return 0.0 if self.late else 2 * share * way.reorder_past * self.interval_ms


def _loss(way: Impairment) -> float:
    if way.burst is None:
        return way.loss_ratio
    bad = way.burst.p / (way.burst.p + way.burst.r)
    return 1 - (1 - way.loss_ratio) * (1 - bad * way.burst.loss_bad - (1 - bad) * way.burst.loss_good)


def _jitter_ms(way: Impairment) -> float:
    """E|X - Y| of two delays that know nothing of each other: 2/3 of a uniform one's half width, 2/sqrt(pi)
    of a normal one's deviation. A line that keeps order has less where packets queue."""
    return way.jitter_ms * (2 / 3 if way.jitter == "uniform" else 2 / math.sqrt(math.pi))


def _both(name: str, /, **what: Any) -> Case:
    return Case(name, (Impairment(**what),))


def _forward(name: str, /, **what: Any) -> Case:
    return Case(name, (Impairment(direction="forward", **what),))


def _backward(name: str, /, **what: Any) -> Case:
    return Case(name, (Impairment(direction="backward", **what),))


def _ways(name: str, forward: dict[str, Any], backward: dict[str, Any], **how: Any) -> Case:
    ways = Impairment(direction="forward", **forward), Impairment(direction="backward", **backward)
    return Case(name, ways, **how)


def _bursts(p: float, r: float, **losses: float) -> dict[str, Any]:
    return {"burst": GilbertElliott(p=p, r=r, **losses)}


FREE: dict[str, Any] = {"keeps_order": False}
NORMAL: dict[str, Any] = {"jitter": "normal", "keeps_order": False}
MILD: dict[str, Any] = {
    "loss_ratio": 0.001,
    "delay_ms": 20,
    "jitter_ms": 4,
    "reorder_ratio": 0.03,
    "reorder_past": 2,
    "duplicate_ratio": 0.03,
    **NORMAL,
}
FOUL: dict[str, Any] = {
    **_bursts(0.02, 0.4),
    "loss_ratio": 0.03,
    "delay_ms": 80,
    "jitter_ms": 28,
    "reorder_ratio": 0.05,
    "duplicate_ratio": 0.1,
    **NORMAL,
}

CASES: tuple[Case, ...] = (
    Case("clean"),
    Case("clean, 5 ms", count=600, interval_ms=5),
    Case("clean, 1,472 octets", size_bytes=1472),
    *(
        _forward(f"loss {100 * p:g} % there", seed=1, loss_ratio=p)
        for p in (0.004, 0.02, 0.05, 0.1, 0.2, 0.3)
    ),
    *(
        _backward(f"loss {100 * p:g} % back", seed=62, loss_ratio=p)
        for p in (0.005, 0.02, 0.05, 0.1, 0.2, 0.3)
    ),
    *(_both(f"loss {100 * p:g} % each way", seed=3, loss_ratio=p) for p in (0.0025, 0.03, 0.15)),
    _forward("bursts of 2 there", seed=4, **_bursts(0.03, 0.5)),
    _forward("bursts of 5 there", seed=5, **_bursts(0.02, 0.2)),
    _backward("bursts of 3 back", seed=6, **_bursts(0.03, 0.33)),
    _backward("bursts of 10 back", seed=7, **_bursts(0.01, 0.1)),
    _both("bursts of 4 each way", seed=8, **_bursts(0.02, 0.25)),
    _forward("a bad state that loses half", seed=9, **_bursts(0.05, 0.2, loss_bad=0.5)),
    _forward("bursts over random loss", seed=10, **_bursts(0.02, 0.3, loss_good=0.02)),
    _forward("a burst now and then", seed=11, **_bursts(0.002, 0.7)),
    *(_both(f"delay {d} ms each way", delay_ms=d) for d in (5, 20, 40, 75, 100, 200)),
    *(_forward(f"delay {d} ms there", delay_ms=d) for d in (50, 150, 400)),
    *(_backward(f"delay {d} ms back", delay_ms=d) for d in (10, 30, 250)),
    *(
        _both(f"jitter {j} ms each way", seed=12, delay_ms=max(5, j), jitter_ms=j, **FREE)
        for j in (1, 5, 15, 60)
    ),
    _forward("jitter 60 ms there", seed=13, delay_ms=60, jitter_ms=60, **FREE),
    _backward("jitter 25 ms back", seed=14, delay_ms=30, jitter_ms=25, **FREE),
    *(
        _both(f"jitter {s} ms normal each way", seed=15, delay_ms=3 * s, jitter_ms=s, **NORMAL)
        for s in (1, 5, 10, 30, 60)
    ),
    _forward("jitter 40 ms normal there", seed=16, delay_ms=75, jitter_ms=40, **NORMAL),
    _backward("jitter 15 ms normal back", seed=17, delay_ms=40, jitter_ms=15, **NORMAL),
    _both("jitter 5 ms in order", seed=18, delay_ms=10, jitter_ms=5),
    _both("jitter 8 ms normal in order", seed=19, delay_ms=20, jitter_ms=8, jitter="normal"),
    _forward("reordering 2 % past 1", seed=20, reorder_ratio=0.02),
    _forward("reordering 10 % past 2", seed=21, reorder_ratio=0.1, reorder_past=2),
    _backward("reordering 5 % past 3", seed=22, reorder_ratio=0.05, reorder_past=3),
    _backward("reordering 30 % past 1", seed=23, reorder_ratio=0.3),
    _both("reordering 5 % each way", seed=24, reorder_ratio=0.05, reorder_past=2),
    _forward("duplicates 2 % there", seed=25, duplicate_ratio=0.02),
    _backward("duplicates 10 % back", seed=26, duplicate_ratio=0.1),
    _both("duplicates 30 % each way", seed=27, duplicate_ratio=0.3),
    _forward("everything twice", seed=28, duplicate_ratio=1),
    _both("loss and delay", seed=29, loss_ratio=0.03, delay_ms=80),
    _both(
        "loss and jitter",
        seed=30,
        loss_ratio=0.03,
        delay_ms=35,
        jitter_ms=35,
        jitter="normal",
        keeps_order=False,
    ),
    _both("delay and jitter", seed=31, delay_ms=120, jitter_ms=50, **FREE),
    _both("bursts and duplicates", seed=32, duplicate_ratio=0.1, **_bursts(0.02, 0.3)),
    _both(
        "loss, reordering and duplicates", seed=33, loss_ratio=0.05, reorder_ratio=0.05, duplicate_ratio=0.05
    ),
    _both("delay and reordering", seed=34, delay_ms=100, reorder_ratio=0.05),
    _ways(
        "loss there, jitter back", {"seed": 35, "loss_ratio": 0.05}, {"delay_ms": 60, "jitter_ms": 60, **FREE}
    ),
    _ways("delay there, bursts back", {"delay_ms": 140}, {"seed": 36, **_bursts(0.02, 0.25)}),
    _ways(
        "jitter there, duplicates back",
        {"seed": 37, "delay_ms": 12, "jitter_ms": 12, **FREE},
        {"duplicate_ratio": 0.1},
    ),
    *(_both(f"all of it, mild, seed {seed}", seed=seed, **MILD) for seed in range(40, 46)),
    *(_both(f"all of it, foul, seed {seed}", seed=seed, **FOUL) for seed in range(46, 52)),
    Case("small ones under a black hole", (Impairment(drop_over_bytes=1400),)),
    Case(
        "large ones into a black hole",
        (Impairment(drop_over_bytes=1400, direction="forward"),),
        count=100,
        size_bytes=1472,
    ),
    _both("silent", silent=True),
    _backward("silent on the way back", silent=True),
    _ways(
        "a tenth comes too late",
        {"seed": 52, "delay_ms": 30, "reorder_ratio": 0.1, "reorder_past": 40},
        {"delay_ms": 30},
        wait_s=0.2,
        late=True,
    ),
)

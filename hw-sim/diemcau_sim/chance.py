"""What happens to the packets of an impaired line, and the seeded luck that decides it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Literal


def _check_ratios(one: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(one, name) <= 1:
            raise ValueError(f"{name}: got {getattr(one, name)}, expected 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class GilbertElliott:
    """Burst loss by two states (Gilbert 1960, Elliott 1963). ``p``: good to bad, ``r``: bad to good, each
    after a packet; with a loss of 1 in the bad state a burst is 1/r packets long, p/(p + r) of all lost."""

    p: float
    r: float
    loss_good: float = 0.0
    loss_bad: float = 1.0

    def __post_init__(self) -> None:
        _check_ratios(self, "p", "r", "loss_good", "loss_bad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What happens to packets, in each direction on its own. Raises ValueError for what cannot be.

    ``delay_ms`` and ``jitter_ms`` as tc-netem has them: uniform in delay +- jitter, or normal with jitter as
    its standard deviation, never under 0. ``keeps_order``: whoever is faster waits for the one before.
    ``reorder_ratio``: so many are held back until ``reorder_past`` later ones have gone. ``duplicate_ratio``:
    so many go twice, each copy with its own delay. ``drop_over_bytes``: IP packets above it vanish (an MTU
    black hole). ``silent``: nothing passes.
    """

    seed: int = 0
    loss_ratio: float = 0.0
    burst: GilbertElliott | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    jitter: Literal["uniform", "normal"] = "uniform"
    keeps_order: bool = True
    reorder_ratio: float = 0.0
    reorder_past: int = 1
    duplicate_ratio: float = 0.0
    direction: Literal["forward", "backward", "both"] = "both"
    drop_over_bytes: int | None = None
    silent: bool = False

    def __post_init__(self) -> None:
        _check_ratios(self, "loss_ratio", "reorder_ratio", "duplicate_ratio")
        for name in ("delay_ms", "jitter_ms"):
            if not 0 <= getattr(self, name) <= 10_000:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 to 10000")
        if self.reorder_past < 1:
            raise ValueError(f"reorder_past: got {self.reorder_past}, expected 1 or more")


CLEAN = Impairment()
NORMAL = NormalDist()
HELD_MAX_NS = 250_000_000
"""A packet that is held back past others goes after this where no more of them come."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Of one packet: the delay of each copy, none where it is lost; ``held_past``: so many later packets does
    the first copy let go before it."""

    delays_ms: tuple[float, ...]
    held_past: int = 0


class Chance:
    """What meets one packet after another of one sender in one direction. The same ``stream`` of the same
    impairment decides the same, and every packet draws alike, so that no setting shifts another's luck."""

    def __init__(self, impairment: Impairment, stream: str) -> None:
        self._impairment = impairment
        self._random = Random(f"{impairment.seed}/{stream}")
        self._bad = False

    def next(self, size_bytes: int) -> Fate:
        """For an IP packet of ``size_bytes``."""
        what, draw = self._impairment, self._random.random
        lost = draw() < what.loss_ratio
        in_state, change = draw(), draw()
        if what.burst is not None:
            lost |= in_state < (what.burst.loss_bad if self._bad else what.burst.loss_good)
            self._bad ^= change < (what.burst.r if self._bad else what.burst.p)
        duplicated, held = draw() < what.duplicate_ratio, draw() < what.reorder_ratio
        delays_ms = (self._delay_ms(), self._delay_ms())
        if lost or what.silent or (what.drop_over_bytes is not None and size_bytes > what.drop_over_bytes):
            return Fate(())
        return Fate(delays_ms[: 1 + duplicated], what.reorder_past if held else 0)

    def _delay_ms(self) -> float:
        what, share = self._impairment, self._random.uniform(1e-9, 1 - 1e-9)
        shift = NORMAL.inv_cdf(share) if what.jitter == "normal" else 2 * share - 1
        return max(0.0, what.delay_ms + what.jitter_ms * shift)

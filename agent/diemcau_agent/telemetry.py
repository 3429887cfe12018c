"""One-minute aggregates of every numeric reading (docs/wire.md, telemetry)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from .model import Series


class Window:
    """Readings since it was last taken. Exact: the samples are kept, a minute of them is few."""

    def __init__(self) -> None:
        self._samples: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, part: str, readings: Mapping[str, object]) -> None:
        """``part`` is a device, "host" or "line"; what is not a finite number is no series."""
        for name, value in readings.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                self._samples[f"{part}.{name}"].append(float(value))

    def take(self) -> dict[str, Series]:
        samples, self._samples = self._samples, defaultdict(list)
        return {name: aggregate(values) for name, values in sorted(samples.items())}


def aggregate(values: list[float]) -> Series:
    """n, min, mean, p95 (nearest rank, ISO 3534-1) and max of at least one value."""
    ordered = sorted(values)
    rank = math.ceil(0.95 * len(ordered))
    return Series(
        n=len(ordered),
        min=ordered[0],
        mean=round(math.fsum(ordered) / len(ordered), 6),
        p95=ordered[rank - 1],
        max=ordered[-1],
    )

"""The budgets, and the table that holds what was measured against them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """``measured`` must not be over ``bound`` (same ``unit``). ``how``: against what, and in what way."""

    budget: str
    measured: float
    bound: float
    unit: str
    how: str

    @property
    def ratio(self) -> float:
        return self.measured / self.bound

    @property
    def kept(self) -> bool:
        return self.measured <= self.bound


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def table(rows: Sequence[Row]) -> str:
    heads = ("budget", "measured", "bound", "ratio", "", "how")
    lines = [
        (
            row.budget,
            f"{row.measured:.2f} {row.unit}",
            f"{row.bound:.2f} {row.unit}",
            f"{row.ratio:.2f}",
            "ok" if row.kept else "OVER",
            row.how,
        )
        for row in rows
    ]
    return columns(heads, lines)


def columns(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as what is in them."""
    widths = [max(len(line[column]) for line in (heads, *lines)) for column in range(len(heads))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (heads, rule, *lines)
    )

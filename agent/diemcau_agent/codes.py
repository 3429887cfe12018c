"""The catalogue of codes (docs/codes.md is generated from it). Pure.

A code names what is wrong, never where it was noticed. Its bound says how soon a room shows it:

* ``GONE_S``: a device gone or hung, counted from when it is asked;
* ``HOST_LINE_S``: the host and the line;
* ``PROBE``: picture and sound, one probe period (``probe.period_s``);
* ``SELFTEST``: found by the self-test only, as nobody wants tones in an empty hall at night.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .model import STATES, State

Bound = Literal["gone", "host_line", "probe", "selftest"]
GONE_S = 15.0
HOST_LINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Code:
    """``devices``: what it can be of. ``cause``, ``remedy``: English, translated by gettext (text.py)."""

    name: str
    devices: tuple[str, ...]
    state: State
    bound: Bound
    cause: str
    remedy: str

    def bound_s(self, probe_period_s: float) -> float | None:
        """Seconds after which it shows at the latest; None where only a self-test finds it."""
        match self.bound:
            case "gone":
                return GONE_S
            case "host_line":
                return HOST_LINE_S
            case "probe":
                return probe_period_s
            case "selftest":
                return None

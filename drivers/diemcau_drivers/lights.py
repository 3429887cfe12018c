"""The light's patterns: which colour at which time. Pure.

Each pattern has a rhythm of its own, so that who cannot tell red from green can still read the panel:
colour is never alone. Blinking stays under 3 flashes a second (WCAG 2.2, 2.3.1) but for "identify",
which is meant to be seen across a hall and lasts seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

Light = tuple[float, float, float]
"""Red, green, blue, 0 to 1 each."""

DARK: Light = (0.0, 0.0, 0.0)
GREEN: Light = (0.0, 1.0, 0.0)
AMBER: Light = (1.0, 0.5, 0.0)
RED: Light = (1.0, 0.0, 0.0)
BLUE: Light = (0.0, 0.0, 1.0)
WHITE: Light = (1.0, 1.0, 1.0)
MAGENTA: Light = (1.0, 0.0, 1.0)
CYAN: Light = (0.0, 1.0, 1.0)

Step = tuple[float, Light]
"""How long (s), and what."""

TOLERANCE_S = 0.001
"""So near to its end a step is over: a wake-up that rounding makes early must not need a second one."""
BREATH_STEPS = 8
BREATH_S = 2.4


def _breathing(colour: Light) -> tuple[Step, ...]:
    """Up and down in BREATH_STEPS levels: few enough to cost little, enough to be seen as a breath."""
    half = [0.1 + 0.9 * step / (BREATH_STEPS // 2) for step in range(BREATH_STEPS // 2 + 1)]
    levels = half + half[-2:0:-1]
    red, green, blue = colour
    return tuple((BREATH_S / len(levels), (red * level, green * level, blue * level)) for level in levels)


PATTERNS: Mapping[str, tuple[Step, ...]] = {
    "off": ((0.0, DARK),),
    "ready": ((0.0, GREEN),),
    "testing": _breathing(GREEN),
    "degraded": ((1.0, AMBER), (1.0, DARK)),
    "not_ready": ((0.25, RED), (0.25, DARK)),
    "enrolling": ((1.8, BLUE), (0.2, DARK)),
    "identify": ((0.1, WHITE), (0.1, DARK)),
    "no_broker": ((0.2, MAGENTA), (0.2, DARK), (0.2, MAGENTA), (1.4, DARK)),
    "picture": ((0.9, CYAN), (0.1, DARK), (0.1, CYAN), (0.1, DARK)),
    "help": ((0.6, RED), (0.6, WHITE)),
}
"""Name -> the steps that repeat; a single step is solid."""


def colour_at(pattern: str, elapsed_s: float) -> Light:
    """The colour ``elapsed_s`` after the pattern began."""
    return _step_at(pattern, elapsed_s)[0]


def next_change_s(pattern: str, elapsed_s: float) -> float | None:
    """Seconds until the next step; None where the light is solid."""
    return _step_at(pattern, elapsed_s)[1]


def _step_at(pattern: str, elapsed_s: float) -> tuple[Light, float | None]:
    steps = PATTERNS[pattern]
    if len(steps) == 1:
        return steps[0][1], None
    left_s = elapsed_s % sum(length_s for length_s, _ in steps)
    for length_s, colour in steps:
        if left_s < length_s - TOLERANCE_S:
            return colour, length_s - left_s
        left_s = max(0.0, left_s - length_s)
    first_s, colour = steps[0]  # the very end is the start again
    return colour, first_s

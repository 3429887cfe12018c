"""docs/codes.md from the catalogue of codes: each with its devices, state, bound, cause and remedy."""

from __future__ import annotations

from .codes import CODES, GONE_S, HOST_LINE_S, SURVEY_S, Bound, Code
from .text import translate

_BOUNDS: dict[Bound, str] = {
    "gone": f"{GONE_S:.0f} s",
    "host_line": f"{HOST_LINE_S:.0f} s",
    "probe": "one probe period",
    "survey": f"{SURVEY_S:.0f} s",
    "selftest": "self-test",
}
_HEAD = f"""# Codes

A code names what is wrong, never where it was noticed. It stands in the documents of
[the wire](wire.md), on the room's screen as words, and in the simulator as a fault of the same name.

*State* is what the code puts its device in; a hang that no kill ends puts it in `stuck`. *Seen within*
is the promise from the fault to the health document: a device gone {GONE_S:.0f} s, one that hangs or
crashes {GONE_S:.0f} s from when it is next asked, the host and the line {HOST_LINE_S:.0f} s, picture and
sound one probe period (5 minutes at rest, 10 s in the simulation). Of the line at rest ten packets a minute
tell: a line that loses a third of them shows in {HOST_LINE_S:.0f} s, one that loses a hundredth in about ten
minutes, and in a conference, where they are five a second, in 20 s. Whether large packets pass is asked
every 15 minutes, since a thin line cannot afford them more often.
What only the self-test finds is found by the next one: nobody wants tones in an empty hall at night.

Generated from `agent/diemcau_agent/codes.py` by `diemcau-agent schema`; do not edit.
"""


def render() -> str:
    """The page, Markdown."""
    groups: dict[tuple[str, ...], list[Code]] = {}
    for code in CODES.values():
        groups.setdefault(code.devices, []).append(code)
    return _HEAD + "".join(_group(devices, codes) for devices, codes in groups.items())


def _group(devices: tuple[str, ...], codes: list[Code]) -> str:
    rows = "".join(_row(code) for code in codes)
    head = "| code | state | seen within | cause | remedy |\n|---|---|---|---|---|\n"
    return f"\n## {' and '.join(devices)}\n\n{head}{rows}"


def _row(code: Code) -> str:
    cells = (f"`{code.name}`", code.state, _BOUNDS[code.bound], _both(code.cause), _both(code.remedy))
    return f"| {' | '.join(cells)} |\n"


def _both(english: str) -> str:
    return f"{english}<br>*{translate(english, 'vi')}*"

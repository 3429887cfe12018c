"""The room's own normal, recorded on its acceptance day and kept in ``state_dir/baseline.json``.

Errors::

    OSError                 the file cannot be read or written
    BaselineError           there is a file, and it is not a baseline
    BaselineRefusedError    what was seen is not fit to be called normal
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from . import files, judges
from .thresholds import Baseline

NAME = "baseline.json"
KEPT: dict[str, tuple[str, ...]] = {
    "camera": ("sharpness", "luma_mean"),
    "microphone": ("level_dbfs", "noise_floor_dbfs"),
    "loop": ("level_dbfs", "delay_ms", "snr_db"),
}
"""part -> the readings that are worth comparing with later."""


class BaselineError(ValueError):
    """A file that is not a baseline."""


class BaselineRefusedError(ValueError):
    """``codes``: what is wrong in the room, by part; mend it first, or it becomes the new normal."""

    def __init__(self, codes: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__("; ".join(f"{part}: {', '.join(found)}" for part, found in codes.items()))
        self.codes = dict(codes)


def derive(time: str, looks: Mapping[str, Mapping[str, Any]], loop: Mapping[str, Any] | None) -> Baseline:
    """A baseline from the readings of camera and microphone (``looks``) and of the sound loop at
    its reference level. A part that was not seen is left out. Raises BaselineRefusedError."""
    faults = {part: judges.judge(part, readings) for part, readings in looks.items() if part in KEPT}
    if loop is not None:
        faults["loop"] = sum(judges.judge_loop(loop), ())
    if faults := {part: codes for part, codes in faults.items() if codes}:
        raise BaselineRefusedError(faults)
    seen = {**looks, **({} if loop is None else {"loop": loop})}
    readings = {
        part: {name: float(seen[part][name]) for name in names if seen[part].get(name) is not None}
        for part, names in KEPT.items()
        if part in seen
    }
    return Baseline(time=time, readings={part: values for part, values in readings.items() if values})


def load(state_dir: Path) -> Baseline | None:
    """None where none was recorded. Raises BaselineError, OSError."""
    path = state_dir / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BaselineError(f"{path}: {error}") from error


def save(state_dir: Path, baseline: Baseline) -> None:
    """Whole or not at all: a power cut leaves the old one or the new one. Raises OSError."""
    files.replace(state_dir / NAME, msgspec.json.format(msgspec.json.encode(baseline), indent=1))

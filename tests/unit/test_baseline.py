"""The room's own normal: derived from a room that is well, kept whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from diemcau_agent import baseline
from diemcau_agent.baseline import BaselineError, BaselineRefusedError
from diemcau_agent.thresholds import Baseline

TIME = "2026-11-22T07:30:00.000Z"
CAMERA = {"luma_mean": 0.4, "luma_std": 0.2, "sharpness": 812.5, "motion_db": -40.0, "fps": 30.0}
MICROPHONE = {"level_dbfs": -42.0, "noise_floor_dbfs": -56.0, "muted": False, "clipped_ratio": 0.0}
LOOP = {"found": True, "level_dbfs": -32.0, "delay_ms": 61.0, "snr_db": 25.0, "clipped_ratio": 0.0}


def test_keeps_what_is_worth_comparing() -> None:
    normal = baseline.derive(TIME, {"camera": CAMERA, "microphone": MICROPHONE}, LOOP)
    assert normal == Baseline(
        time=TIME,
        readings={
            "camera": {"sharpness": 812.5, "luma_mean": 0.4},
            "microphone": {"level_dbfs": -42.0, "noise_floor_dbfs": -56.0},
            "loop": {"level_dbfs": -32.0, "delay_ms": 61.0, "snr_db": 25.0},
        },
    )


def test_leaves_out_what_was_not_seen() -> None:
    normal = baseline.derive(TIME, {"camera": {**CAMERA, "sharpness": None}, "microphone": {}}, None)
    assert normal.readings == {"camera": {"luma_mean": 0.4}}


def test_a_fault_never_becomes_the_new_normal() -> None:
    with pytest.raises(BaselineRefusedError) as refused:
        baseline.derive(
            TIME, {"camera": {**CAMERA, "sharpness": 3.0}, "microphone": MICROPHONE}, {"found": False}
        )
    assert refused.value.codes == {"camera": ("frame_blurred",), "loop": ("speaker_silent",)}


def test_saves_and_loads(tmp_path: Path) -> None:
    assert baseline.load(tmp_path) is None
    first = baseline.derive(TIME, {"camera": CAMERA}, None)
    baseline.save(tmp_path, first)
    assert baseline.load(tmp_path) == first
    second = baseline.derive(TIME, {"microphone": MICROPHONE}, LOOP)
    baseline.save(tmp_path, second)
    assert baseline.load(tmp_path) == second
    assert [path.name for path in tmp_path.iterdir()] == [baseline.NAME]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"time": 1}', b'{"time": "x", "readings": {"camera": 3}}']
)
def test_a_broken_file_is_told_not_taken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / baseline.NAME).write_bytes(content)
    with pytest.raises(BaselineError, match=r"baseline\.json"):
        baseline.load(tmp_path)


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    old = baseline.derive(TIME, {"camera": CAMERA}, None)
    baseline.save(tmp_path, old)
    (tmp_path / f".{baseline.NAME}.new").mkdir()  # where the new one would be written
    with pytest.raises(OSError, match="directory"):
        baseline.save(tmp_path, baseline.derive(TIME, {"microphone": MICROPHONE}, None))
    assert baseline.load(tmp_path) == old

"""What fuzzing has found stays fixed: each target on its corpus, its seeds and every crasher there ever was;
then two seconds of atheris itself."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import fuzzing
from targets import CORPUS, CRASHES, NAMES, kept, target

ATHERIS = importlib.util.find_spec("atheris") is not None
CORPUS_LIMIT_BYTES = 1024 * 1024


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_was_found_raises_again(name: str) -> None:
    aim = target(name)
    inputs = [*aim.seeds(), *kept(name)]
    for data in inputs:
        aim.fuzz(data)
    assert len(inputs) > len(aim.seeds()), "the target has no corpus: make fuzz ARGS=--keep"


def test_a_target_ends_what_it_began() -> None:
    program = (
        "from targets import *\nfor one in map(target, NAMES):\n  for data in one.seeds(): one.fuzz(data)"
    )
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line for line in ended.stderr.splitlines() if "destroyed" in line or "event loop" in line]
    assert said == []


def test_every_crasher_is_of_a_target_and_the_corpus_is_small() -> None:
    assert {file.name.partition("-")[0] for file in CRASHES.glob("*-*")} <= set(NAMES)
    assert {folder.name for folder in CORPUS.iterdir()} <= set(NAMES)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < CORPUS_LIMIT_BYTES


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", NAMES)
def test_two_seconds_of_atheris_find_nothing(name: str) -> None:
    if not ATHERIS:  # it has no wheel for this machine; said here, and the corpus was replayed above
        assert sys.version_info >= (3, 14) or platform.machine() != "x86_64", (
            "atheris is in requirements/dev.txt"
        )
        return
    result = fuzzing.run(name, 2)
    assert not result.crashers
    assert not result.failed
    assert result.executions > 100


def test_a_target_that_crashes_is_found_and_its_input_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finder can find: a reader with a fault in it, planted here."""
    planted = tmp_path / "fuzz_planted.py"
    planted.write_text("def seeds():\n    return [b'1']\n\ndef fuzz(data):\n    assert data[:1] != b'2'\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(fuzzing, "CRASHES", tmp_path / "crashes")
    if not ATHERIS:
        with pytest.raises(AssertionError):
            target("planted").fuzz(b"2")
        return
    (crasher,) = fuzzing.run("planted", 10).crashers
    assert (tmp_path / "crashes" / crasher).read_bytes()[:1] == b"2"

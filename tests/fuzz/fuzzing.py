"""``make fuzz``: atheris on every reader of foreign bytes, one target after the other, each in its process.

    python tests/fuzz/fuzzing.py [--minutes 10] [--only jws,keys] [--keep]

Each begins with its corpus and its seeds. A finding is written to tests/fuzz/crashes/ (``{target}-{digest}``)
and the exit code is 1; test_fuzz.py replays it for ever. ``--keep`` puts what found new ground into
the corpus.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

TESTS = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS)]

from targets import CORPUS, CRASHES, NAMES, digest, kept, target

OURS = ["diemcau_agent", "diemcau_drivers", "diemcau_fleet", "paho"]
KEEP_BYTES = 4096
"""What is longer is not kept: the corpus is part of the repo."""
KEEP_TARGET_BYTES = 64 * 1024
SLACK_S = 60.0


class Result(msgspec.Struct, frozen=True):
    name: str
    executions: int
    per_s: int
    coverage: int
    features: int
    crashers: tuple[str, ...]
    failed: str = ""

    def row(self) -> str:
        found = ", ".join(self.crashers) or self.failed or "none"
        numbers = (self.executions, self.per_s, self.coverage, self.features)
        return f"| {self.name} | {' | '.join(map(str, numbers))} | {found} |"


def run(name: str, seconds: int, *, keep: bool = False) -> Result:
    """One target for ``seconds``."""
    CRASHES.mkdir(exist_ok=True)
    before = {file.name for file in CRASHES.glob(f"{name}-*")}
    with tempfile.TemporaryDirectory() as folder:
        found, begin = Path(folder) / "found", Path(folder) / "begin"
        found.mkdir()
        begin.mkdir()
        for data in (*kept(name), *target(name).seeds()):
            (begin / digest(data)).write_bytes(data)
        command = [
            sys.executable,
            __file__,
            "--target",
            name,
            str(found),
            str(begin),
            f"-max_total_time={seconds}",
        ]
        command += [
            "-max_len=8192",
            "-timeout=10",
            "-rss_limit_mb=1500",
            f"-artifact_prefix={CRASHES}/{name}-",
        ]
        try:
            ended = subprocess.run(
                [*command, "-print_final_stats=1"], capture_output=True, text=True, check=False,
                errors="replace", timeout=seconds + SLACK_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Result(name, 0, 0, 0, 0, (), f"no end within {seconds + SLACK_S:g} s")
        if keep:
            _keep(name, found)
    crashers = tuple(sorted({file.name for file in CRASHES.glob(f"{name}-*")} - before))
    text = ended.stderr
    failed = "" if ended.returncode == 0 or crashers else f"exit {ended.returncode}: {text[-2000:]}"
    executions = int(
        _last(r"stat::number_of_executed_units:\s+(\d+)", text) or _last(r"Done (\d+) runs", text) or 0
    )
    per_s = int(_last(r"stat::average_exec_per_sec:\s+(\d+)", text) or 0)
    coverage, features = int(_last(r"cov: (\d+)", text) or 0), int(_last(r"ft: (\d+)", text) or 0)
    if crashers:
        print(text[-3000:], file=sys.stderr)
    return Result(name, executions, per_s, coverage, features, crashers, failed)


def _last(pattern: str, text: str) -> str | None:
    found = re.findall(pattern, text)
    return found[-1] if found else None


def _keep(name: str, found: Path) -> None:
    """What libFuzzer wrote down: each input reached something that none before it had. The smallest first."""
    folder, room = CORPUS / name, KEEP_TARGET_BYTES
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(found.iterdir(), key=lambda each: each.stat().st_size):
        data = file.read_bytes()
        room -= len(data)
        if len(data) <= KEEP_BYTES and room >= 0:
            (folder / digest(data)).write_bytes(data)


def child(name: str, arguments: Sequence[str]) -> None:
    """In the process of its own: instrument, then give the process to libFuzzer."""
    import atheris  # pyright: ignore[reportMissingImports] - x86_64 only

    logging.disable(logging.CRITICAL)
    tools: Any = atheris
    with tools.instrument_imports(include=OURS, enable_loader_override=False):
        aim = target(name)
    tools.Setup([sys.argv[0], *arguments], aim.fuzz)
    tools.Fuzz()


def main() -> int:
    if sys.argv[1:2] == ["--target"]:
        child(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description="Fuzz every reader of foreign bytes.")
    parser.add_argument("--minutes", type=float, default=10.0, help="shared by the targets")
    parser.add_argument("--only", default=",".join(NAMES), help="some of them, with commas between")
    parser.add_argument("--keep", action="store_true", help="put what found new ground into the corpus")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"--only: got {', '.join(unknown)}, expected some of {', '.join(NAMES)}")
    seconds = max(1, round(arguments.minutes * 60 / len(names)))
    print("| target | executions | a second | coverage | features | found |")
    print("|---|---:|---:|---:|---:|---|", flush=True)
    results: list[Result] = []
    for name in names:
        results.append(run(name, seconds, keep=arguments.keep))
        print(results[-1].row(), flush=True)
    return 1 if any(result.crashers or result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Our sender beside irtt and ping, over the same impaired line: ``python tests/bench/line_bench.py``.

Each tool runs alone, one after the other, over a line (tunnel.py) that decides by the same seeds. What it
tells is held against what the relay did to its own packets. Accuracy: counts that are off, and how far its
mean round trip and its mean jitter are from the truth (all of them see the tunnel's 0.1 ms too). CPU: user
and system time of the sending process, its start (a run of two packets) told apart. Bytes: at IP level, both
ways. "-": the tool does not tell it. Exits 1 where one of our counts is off, or a delay by more than 2 ms or
5 %, or jitter by more than 10 %.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budgets import columns
from diemcau_sim.chance import GilbertElliott, Impairment
from diemcau_sim.ground_truth import Truth
from tunnel import CENTRE, Tunnel, tunnel

COUNT = 500
INTERVAL_MS = 10.0
WAIT_S = 1.2
"""For what is still under way at the end; over all that these lines take."""
RUN_S = 30.0
START_S = 10.0
JITTER_FLOOR_MS = 0.2
BIN = Path(sys.executable).parent

LINES: dict[str, Impairment] = {
    "clean": Impairment(),
    "loss 3 % each way": Impairment(seed=3, loss_ratio=0.03),
    "jitter 10 ms, out of order": Impairment(seed=5, delay_ms=40, jitter_ms=10, keeps_order=False),
    "bursts, 80 ms, duplicates": Impairment(
        seed=7, delay_ms=80, duplicate_ratio=0.05, burst=GilbertElliott(p=0.02, r=0.3)
    ),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool says; None where it does not."""

    sent: int
    lost: int
    duplicates: int
    reordered: int | None
    rtt_ms_mean: float
    jitter_ms_mean: float | None


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    argv: Callable[[int], Sequence[str]]
    read: Callable[[str], Told]


@dataclass(frozen=True, slots=True)
class Run:
    told: Told
    truth: Truth
    cpu_s: float
    line_bytes: int


def ours(count: int) -> list[str]:
    return [str(BIN / "diemcau-agent"), "probe", CENTRE, "--count", str(count),
            "--interval-ms", f"{INTERVAL_MS:g}", "--json"]  # fmt: skip


def ours_told(text: str) -> Told:
    found = json.loads(text)
    return Told(
        found["sent"],
        found["lost"],
        found["duplicates"],
        found["reordered"],
        found["rtt_ms"]["mean"],
        found["jitter_ms"]["mean"],
    )


def irtt(count: int) -> list[str]:
    # It sends from 0 to the duration, without the end.
    seconds = f"{count * INTERVAL_MS:g}ms"
    return ["irtt", "client", "-i", f"{INTERVAL_MS:g}ms", "-d", seconds, f"--wait={WAIT_S:g}s",
            "-Q", "-o", "-", CENTRE]  # fmt: skip


def irtt_told(text: str) -> Told:
    stats: dict[str, Any] = json.loads(text)["stats"]
    return Told(
        stats["packets_sent"],
        stats["packets_sent"] - stats["packets_received"],
        stats["duplicates"],
        stats["late_packets"],
        stats["rtt"]["mean"] / 1e6,
        stats["ipdv_round_trip"]["mean"] / 1e6,
    )


def ping(count: int) -> list[str]:
    return ["ping", "-n", "-c", str(count), "-i", f"{INTERVAL_MS / 1e3:g}", "-W", f"{WAIT_S:g}", CENTRE]


def ping_told(text: str) -> Told:
    """Its own mean has the duplicates in it, so each echo's first reply is taken."""
    found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    if found is None:
        raise RuntimeError(f"ping said no summary: {text[-200:]!r}")
    rtts_ms = [float(line[1]) for line in re.finditer(r"time=([\d.]+) ms(?! \(DUP)", text)]
    sent, received = int(found[1]), int(found[2])
    return Told(sent, sent - received, text.count("(DUP!)"), None, sum(rtts_ms) / len(rtts_ms), None)


TOOLS = (Tool("diemcau", ours, ours_told), Tool("irtt", irtt, irtt_told), Tool("ping", ping, ping_told))


@contextmanager
def servers(line: Tunnel) -> Generator[None]:
    """The centre's ends, both held back until they listen."""
    reflector = line.net.exec(
        "centre",
        [str(BIN / "diemcau-fleet"), "reflector", "--listen", f"{CENTRE}:862"],
        stderr=subprocess.PIPE,
        text=True,
    )
    server = line.net.exec("centre", ["irtt", "server", "-b", CENTRE, "-i", "0"], stdout=subprocess.PIPE)
    assert reflector.stderr is not None
    assert server.stdout is not None
    try:
        if not reflector.stderr.readline().startswith("listening"):
            raise RuntimeError("the reflector did not start")
        server.stdout.readline()
        until_served(line)
        yield
    finally:
        for process in (reflector, server):
            process.terminate()
            process.wait(START_S)


def until_served(line: Tunnel) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        checked = line.net.exec(
            "kit", ["irtt", "client", "-n", CENTRE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if checked.wait(START_S) == 0:
            return
    raise RuntimeError(f"irtt server: not there after {START_S:g} s")


def run(line: Tunnel, tool: Tool, count: int) -> Run:
    line.relay.reset()
    before = line.kit_bytes()
    process = line.net.exec(
        "kit", tool.argv(count), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # reaped here, for its usage
    told = tool.read(said)
    return Run(
        told,
        line.relay.truth().with_path(),
        usage.ru_utime + usage.ru_stime,
        line.kit_bytes() - before,
    )


def mean_ms(truth: Truth) -> float:
    delays_ms = [delay_ms for delay_ms in truth.delays_ms if not math.isnan(delay_ms)]
    return sum(delays_ms) / len(delays_ms)


def wrong(one: Run) -> list[str]:
    """What is not as the relay did it, in words."""
    told, truth = one.told, one.truth
    counts = {
        "sent": (told.sent, truth.sent),
        "lost": (told.lost, truth.lost),
        "duplicates": (told.duplicates, truth.duplicates),
        "reordered": (told.reordered, truth.reordered),
    }
    found = [f"{name} {mine} ({real})" for name, (mine, real) in counts.items() if mine not in (None, real)]
    mean = mean_ms(truth)
    if abs(told.rtt_ms_mean - mean) > max(2.0, 0.05 * mean):
        found.append(f"rtt {told.rtt_ms_mean:.2f} ({mean:.2f})")
    if told.jitter_ms_mean is not None:
        off_ms = abs(told.jitter_ms_mean - truth.jitter_ms)
        if off_ms > max(JITTER_FLOOR_MS, 0.1 * truth.jitter_ms):
            found.append(f"jitter {told.jitter_ms_mean:.2f} ({truth.jitter_ms:.2f})")
    return found


def cells(case: str, tool: Tool, one: Run, start: Run) -> tuple[str, ...]:
    told, truth = one.told, one.truth
    packets = one.told.sent - start.told.sent
    jitter = "-"
    if told.jitter_ms_mean is not None:
        jitter = f"{told.jitter_ms_mean:.2f} ({truth.jitter_ms:.2f})"
    return (
        case,
        tool.name,
        f"{told.sent} ({truth.sent})",
        f"{told.lost} ({truth.lost})",
        f"{told.duplicates} ({truth.duplicates})",
        "-" if told.reordered is None else f"{told.reordered} ({truth.reordered})",
        f"{told.rtt_ms_mean:.2f} ({mean_ms(truth):.2f})",
        jitter,
        f"{1e6 * (one.cpu_s - start.cpu_s) / packets:.0f}",
        f"{1e3 * start.cpu_s:.0f}",
        f"{(one.line_bytes - start.line_bytes) / packets:.0f}",
    )


HEADS = ("line", "tool", "sent", "lost", "dup", "reord", "rtt ms", "jitter ms",
         "CPU µs/packet", "start ms", "bytes/packet")  # fmt: skip


def main() -> int:
    rows: list[tuple[str, ...]] = []
    ours_wrong: list[str] = []
    with tunnel() as line, servers(line):
        starts = {tool.name: run(line, tool, 2) for tool in TOOLS}
        for case, impairment in LINES.items():
            line.relay.impair(impairment)
            for tool in TOOLS:
                one = run(line, tool, COUNT)
                rows.append(cells(case, tool, one, starts[tool.name]))
                if tool.argv is ours:
                    ours_wrong += [f"{case}: {what}" for what in wrong(one)]
    print(f"What each tells of {COUNT} packets at {INTERVAL_MS:g} ms, and in brackets what the relay did:")
    print(columns(HEADS, rows))
    print(f"ours off: {'; '.join(ours_wrong) or 'none'}")
    return 1 if ours_wrong else 0


if __name__ == "__main__":
    sys.exit(main())

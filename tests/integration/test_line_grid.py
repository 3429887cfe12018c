"""The line as our sender reports it is the line as it was: over the grid of impairments every count equals
the relay's own, every delay is near it, and the cause is the right one.

In each case a real sender measures a real ``diemcau-fleet reflector`` through an impaired relay. The truth is
the relay's (diemcau_sim.ground_truth), which shares no code with the sender or the record:

- counts (lost, bursts of loss, duplicates, reordered) are equal, not near;
- a round trip is what the relay added by the kernel's stamps, and the path's own: what the reflector took
  beyond its word (T3 - T2), 0.06 ms on a machine at rest; within 2 ms or 5 %;
- jitter within 10 %, or JITTER_FLOOR_MS where there is next to none;
- causes follow from the case's parameters (line_cases), and the judge names just these.

Nothing may be under way when a train ends, else it is counted on one side only: ``wait_s`` is over the worst
of each line's delays, but in the one case that shows what is too late.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import pytest

from diemcau_agent.judges import judge
from diemcau_agent.line.readings import of_record
from diemcau_agent.line.record import Record
from diemcau_sim.ground_truth import Truth
from line_cases import CASES, LIMITS, Case
from line_rig import measure

AT_ONCE = 8
"""Each in a process of its own: of sixteen in one the interpreter's lock is what is measured."""
BATCHES = [CASES[first :: -(-len(CASES) // AT_ONCE)] for first in range(-(-len(CASES) // AT_ONCE))]
RTT_MS, RTT_SHARE = 2.0, 0.05
JITTER_FLOOR_MS, JITTER_SHARE = 0.1, 0.1
"""Of 0.2 ms of jitter, which a clean line of this machine has, 10 % are what two clocks' readings differ by.
Measured over the grid: 0.02 ms at most, 0.0003 ms in the median."""
HEADS = ("case", "sent", "lost", "dup", "reord", "bursts", "p50 ms", "p95 ms", "jitter ms", "cause")
WIDTHS = (34, 4, 9, 9, 9, 9, 15, 15, 15, 0)


@pytest.fixture(scope="session")
def reflector() -> Iterator[int]:
    """The port of a reflector of the centre's, in a process of its own."""
    argv = [Path(sys.executable).with_name("diemcau-fleet"), "reflector", "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*argv, "--source-pps", "20000"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("listening on 127.0.0.1:"), line
            yield int(line.split()[2].rpartition(":")[2])
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def pool(reflector: int) -> Iterator[ProcessPoolExecutor]:
    """Warm: nothing is measured while another process still loads its modules."""
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as processes:
        warm = Case("warm", count=50)
        list(processes.map(measure, repeat(warm, AT_ONCE), repeat(reflector)))
        yield processes


def causes(told: Record) -> frozenset[str]:
    """As the daemon judges it where its broker is well."""
    return frozenset(judge("line", of_record(told) | {"broker_connected": True}))


def slowed(truth: Truth) -> frozenset[str]:
    """What a machine that is too busy has added to the line itself, by the relay's own stamps."""
    measured = {"uplink_delay": truth.delay_ms(50), "uplink_jitter": truth.jitter_ms}
    return frozenset(code for code, value in measured.items() if value > LIMITS[code])


def wrong(case: Case, told: Record, truth: Truth) -> list[str]:
    """All that is not as promised, in words."""
    counts = {
        "sent": (told.sent, truth.sent),
        "sent as planned": (told.sent, case.count),
        "lost": (told.lost, truth.lost),
        "loss_bursts": (told.loss_bursts, truth.loss_bursts),
        "duplicates": (told.duplicates, truth.duplicates),
        "reordered": (told.reordered, truth.reordered),
        "clock_steps": (told.clock_steps, 0),
        "error": (told.error, None),
        "causes": (causes(told), case.causes | slowed(truth)),
    }
    if not case.late:
        counts["strange"] = (told.strange, 0)
    found = [f"{name}: told {mine}, truth {real}" for name, (mine, real) in counts.items() if mine != real]
    if truth.lost == truth.sent:
        return found + ["rtt_ms: told, where nothing came back"] * (told.rtt_ms is not None)
    if told.rtt_ms is None or told.jitter_ms is None:
        return [*found, "rtt_ms, jitter_ms: not told"]
    for name, mine, real, floor_ms, share in (
        ("rtt_ms.p50", told.rtt_ms.p50, truth.delay_ms(50), RTT_MS, RTT_SHARE),
        ("rtt_ms.p95", told.rtt_ms.p95, truth.delay_ms(95), RTT_MS, RTT_SHARE),
        ("jitter_ms.mean", told.jitter_ms.mean, truth.jitter_ms, JITTER_FLOOR_MS, JITTER_SHARE),
    ):
        if not abs(mine - real) <= max(floor_ms, share * real):
            found.append(f"{name}: told {mine:.3f}, truth {real:.3f}")
    return found


def row(case: Case, told: Record, truth: Truth) -> tuple[str, ...]:
    """What we told, and in brackets the truth."""
    pairs = (
        (told.lost, truth.lost),
        (told.duplicates, truth.duplicates),
        (told.reordered, truth.reordered),
        (len(told.loss_bursts), len(truth.loss_bursts)),
    )
    delays = (
        (told.rtt_ms and told.rtt_ms.p50, truth.delay_ms(50)),
        (told.rtt_ms and told.rtt_ms.p95, truth.delay_ms(95)),
        (told.jitter_ms and told.jitter_ms.mean, truth.jitter_ms),
    )
    return (
        case.name,
        str(told.sent),
        *(f"{mine} ({real})" for mine, real in pairs),
        *("-" if mine is None else f"{mine:.2f} ({real:.2f})" for mine, real in delays),
        " ".join(sorted(causes(told))) or "-",
    )


def shown(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


@pytest.mark.parametrize("batch", BATCHES, ids=[f"batch {number}" for number in range(len(BATCHES))])
def test_what_is_told_of_an_impaired_line_is_what_the_relay_did(
    batch: tuple[Case, ...], reflector: int, pool: ProcessPoolExecutor
) -> None:
    measured = pool.map(measure, batch, repeat(reflector))
    lines = [(case, told, truth) for case, (told, truth) in zip(batch, measured, strict=True)]
    print(shown(HEADS), *(shown(row(*line)) for line in lines), sep="\n")
    failed = {line[0].name: found for line in lines if (found := wrong(*line))}
    assert not failed


def test_the_grid_has_sixty_lines_and_every_cause_in_it() -> None:
    assert len(CASES) == len({case.name for case in CASES}) >= 60
    found = frozenset[str]().union(*(case.causes for case in CASES))
    assert found == {"uplink_loss", "uplink_delay", "uplink_jitter", "reflector_silent"}
    assert sum(not case.causes for case in CASES) >= 20

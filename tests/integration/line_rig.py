"""One case of the grid, measured: our sender, the impaired relay, and a reflector that is there already."""

from __future__ import annotations

from diemcau_agent.line.record import Record, record
from diemcau_agent.line.train import Address, Plan, run
from diemcau_sim.ground_truth import Truth
from diemcau_sim.impairment import ImpairedRelay
from line_cases import Case


def measure(case: Case, port: int) -> tuple[Record, Truth]:
    """What our sender tells, and the truth as far as it could wait for it."""
    relay = ImpairedRelay("127.0.0.1", port, *case.impairments)
    plan = Plan(
        address=Address("127.0.0.1", relay.start()),
        count=case.count,
        interval_ms=case.interval_ms,
        size_bytes=case.size_bytes,
        wait_s=case.wait_s,
    )
    try:
        told = record([run(plan, synced=lambda: True)])
        truth = relay.truth().with_path()
    finally:
        relay.stop()
    if case.late:
        truth = truth.where(lambda handed: handed.after_ms <= 1e3 * case.wait_s)
    return told, truth

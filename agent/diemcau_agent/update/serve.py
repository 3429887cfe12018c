"""The process that installs: socket-activated, root's, gone when nobody asks. What may be asked:
:mod:`.guard`."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

from diemcau_agent.exits import OK, USAGE
from diemcau_agent.privileged.serve import allowed, listening, of_root, serve

from .guard import Guard
from .record import Record
from .steps import System, finish
from .system import System as KitSystem


def main(config: Path, state: Path, control: Path, user: str) -> int:
    """``user``: the agent's, who may ask besides root. The exit code."""
    listener = listening("diemcau-update.socket")
    if listener is None:
        return USAGE
    record, system = Record(state), KitSystem(state, control)
    with listener:
        carry_on(state, record, system, cut_short=True)
        serve(listener, Guard(lambda: of_root(config), record, allowed(user), system))
        carry_on(state, record, system, cut_short=False)
    return OK


def after_a_cut(state: Path, control: Path) -> int:
    """At boot: what a power cut has left half done."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    carry_on(state, Record(state), KitSystem(state, control), cut_short=True)
    return OK


def carry_on(state: Path, record: Record, system: System, *, cut_short: bool) -> None:
    """One process at a time: whoever comes second finds that there is nothing left to do."""
    with (state / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finish(record, system, cut_short=cut_short)

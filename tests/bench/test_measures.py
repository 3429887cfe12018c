"""The yardstick itself: a bench that measures wrongly keeps every budget."""

from __future__ import annotations

import subprocess
import sys

import pytest

import processes
from budgets import Row, percentile, table

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1000, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (500.0, 990.0, 7.0)


def test_a_row_on_its_bound_is_kept_and_one_above_is_not() -> None:
    kept, over = (Row("memory", measured, 10.0, "MB", "how") for measured in (10.0, 10.01))
    assert (kept.kept, over.kept) == (True, False)
    assert "OVER" in table([kept, over]).splitlines()[-1]
    assert "OVER" not in table([kept])


def test_the_cpu_of_a_reaped_grandchild_is_its_ancestors() -> None:
    burn = f"subprocess.run([sys.executable, '-c', {BURN!r}])"
    parent = f"import subprocess, sys\n{burn}\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdout.readline()  # it has reaped its child
        spent = processes.cpu_s(popen.pid)
        popen.stdin.write(b"\n")
    assert spent >= 0.3


def test_memory_is_counted_and_a_process_that_is_gone_has_none() -> None:
    weight = "data = bytearray(b'x') * 50_000_000\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", weight], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdout.readline()
        assert 50 < processes.pss_mb(popen.pid) < 80
        popen.stdin.write(b"\n")
    assert processes.pss_mb(popen.pid) == 0
    assert processes.tree(popen.pid) == []


def test_a_wait_in_vain_says_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match="the moon"):
        processes.until("the moon", lambda: None, 0.0)

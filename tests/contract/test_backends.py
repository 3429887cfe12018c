"""No backend is forgotten: the list of the contract suite against those that ship and the simulator's."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backends import DEVICE, ROWS, Row, arranged, rows
from diemcau_drivers import interfaces
from diemcau_drivers.backends import SHIPPED, load
from diemcau_drivers.contract import PROCESSES, BadRequest
from diemcau_sim.backends import BACKENDS

PROTOCOLS: Mapping[str, type[Any]] = {
    "camera": interfaces.CameraBackend,
    "audio": interfaces.AudioBackend,
    "display": interfaces.DisplayBackend,
    "panel": interfaces.PanelBackend,
    "presence": interfaces.PresenceBackend,
    "host": interfaces.HostBackend,
}
THERE_ARE = {(process, name) for process, names in SHIPPED.items() for name in names} | {
    (process, "sim") for process in BACKENDS
}


def test_every_backend_is_in_the_list_and_nothing_else() -> None:
    assert {(row.process, row.backend) for row in ROWS} == THERE_ARE


@pytest.mark.parametrize(("process", "name"), sorted(THERE_ARE))
def test_every_backend_runs_here_on_something(process: str, name: str) -> None:
    assert [row for row in arranged(process) if row.backend == name]


@pytest.mark.parametrize("row", [row for row in ROWS if row.ground == DEVICE], ids=lambda row: row.id)
def test_a_real_device_runs_where_there_is_one_and_is_named_where_there_is_none(row: Row) -> None:
    assert row.node is not None
    there = any(Path("/dev").glob(row.node)) and (not row.kit_only or os.environ.get("DIEMCAU_KIT") == "1")
    assert (row in rows(row.process)) is there
    assert there or f"{row.process} {row.backend}: " in str(row.not_run)


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_has_its_suite_and_that_runs_each_backend(process: str) -> None:
    suite = "".join(path.read_text() for path in Path(__file__).parent.glob(f"test_{process}*.py"))
    takes_the_list = any(f'{chosen}("{process}")' in suite for chosen in ("rows", "arranged"))
    assert takes_the_list or all(f'"{row.backend}"' in suite for row in rows(process))


@pytest.mark.parametrize(("process", "name"), sorted(THERE_ARE))
def test_every_backend_has_the_methods_of_the_contract(process: str, name: str) -> None:
    factory: Any = load(process, name)
    for method, promised in vars(PROTOCOLS[process]).items():
        if method.startswith("_"):
            continue
        ours = inspect.signature(getattr(factory, method)).parameters
        wanted = inspect.signature(promised).parameters
        assert [(item.name, item.kind) for item in ours.values()] == [
            (item.name, item.kind) for item in wanted.values()
        ], f"{factory.__name__}.{method}"


@pytest.mark.parametrize("process", PROCESSES)
def test_an_unknown_backend_is_refused_and_never_replaced(process: str) -> None:
    with pytest.raises(BadRequest, match="no backend 'imaginary'"):
        load(process, "imaginary")

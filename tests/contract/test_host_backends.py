"""What every host backend promises: flat readings with the contract's names."""

from __future__ import annotations

import pytest

from backends import rows
from diemcau_drivers.contract import HOST_READINGS, INTERFACE_READINGS
from diemcau_drivers.host import Host
from rigs import Rig

every = pytest.mark.parametrize("rig", rows("host"), indirect=True, ids=lambda row: row.id)


@every
def test_the_readings_are_the_contracts(rig: Rig) -> None:
    host = Host(rig.backend)
    assert set(host.handle("probe", {})) == set(HOST_READINGS)
    assert set(host.handle("interface", {"name": None})) == set(INTERFACE_READINGS)


@every
def test_the_readings_are_plain(rig: Rig) -> None:
    for readings in (rig.backend.probe(), rig.backend.interface(None)):
        assert all(isinstance(value, bool | int | float | str | None) for value in readings.values())

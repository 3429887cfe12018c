"""What every presence backend promises: there, not there, or not known, for each device."""

from __future__ import annotations

import pytest

from backends import arranged, rows
from diemcau_drivers.contract import DEVICES
from diemcau_drivers.presence import Presence
from rigs import Rig

every = pytest.mark.parametrize("rig", rows("presence"), indirect=True, ids=lambda row: row.id)
with_hands = pytest.mark.parametrize("rig", arranged("presence"), indirect=True, ids=lambda row: row.id)


@every
def test_each_device_is_there_not_there_or_not_known(rig: Rig) -> None:
    present = Presence(rig.backend).handle("probe", {})
    assert set(present) == set(DEVICES)
    assert set(present.values()) <= {True, False, None}
    assert set(rig.backend.present()) <= set(DEVICES)


@with_hands
def test_what_is_unplugged_is_missed_and_comes_back(rig: Rig) -> None:
    assert dict(rig.backend.present()) == dict.fromkeys(DEVICES, True)
    rig.unplug(True)
    gone = {device for device, there in rig.backend.present().items() if there is False}
    assert gone == {"camera", "display", "panel"}
    rig.unplug(False)
    assert dict(rig.backend.present()) == dict.fromkeys(DEVICES, True)

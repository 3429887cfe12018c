"""A USB device is bound anew only where that very one is plugged in and the kit may; sysfs is a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diemcau_agent import usb
from diemcau_agent.usb import NotPossible, Usb

CAMERA = {"name": "HD Webcam", "usb": "046d:0825:1-1.3"}


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    driver = tmp_path / "bus/usb/drivers/usb"
    driver.mkdir(parents=True)
    for name in ("unbind", "bind"):
        (driver / name).write_text("")
    plug(tmp_path, "1-1.3", "046d", "0825")
    return tmp_path


def plug(sysfs: Path, port: str, vendor: str, product: str, kind: str = "ef") -> None:
    device = sysfs / "bus/usb/devices" / port
    device.mkdir(parents=True, exist_ok=True)
    for name, value in (("idVendor", vendor), ("idProduct", product), ("bDeviceClass", kind)):
        (device / name).write_text(f"{value}\n")


def written(sysfs: Path) -> tuple[str, str]:
    driver = sysfs / "bus/usb/drivers/usb"
    return (driver / "unbind").read_text(), (driver / "bind").read_text()


@pytest.mark.parametrize("identity", [CAMERA, {"usb": "usb:046d:0825:1-1.3"}, {"usb": "046D:0825:1-1.3"}])
async def test_the_driver_is_taken_away_and_given_back(sysfs: Path, identity: dict[str, str]) -> None:
    assert await Usb(sysfs).rebind(identity) == "1-1.3"
    assert written(sysfs) == ("1-1.3", "1-1.3")


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ({}, "not known to be a USB device"),
        ({"name": "imx708", "path": "/base/soc/i2c0mux/i2c@1/imx708@1a"}, "not known to be a USB device"),
        ({"usb": "046d:0825:1-1.4"}, "nothing is plugged into port 1-1.4"),
        ({"usb": "046d:0826:1-1.3"}, "holds 046d:0825, expected 046d:0826"),
        ({"usb": "046d:0825:../../1-1.3"}, "not known to be a USB device"),
    ],
)
async def test_nothing_else_is_ever_touched(sysfs: Path, identity: dict[str, str], why: str) -> None:
    with pytest.raises(NotPossible, match=why):
        await Usb(sysfs).rebind(identity)
    assert written(sysfs) == ("", "")


async def test_a_hub_is_left_alone(sysfs: Path) -> None:
    plug(sysfs, "1-1.3", "046d", "0825", kind="09")
    with pytest.raises(NotPossible, match="no hub"):
        await Usb(sysfs).rebind(CAMERA)


async def test_a_kit_that_may_not_says_so(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests run as root, to whom every file is writable; in the unit /sys is a read-only mount.
    def refused(path: Path, mode: int) -> bool:
        return False

    monkeypatch.setattr(usb.os, "access", refused)
    with pytest.raises(NotPossible, match="may not bind USB devices"):
        await Usb(sysfs).rebind(CAMERA)
    assert written(sysfs) == ("", "")


async def test_a_device_whose_driver_was_not_taken_away_still_has_one(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usb, "PAUSE_S", 0.0)
    (sysfs / "bus/usb/drivers/usb/unbind").unlink()
    (sysfs / "bus/usb/drivers/usb/unbind").mkdir()
    with pytest.raises(NotPossible, match="directory"):
        await Usb(sysfs).rebind(CAMERA)
    assert (sysfs / "bus/usb/drivers/usb/bind").read_text() == "1-1.3"


async def test_a_driver_that_does_not_let_go_keeps_nobody_waiting(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usb, "DEADLINE_S", 0.05)
    driver = sysfs / "bus/usb/drivers/usb"
    (driver / "unbind").unlink()
    os.mkfifo(driver / "unbind")  # whoever opens it to write waits for a reader
    made = Usb(sysfs)
    with pytest.raises(NotPossible, match="did not let go"):
        await made.rebind(CAMERA)
    assert (driver / "unbind").read_bytes() == b"1-1.3"  # lets the thread go
    made.close()

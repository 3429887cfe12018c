"""Presence from a made /sys, /proc and /dev: there, not there, or not known; and nothing is opened."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_drivers.backends.sysfs import SysfsPresence
from diemcau_drivers.contract import DEVICES, BadRequest
from diemcau_drivers.host import Host
from diemcau_drivers.presence import Presence, open_device
from edid_block import edid_block
from fake_sysfs import FakeSysfs


@pytest.fixture
def kernel(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "root")


def present(kernel: FakeSysfs, **options: Any) -> dict[str, bool | None]:
    return dict(SysfsPresence(options, root=kernel.root).present())


def furnish(kernel: FakeSysfs) -> None:
    kernel.usb_camera(0, "HD Webcam", "046d:0825", "1-1.2")
    kernel.sound_card(0, "vc4hdmi0", "vc4-hdmi - vc4-hdmi-0", ("pcm0p",))
    microphone = kernel.usb_device("1-1.3", "0d8c:0014")
    kernel.sound_card(1, "Device", "USB-Audio - USB Audio Device", ("pcm0p", "pcm0c"), microphone)
    kernel.connector("card1-HDMI-A-1", "connected", edid_block())
    kernel.write("dev/gpiochip0", "")


def test_a_furnished_room_has_everything(kernel: FakeSysfs) -> None:
    furnish(kernel)
    assert present(kernel) == dict.fromkeys(DEVICES, True)


def test_an_empty_room_has_nothing_and_what_cannot_be_told_is_not_known(kernel: FakeSysfs) -> None:
    assert present(kernel) == {
        "camera": False,
        "microphone": None,  # no ALSA at all in this kernel
        "speaker": None,
        "display": None,  # nor a display driver
        "panel": False,
    }


def test_a_csi_sensor_is_a_camera_and_a_codec_is_not(kernel: FakeSysfs) -> None:
    kernel.platform_video(10, "bcm2835-codec-decode")
    kernel.i2c_subdevice(0, "dw9807 10-000c", "soc/i2c0mux/i2c@1/dw9807@c", port=False)
    assert present(kernel)["camera"] is False
    kernel.i2c_subdevice(1, "imx219 10-0010", "soc/i2c0mux/i2c@1/imx219@10", port=True)
    assert present(kernel)["camera"] is True
    assert present(kernel, camera={"identity": "imx708"})["camera"] is False
    assert present(kernel, camera={"identity": "/base/soc/i2c0mux"})["camera"] is True


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("usb:0d8c:0014", True),
        ("usb:0D8C:0014", True),
        ("usb:0d8c:0014:1-1.3", True),
        ("usb:0d8c:0014:1-1.4", False),
        ("usb:046d:0825", False),
        ("Device", True),
        ("USB Audio Device", True),
        ("diemcau_microphone", None),
    ],
)
def test_the_configured_microphone_is_the_one_that_counts(
    kernel: FakeSysfs, wanted: str, there: bool | None
) -> None:
    furnish(kernel)
    assert present(kernel, audio={"microphone": wanted})["microphone"] is there


def test_a_card_that_only_plays_is_no_microphone(kernel: FakeSysfs) -> None:
    kernel.sound_card(0, "vc4hdmi0", "vc4-hdmi - vc4-hdmi-0", ("pcm0p",))
    assert present(kernel)["microphone"] is False
    assert present(kernel)["speaker"] is True
    assert present(kernel, audio={"microphone": "vc4hdmi0"})["microphone"] is None


@pytest.mark.parametrize(
    ("status", "there"), [("connected", True), ("disconnected", False), ("unknown", None)]
)
def test_the_display_is_what_its_connector_says(kernel: FakeSysfs, status: str, there: bool | None) -> None:
    kernel.connector("card1-HDMI-A-2", status)
    kernel.connector("card1-Writeback-1", "connected")
    assert present(kernel)["display"] is there
    assert present(kernel, display={"connector": "HDMI-A-1"})["display"] is None


def test_no_device_is_opened(kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(kernel)
    opened: list[str] = []
    real_open = builtins.open

    def watched(path: Path, *args: Any, **kwargs: Any) -> object:
        opened.append(str(path))
        return cast("object", real_open(path, *args, **kwargs))

    monkeypatch.setattr("io.open", watched)
    present(kernel)
    assert opened  # sysfs was read
    assert [path for path in opened if path.startswith(str(kernel.dev))] == []


class Half:
    def present(self) -> dict[str, bool | None]:
        return {"camera": True, "ghost": True}


def test_the_answer_has_each_device_and_no_other() -> None:
    device = open_device(Half(), {}, lambda event, data: None)
    assert device.handle("probe", {}) == {name: name == "camera" or None for name in DEVICES}
    device.close()


class Measured:
    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def probe(self) -> dict[str, Any]:
        return {"cpu_percent": 3.0}

    def interface(self, name: str | None) -> dict[str, Any]:
        self.asked.append(name)
        return {"interface": name or "eth0"}

    def path(self, near_only: bool) -> dict[str, Any]:
        return {"gateway_answers": True} if near_only else {"gateway_answers": True, "hops": 7}


def test_the_host_is_probed_and_its_interface_named() -> None:
    backend = Measured()
    host = Host(backend)
    assert host.handle("probe", {}) == {"cpu_percent": 3.0}
    assert host.handle("interface", {"name": None})["interface"] == "eth0"
    assert host.handle("interface", {"name": "wlan0"})["interface"] == "wlan0"
    assert backend.asked == [None, "wlan0"]
    assert "hops" not in host.handle("path", {"near_only": True})
    assert host.handle("path", {})["hops"] == 7


@pytest.mark.parametrize(
    ("device", "do", "args", "field"),
    [
        (Presence(Half()), "look", {}, "do"),
        (Presence(Half()), "probe", {"all": 1}, "all"),
        (Host(Measured()), "look", {}, "do"),
        (Host(Measured()), "interface", {"name": "x" * 16}, "name"),
        (Host(Measured()), "interface", {"name": 7}, "name"),
        (Host(Measured()), "path", {"near_only": "yes"}, "near_only"),
    ],
)
def test_bad_requests_name_the_field(
    device: Presence | Host, do: str, args: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequest, match=rf"^{field}: got .*, expected "):
        device.handle(do, args)

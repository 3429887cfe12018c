"""The CEC backend: connectors from a made /sys, a television that answers as cec-ctl prints it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diemcau_drivers.backends.brightness import Brightness
from diemcau_drivers.backends.cec import CALL_DEADLINE_S, CecDisplay, run
from diemcau_drivers.contract import Broken, Busy, Unsupported
from edid_block import edid_block
from fake_sysfs import FakeSysfs
from fake_television import FakeTelevision


@pytest.fixture
def kernel(tmp_path: Path) -> FakeSysfs:
    kernel = FakeSysfs(tmp_path / "root")
    kernel.connector("card1-HDMI-A-1", "connected", edid_block(serial_text="X1"))
    kernel.connector("card1-HDMI-A-2", "disconnected")
    kernel.connector("card1-Writeback-1", "unknown")
    kernel.write("dev/cec0", "")
    return kernel


@pytest.fixture
def television() -> FakeTelevision:
    return FakeTelevision()


@pytest.fixture
def display(kernel: FakeSysfs, television: FakeTelevision) -> CecDisplay:
    return CecDisplay({}, root=kernel.root, run=television)


def test_hot_plug_edid_and_size_come_from_the_kernel(display: CecDisplay, television: FakeTelevision) -> None:
    assert display.connected()
    assert display.size_px() == (1920, 1080)
    identity = display.identity()
    assert (identity["connector"], identity["manufacturer"], identity["edid_name"]) == (
        "HDMI-A-1",
        "SAM",
        "SAMSUNG",
    )
    assert "X1" not in identity["serial_hash"]
    assert television.calls == []


def test_the_configured_connector_is_the_one_that_counts(
    kernel: FakeSysfs, television: FakeTelevision
) -> None:
    second = CecDisplay({"connector": "HDMI-A-2"}, root=kernel.root, run=television)
    assert not second.connected()
    assert second.size_px() is None
    kernel.connector("card1-HDMI-A-2", "connected", b"not an EDID")
    assert second.connected()
    assert second.identity() == {"connector": "HDMI-A-2"}
    assert not CecDisplay({"connector": "DP-9"}, root=kernel.root, run=television).connected()


@pytest.mark.parametrize(
    ("said", "meant"),
    [("on", "on"), ("to-on", "on"), ("standby", "standby"), ("to-standby", "standby"), ("?", "unknown")],
)
def test_the_television_says_its_power(
    display: CecDisplay, television: FakeTelevision, said: str, meant: str
) -> None:
    television.power = said
    assert display.power() == meant


def silent(television: FakeTelevision) -> None:
    television.answers = False


def without_program(television: FakeTelevision) -> None:
    television.installed = False


def unplugged(television: FakeTelevision) -> None:
    television.address = "f.f.f.f"


@pytest.mark.parametrize("trouble", [silent, without_program, unplugged])
def test_who_does_not_answer_is_unknown_never_off(
    display: CecDisplay, television: FakeTelevision, trouble: Callable[[FakeTelevision], None]
) -> None:
    trouble(television)
    assert display.power() == "unknown"
    assert display.active_input() is None


def test_without_an_adapter_nothing_is_asked_and_power_cannot_be_set(
    kernel: FakeSysfs, television: FakeTelevision
) -> None:
    display = CecDisplay({"cec_device": "/dev/cec1"}, root=kernel.root, run=television)
    assert display.power() == "unknown"
    assert display.capabilities() == ()
    assert television.calls == []
    with pytest.raises(Unsupported, match="/dev/cec1"):
        display.set_power(True)


def test_a_command_that_cannot_be_sent_is_told(display: CecDisplay, television: FakeTelevision) -> None:
    television.installed = False
    with pytest.raises(Broken, match="could not be sent"):
        display.set_power(False)


def test_a_logical_address_is_claimed_once_and_only_where_there_is_none(
    display: CecDisplay, television: FakeTelevision
) -> None:
    display.power()
    display.power()
    assert sum("--playback" in call for call in television.calls) == 1


def test_standby_and_on_reach_the_television(display: CecDisplay, television: FakeTelevision) -> None:
    display.set_power(False)
    assert display.power() == "standby"
    display.set_power(True)
    assert display.power() == "on"


def test_another_active_input_is_noticed_and_ours_is_told_by_nobody(
    display: CecDisplay, television: FakeTelevision
) -> None:
    assert display.active_input() is None
    display.set_input("2.0.0.0")
    assert display.active_input() is False
    display.set_input("kit")
    assert television.active == television.address
    assert display.active_input() is None


def test_every_call_has_a_deadline(display: CecDisplay, television: FakeTelevision) -> None:
    display.power()
    display.active_input()
    assert set(television.deadlines_s) == {CALL_DEADLINE_S}


def test_a_real_process_that_hangs_is_ended_at_its_deadline() -> None:
    began_s = time.monotonic()
    assert run((sys.executable, "-c", "import time; time.sleep(60)"), 0.2) is None
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ((sys.executable, "-c", "print('told')"), "told\n"),
        ((sys.executable, "-c", "raise SystemExit(3)"), None),
        (("/nonexistent/cec-ctl",), None),
    ],
)
def test_a_real_process_tells_or_does_not(command: tuple[str, ...], expected: str | None) -> None:
    assert run(command, 10.0) == expected


def test_words_go_to_the_framebuffer_unless_a_compositor_has_the_screen(
    display: CecDisplay, kernel: FakeSysfs
) -> None:
    kernel.write("sys/class/graphics/fb0/virtual_size", "64,36\n")
    kernel.write("sys/class/graphics/fb0/bits_per_pixel", "16\n")
    kernel.write("dev/fb0", bytes(64 * 36 * 2))
    assert set(display.capabilities()) == {"power", "input", "message", "card"}
    assert display.show(message=None, card="bars") == {"message": "", "card": "bars"}
    card = kernel.write("dev/dri/card0", "")
    kernel.write("proc/77/comm", "labwc\n")
    kernel.link("proc/77/fd/3", card)
    with pytest.raises(Busy) as refused:
        display.show(message="hidden", card=None)
    assert refused.value.in_use_by == "labwc"


def test_a_panels_backlight_is_set_and_read_back(display: CecDisplay, kernel: FakeSysfs) -> None:
    kernel.write("sys/class/backlight/10-0045/max_brightness", "31\n")
    kernel.write("sys/class/backlight/10-0045/brightness", "31\n")
    assert "brightness" in display.capabilities()
    assert display.brightness_percent() == 100.0
    display.set_brightness(50)
    assert display.brightness_percent() == pytest.approx(50, abs=2)


def brightness(kernel: FakeSysfs, television: FakeTelevision, program: str | None) -> Any:
    return Brightness(kernel.sys, television, which=lambda name: program)


def test_a_monitor_is_set_by_ddc(kernel: FakeSysfs, television: FakeTelevision) -> None:
    television.brightness = 80
    monitor = brightness(kernel, television, "/usr/bin/ddcutil")
    assert monitor.available
    assert monitor.percent() == 80.0
    monitor.set(30.4)
    assert monitor.percent() == 30.0
    television.brightness = None
    assert monitor.percent() is None
    with pytest.raises(Broken, match="DDC/CI"):
        monitor.set(10)


def test_without_backlight_and_ddcutil_there_is_no_brightness(
    kernel: FakeSysfs, television: FakeTelevision
) -> None:
    nothing = brightness(kernel, television, None)
    assert not nothing.available
    assert nothing.percent() is None
    with pytest.raises(Unsupported, match="ddcutil"):
        nothing.set(10)

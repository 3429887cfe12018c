"""The Pi itself, read from a tree of files; what is not there is left out, never made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from diemcau_agent import host
from diemcau_agent.host import LocalHost
from fakeclock import FakeClock

ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_machine_without_sensors_tells_none(tmp_path: Path, clock: FakeClock) -> None:
    readings = LocalHost(clock, tmp_path, sys=tmp_path / "sys").probe()
    assert "temperature_c" not in readings
    assert "throttled_bits" not in readings
    assert 0 < readings["memory_available_percent"] < 100
    assert 0 <= readings["disk_free_percent"] <= 100
    assert readings["disk_writable"] is True
    assert readings["clock_synced"] is True


def test_a_pi_tells_temperature_and_the_firmwares_word(tmp_path: Path, clock: FakeClock) -> None:
    write(tmp_path / "class/thermal/thermal_zone0/temp", "51234\n")
    write(tmp_path / "devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    readings = LocalHost(clock, tmp_path, sys=tmp_path).probe()
    assert readings["temperature_c"] == 51.2
    assert readings["throttled_bits"] == 0x50005


def test_a_kernel_without_the_word_tells_under_voltage_in_hwmon(tmp_path: Path, clock: FakeClock) -> None:
    write(tmp_path / "class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path / "class/hwmon/hwmon1/name", "rpi_volt\n")
    alarm = write(tmp_path / "class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    kit = LocalHost(clock, tmp_path, sys=tmp_path)
    assert kit.probe()["throttled_bits"] == 1
    alarm.write_text("0\n")
    assert kit.probe()["throttled_bits"] == 0


@pytest.mark.parametrize("text", ["", "hot", "\xff"])
def test_a_sensor_that_tells_nonsense_is_left_out(tmp_path: Path, clock: FakeClock, text: str) -> None:
    write(tmp_path / "class/thermal/thermal_zone0/temp", text)
    write(tmp_path / "devices/platform/soc/soc:firmware/get_throttled", text)
    readings = LocalHost(clock, tmp_path, sys=tmp_path).probe()
    assert "temperature_c" not in readings
    assert "throttled_bits" not in readings


def test_the_default_routes_interface_is_the_one_that_counts(tmp_path: Path) -> None:
    route = write(
        tmp_path / "route",
        ROUTES + "eth0\t0000A8C0\t00000000\t1\t0\t0\t0\t00FFFFFF\n"
        "wlan0\t00000000\t0100A8C0\t3\t0\t0\t0\t00000000\n",
    )
    assert host.default_interface(route) == "wlan0"
    assert host.default_interface(write(tmp_path / "none", ROUTES)) is None
    assert host.default_interface(tmp_path / "missing") is None


def test_an_interface_tells_its_carrier_and_counters(tmp_path: Path, clock: FakeClock) -> None:
    readings = LocalHost(clock, tmp_path).interface("lo")
    assert readings["carrier"] is True
    assert readings["has_address"] is True
    assert readings["rx_errors"] >= 0


def test_an_interface_that_is_not_there_has_no_carrier(tmp_path: Path, clock: FakeClock) -> None:
    assert LocalHost(clock, tmp_path).interface("eth7")["carrier"] is False


def test_a_card_that_vanished_leaves_its_readings_out(tmp_path: Path, clock: FakeClock) -> None:
    assert "disk_writable" not in LocalHost(clock, tmp_path / "gone").probe()

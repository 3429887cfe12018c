"""The Pi itself, read from a tree of files; what is not there is left out, never made up."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_default_route_with_the_lowest_metric_names_the_interface(
    tmp_path: Path, clock: FakeClock
) -> None:
    write(
        tmp_path / "net/route",
        ROUTES + "eth7\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\n"
        "eth8\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
        "lo\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\n",
    )
    assert LocalHost(clock, tmp_path, sys=tmp_path, proc=tmp_path).interface()["interface"] == "lo"


def test_without_a_default_route_the_card_with_a_cable_in_it_is_told(
    tmp_path: Path, clock: FakeClock
) -> None:
    kit = LocalHost(clock, tmp_path, sys=tmp_path, proc=tmp_path)
    assert kit.interface() == {"carrier": False, "has_address": False}
    for name, kind, carrier in (
        ("docker0", "1", "1"),
        ("eth7", "1", "0"),
        ("eth8", "1", "1"),
        ("lo7", "772", "1"),
    ):
        write(tmp_path / "class/net" / name / "type", kind)
        write(tmp_path / "class/net" / name / "carrier", carrier)
    assert kit.interface()["interface"] == "docker0"  # better than nothing
    for name in ("eth7", "eth8"):
        write(tmp_path / "class/net" / name / "device/vendor", "")
    assert kit.interface()["interface"] == "eth8"
    write(tmp_path / "class/net/eth8/carrier", "0")
    assert kit.interface()["interface"] == "eth7"


@pytest.mark.parametrize(
    ("address", "leads_out"),
    [
        ("10.0.0.2", True),
        ("2001:db8::2", True),
        ("169.254.7.8", False),  # RFC 3927: DHCP gave nothing
        ("fe80::1%lo", False),
    ],
)
def test_an_address_that_the_machine_gave_itself_is_none(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, address: str, leads_out: bool
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    entries = [
        SimpleNamespace(family=family, address=address),
        SimpleNamespace(family=17, address="00:00:5e:00"),
    ]
    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"lo": entries})
    assert LocalHost(clock, tmp_path).interface("lo")["has_address"] is leads_out


@pytest.mark.parametrize(
    ("text", "told"), [("full\n", "full"), ("half\n", "half"), ("unknown\n", None), ("", None)]
)
def test_duplex_is_told_where_it_was_negotiated(
    tmp_path: Path, clock: FakeClock, text: str, told: str | None
) -> None:
    write(tmp_path / "class/net/lo/duplex", text)
    assert LocalHost(clock, tmp_path, sys=tmp_path).interface("lo").get("duplex") == told


WIRELESS = """\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0
 wlan1: 0000    0.  -256.  -256       0      0      0      0      0        0
 wlan2: 0000   70.   40.   161        0      0      0      0      0        0
    lo: 0000   41.  -69.5 -256        0      0      0      0      0        0
 wlan3: 0000   41.  weak
"""


@pytest.mark.parametrize(
    ("name", "dbm"),
    [
        ("wlan0", -56.0),
        ("lo", -69.5),
        ("wlan1", None),
        ("wlan2", None),
        ("wlan3", None),
        ("wlan", None),
        ("eth0", None),
    ],
)
def test_the_signal_is_told_in_dbm_or_not_at_all(name: str, dbm: float | None) -> None:
    assert host.signal_dbm(WIRELESS, name) == dbm


@given(st.text())
def test_no_table_of_signals_breaks_the_reading(text: str) -> None:
    found = host.signal_dbm(f" wlan0:{text}", "wlan0")
    assert found is None or -120 <= found < 0


def test_wifi_tells_its_signal_beside_the_rest(tmp_path: Path, clock: FakeClock) -> None:
    write(tmp_path / "net/wireless", WIRELESS)
    assert LocalHost(clock, tmp_path, proc=tmp_path).interface("lo")["wifi_dbm"] == -69.5
    assert "wifi_dbm" not in LocalHost(clock, tmp_path, proc=tmp_path / "none").interface("lo")


def test_an_interface_tells_its_carrier_and_counters(tmp_path: Path, clock: FakeClock) -> None:
    readings = LocalHost(clock, tmp_path).interface("lo")
    assert readings["carrier"] is True
    assert readings["has_address"] is True
    assert readings["rx_errors"] >= 0


def test_an_interface_that_is_not_there_has_no_carrier(tmp_path: Path, clock: FakeClock) -> None:
    assert LocalHost(clock, tmp_path).interface("eth7")["carrier"] is False


def test_a_card_that_vanished_leaves_its_readings_out(tmp_path: Path, clock: FakeClock) -> None:
    assert "disk_writable" not in LocalHost(clock, tmp_path / "gone").probe()

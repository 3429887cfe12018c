"""What cloud-init is given, judged by Debian's own cloud-init; what the kernel is told."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path

import pytest

from diemcau_fleet.card import seed

DIGEST = "ab" * 32
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0pVgdxZ3nZDGOaO8y1r1rVZ5mHqf2Q0mC2m6Fj0b4X an@office"
CABLE = seed.Static(
    ipaddress.ip_interface("10.1.2.3/24"),
    ipaddress.ip_address("10.1.2.1"),
    (ipaddress.ip_address("10.1.1.1"), ipaddress.ip_address("10.1.1.2")),
)
SIXTH = seed.Static(ipaddress.ip_interface("2001:db8::3/64"), ipaddress.ip_address("2001:db8::1"), ())
WIFI = seed.Wifi.of('hội "trường": #1', "a passphrase")
NETWORKS = {
    "dhcp": seed.Network(),
    "static": seed.Network(CABLE),
    "static6": seed.Network(SIXTH),
    "vlan": seed.Network(None, 120),
    "static-vlan": seed.Network(CABLE, 4094),
    "wifi": seed.Network(None, None, WIFI),
    "everything": seed.Network(CABLE, 120, WIFI),
}
# cloud-init's own reading: the links and routes that it makes of it. By Debian's Python, which it belongs to.
READ = """
import json, sys, yaml
from cloudinit.net import network_state
state = network_state.parse_net_config_data(yaml.safe_load(sys.stdin)["network"])
print(json.dumps({each["name"]: each for each in state.iter_interfaces()}))
"""


def kit(network: seed.Network, keys: tuple[str, ...] = ()) -> seed.Kit:
    return seed.Kit("xp-0417", "vi_VN.UTF-8", "Asia/Ho_Chi_Minh", network, seed.Technician("kythuat", keys))


@pytest.mark.cloud_init
@pytest.mark.parametrize("keys", [(), (KEY,), (KEY, KEY)])
def test_the_user_data_of_any_room_is_valid_to_cloud_init_itself(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    file = tmp_path / "user-data"
    file.write_text(seed.user_data(kit(seed.Network(), keys), DIGEST))
    assert _schema(file) == (0, f"Valid cloud-config: {file}\n")
    file.write_text(file.read_text().replace('"ssh_pwauth": false', '"ssh_pwauth": [1]'))
    assert _schema(file)[0] == 1


@pytest.mark.cloud_init
@pytest.mark.parametrize("name", NETWORKS)
def test_cloud_init_makes_of_a_network_config_what_was_meant(name: str) -> None:
    network = NETWORKS[name]
    done = subprocess.run(
        ["/usr/bin/python3", "-c", READ],
        input=seed.network_config(network),
        capture_output=True, text=True, env={"PATH": "/usr/bin"}, check=True,
    )  # fmt: skip
    links = json.loads(done.stdout)
    uplink = links[f"eth0.{network.vlan}" if network.vlan else "eth0"]
    assert uplink.get("vlan_id") == network.vlan
    if network.static is None:
        assert [subnet["type"] for subnet in uplink["subnets"]] == ["dhcp4"]
    else:
        (subnet,) = uplink["subnets"]
        assert f"{subnet['address']}/{subnet['prefix']}" == str(network.static.address)
        assert [route["gateway"] for route in subnet["routes"]] == [str(network.static.gateway)]
        assert subnet.get("dns_nameservers", []) == [str(server) for server in network.static.dns]
    if network.vlan:
        assert links["eth0"]["subnets"] == []
    # Every word that cloud-init hands on to netplan as it stands.
    plan = json.loads(seed.network_config(network))["network"]
    assert ("wifis" in plan) == (network.wifi is not None)
    if network.wifi is not None:
        assert plan["wifis"]["wlan0"]["access-points"] == {network.wifi.ssid: {"password": network.wifi.key}}


def test_no_interface_is_waited_for_at_boot() -> None:
    for network in NETWORKS.values():
        plan = json.loads(seed.network_config(network))["network"]
        links = [link for kind in ("ethernets", "vlans", "wifis") for link in plan.get(kind, {}).values()]
        assert links
        assert all(link["optional"] for link in links)


def test_the_first_boot_is_started_at_each_boot_with_the_cards_digest_and_holds_up_nothing() -> None:
    config = json.loads(seed.user_data(kit(seed.Network()), DIGEST).split("\n", 2)[2])
    (command,) = config["bootcmd"]
    assert command[-2:] == ["/boot/firmware/diemcau/first-boot.sh", DIGEST]
    assert "--no-block" in command
    assert "runcmd" not in config


def test_without_a_key_nobody_can_log_in() -> None:
    for keys, sudo in (((), None), ((KEY,), "ALL=(ALL) NOPASSWD:ALL")):
        config = json.loads(seed.user_data(kit(seed.Network(), keys), DIGEST).split("\n", 2)[2])
        (user,) = config["users"]
        assert user["lock_passwd"] is True
        assert user.get("sudo") == sudo
        assert user.get("ssh_authorized_keys", []) == list(keys)
        assert config["ssh_pwauth"] is False


def test_the_kernels_line_keeps_what_was_there_and_names_one_instance() -> None:
    line = "console=tty1 root=PARTUUID=1-02 rootwait systemd.run=/boot/firstrun.sh ds=nocloud;i=rpi-imager-1"
    first = seed.kernel_line(line, "diemcau-xp-0417-1", wifi=True)
    assert first == (
        "console=tty1 root=PARTUUID=1-02 rootwait fsck.repair=yes ds=nocloud;i=diemcau-xp-0417-1 "
        "cfg80211.ieee80211_regdom=VN\n"
    )
    second = seed.kernel_line(first, "diemcau-xp-0417-2", wifi=False)
    assert second == (
        "console=tty1 root=PARTUUID=1-02 rootwait fsck.repair=yes ds=nocloud;i=diemcau-xp-0417-2\n"
    )


def _schema(file: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(file)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    return done.returncode, done.stdout

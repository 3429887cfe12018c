"""PURE: what cloud-init reads on the boot partition (NoCloud). JSON is YAML too: nothing to escape."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Host = ipaddress.IPv4Address | ipaddress.IPv6Address

CARD = "/boot/firmware/diemcau"
"""Where the kit sees what this puts on its boot partition."""
COUNTRY = "VN"
"""Whose rules the radio keeps."""


@dataclass(frozen=True)
class Static:
    address: Address
    gateway: Host
    dns: tuple[Host, ...]


@dataclass(frozen=True)
class Wifi:
    ssid: str
    key: str
    """64 hex digits, of the passphrase and the SSID: it opens this network and tells no passphrase."""

    @classmethod
    def of(cls, ssid: str, passphrase: str) -> Wifi:
        """IEEE 802.11i, annex H.4: PBKDF2 with 4096 rounds."""
        key = hashlib.pbkdf2_hmac("sha1", passphrase.encode(), ssid.encode(), 4096, 32)
        return cls(ssid, key.hex())


@dataclass(frozen=True)
class Network:
    """The cable: DHCP unless ``static``, tagged where there is a ``vlan``. Beside it Wi-Fi, by DHCP."""

    static: Static | None = None
    vlan: int | None = None
    wifi: Wifi | None = None


@dataclass(frozen=True)
class Technician:
    """The one account, without a password: where it has no keys, nobody can log in. Without any account
    cloud-init makes its own, and Raspberry Pi OS asks for a name on the screen."""

    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Kit:
    point: str
    locale: str
    timezone: str
    network: Network
    technician: Technician


def user_data(kit: Kit, digest: str) -> str:
    """``digest``: of SHA256SUMS, so that a card of two preparations, or a broken one, installs nothing."""
    config: dict[str, Any] = {
        "hostname": kit.point,
        "manage_etc_hosts": "localhost",
        "locale": kit.locale,
        "timezone": kit.timezone,
        "ssh_pwauth": False,
        "disable_root": True,
        "users": [_user(kit.technician)],
        # At each boot until the last step switches cloud-init off: runcmd is never run again where the plug
        # was pulled in the middle of it. It waits for cloud-init's own work, which waits for this: no --wait.
        "bootcmd": [
            [
                "systemd-run",
                "--no-block",
                "--collect",
                "--unit=diemcau-first-boot",
                "--property=Type=oneshot",
                "--property=After=cloud-final.service",
                "--property=StandardOutput=journal+console",
                "--property=TimeoutStartSec=45min",
                "/bin/sh",
                f"{CARD}/first-boot.sh",
                digest,
            ]
        ],
    }
    return f"#cloud-config\n# {kit.point}, made by `diemcau-fleet card`\n{_yaml(config)}"


def network_config(network: Network) -> str:
    """Netplan's version 2. No interface is waited for: a kit boots without a network too."""
    cable: dict[str, Any] = {"dhcp4": True, "optional": True}
    if network.static is not None:
        static = network.static
        cable = {
            "dhcp4": False,
            "dhcp6": False,
            "addresses": [str(static.address)],
            # Not "default": older readers of cloud-init's know no such network.
            "routes": [
                {"to": "::/0" if static.gateway.version == 6 else "0.0.0.0/0", "via": str(static.gateway)}
            ],
            "optional": True,
        }
        if static.dns:
            cable["nameservers"] = {"addresses": [str(server) for server in static.dns]}
    links: dict[str, Any] = {"version": 2, "ethernets": {"eth0": cable}}
    if network.vlan is not None:
        links["ethernets"] = {"eth0": {"dhcp4": False, "dhcp6": False, "link-local": [], "optional": True}}
        links["vlans"] = {f"eth0.{network.vlan}": {"id": network.vlan, "link": "eth0", **cable}}
    if network.wifi is not None:
        links["wifis"] = {
            "wlan0": {
                "dhcp4": True,
                "optional": True,
                "regulatory-domain": COUNTRY,
                "access-points": {network.wifi.ssid: {"password": network.wifi.key}},
            }
        }
    return _yaml({"network": links})


def meta_data(instance: str) -> str:
    return _yaml({"dsmode": "local", "instance-id": instance})


def instance(point: str, parts: Sequence[bytes]) -> str:
    """The same for the same card: prepared again, nothing changes; prepared otherwise, it is a new one."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return f"diemcau-{point}-{whole.hexdigest()[:12]}"


def kernel_line(line: str, instance: str, wifi: bool) -> str:
    """cmdline.txt, one line. An instance named here counts more than that of meta-data: Raspberry Pi Imager's
    own is taken away, else a card that it wrote would never be ours."""
    ours = ("ds=nocloud", "cfg80211.ieee80211_regdom=", "systemd.run")
    words = [word for word in line.split() if not word.startswith(ours)]
    if not any(word.startswith("fsck.repair=") for word in words):
        words.append("fsck.repair=yes")
    words.append(f"ds=nocloud;i={instance}")
    if wifi:
        words.append(f"cfg80211.ieee80211_regdom={COUNTRY}")
    return " ".join(words) + "\n"


def _user(technician: Technician) -> Mapping[str, object]:
    user = {
        "name": technician.name,
        "gecos": "Technician",
        "groups": ["adm", "audio", "sudo", "video"],
        "shell": "/bin/bash",
        "lock_passwd": True,
    }
    if technician.keys:
        user |= {"sudo": "ALL=(ALL) NOPASSWD:ALL", "ssh_authorized_keys": list(technician.keys)}
    return user


def _yaml(document: Mapping[str, object]) -> str:
    return json.dumps(document, ensure_ascii=True, indent=2) + "\n"

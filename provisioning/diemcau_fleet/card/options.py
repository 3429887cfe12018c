"""What ``card`` is asked for, each option checked by itself, and then against the others."""

from __future__ import annotations

import argparse
import base64
import binascii
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diemcau_fleet.arguments import is_address, number

from . import seed

if TYPE_CHECKING:
    from diemcau_agent.config import Settings

_KEY_KINDS = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_USER = re.compile(r"[a-z][a-z0-9-]{0,30}")
_LOCALE = re.compile(r"[a-z]{2,3}_[A-Z]{2}\.UTF-8")


class WrongOption(Exception):
    """What argparse cannot see."""


def add(card: argparse.ArgumentParser) -> None:
    card.description = (
        "Prepares the boot partition of a card with Raspberry Pi OS (trixie, 64 bit). Its first boot "
        "installs the package without a network, and the kit enrols by itself. Run again it changes nothing, "
        "or completes what was interrupted."
    )
    card.add_argument(
        "target", type=Path, metavar="TARGET", help="mounted boot partition, device of a card, or .img"
    )
    card.add_argument(
        "--kit", type=Path, required=True, metavar="DIR", help="as `diemcau-fleet kit add --out` makes it"
    )
    card.add_argument(
        "--package", type=Path, action="append", required=True, metavar="DEB",
        help="diemcau's arm64 package; others that it needs and the image has not, each with this option",
    )  # fmt: skip
    card.add_argument(
        "--address", type=_interface, metavar="ADDRESS/BITS", help="of the cable; default: DHCP"
    )
    card.add_argument("--gateway", type=_host, metavar="ADDRESS", help="with --address")
    card.add_argument(
        "--dns", type=_host, action="append", default=[], metavar="ADDRESS", help="with --address"
    )
    card.add_argument("--vlan", type=number(1, 4094), metavar="ID", help="the cable is tagged (802.1Q)")
    card.add_argument("--wifi", type=_ssid, metavar="SSID", help="beside the cable, by DHCP")
    card.add_argument("--wifi-password-file", type=Path, metavar="FILE", help="its WPA passphrase, one line")
    card.add_argument(
        "--ntp",
        type=_server,
        action="append",
        default=[],
        metavar="HOST",
        help="default: Debian's own servers",
    )
    card.add_argument(
        "--ssh-key", type=Path, action="append", default=[], metavar="FILE",
        help="public keys that may log in; without, SSH is off",
    )  # fmt: skip
    card.add_argument(
        "--ssh-user", type=_user, default="kythuat", metavar="NAME", help="default: %(default)s"
    )
    card.add_argument(
        "--locale", type=_locale, default="vi_VN.UTF-8", metavar="LOCALE", help="default: %(default)s"
    )
    card.add_argument(
        "--timezone", type=_zone, default="Asia/Ho_Chi_Minh", metavar="ZONE", help="default: %(default)s"
    )
    card.add_argument("--yes", action="store_true", help="do not ask whether a device is the right one")


def kit(arguments: argparse.Namespace, settings: Settings) -> seed.Kit:
    """Raises WrongOption, OSError."""
    keys = tuple(key for file in arguments.ssh_key for key in _public_keys(file))
    return seed.Kit(
        point=settings.point,
        locale=arguments.locale,
        timezone=arguments.timezone,
        network=seed.Network(_static(arguments, settings), arguments.vlan, _wifi(arguments)),
        technician=seed.Technician(arguments.ssh_user, keys),
    )


def _static(arguments: argparse.Namespace, settings: Settings) -> seed.Static | None:
    address, gateway, dns = arguments.address, arguments.gateway, tuple(arguments.dns)
    if address is None:
        if gateway is not None or dns:
            raise WrongOption(f"--{'gateway' if gateway else 'dns'}: is of use only with --address")
        return None
    if gateway is None:
        raise WrongOption("--gateway: is missing, and expected with --address")
    if gateway not in address.network or gateway == address.ip:
        raise WrongOption(f"--gateway: got {gateway}, expected another address of {address.network}")
    urls = [*settings.broker.urls, *([settings.enrolment.url] if settings.enrolment else [])]
    named = [host for host in (urlsplit(url).hostname or "" for url in urls) if not is_address(host)]
    if named and not dns:
        raise WrongOption(f"--dns: is missing; with --address nobody tells the kit where {named[0]} is")
    return seed.Static(address, gateway, dns)


def _wifi(arguments: argparse.Namespace) -> seed.Wifi | None:
    ssid, file = arguments.wifi, arguments.wifi_password_file
    if (ssid is None) != (file is None):
        raise WrongOption("--wifi and --wifi-password-file: expected both or neither")
    if ssid is None:
        return None
    passphrase = file.read_text(encoding="utf-8", errors="replace").rstrip("\r\n")
    if not (8 <= len(passphrase) <= 63 and passphrase.isascii() and passphrase.isprintable()):
        raise WrongOption(
            f"--wifi-password-file: {file}: expected one line of 8 to 63 printable ASCII characters"
        )
    return seed.Wifi.of(ssid, passphrase)


def _public_keys(file: Path) -> list[str]:
    keys: list[str] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if "PRIVATE KEY" in line:
            raise WrongOption(f"--ssh-key: {file}: is a private key; expected the public one (.pub)")
        if len(words) < 2 or words[0] not in _KEY_KINDS or not _holds(words[0], words[1]):
            raise WrongOption(f"--ssh-key: {file}: expected lines such as `ssh-ed25519 AAAA… name`")
        keys.append(line.strip())
    if not keys:
        raise WrongOption(f"--ssh-key: {file}: has no key in it")
    return keys


def _holds(kind: str, encoded: str) -> bool:
    """A key names its own kind, after four bytes of length."""
    try:
        return base64.b64decode(encoded, validate=True)[4:].startswith(kind.encode())
    except binascii.Error:
        return False


def _host(text: str) -> seed.Host:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an address such as 10.1.2.1") from None


def _interface(text: str) -> seed.Address:
    expected = "expected a host's address with its network, such as 10.1.2.3/24"
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, {expected}") from None
    network, address = found.network, found.ip
    ends = (network.network_address, network.broadcast_address) if network.num_addresses > 2 else ()
    if (
        "/" not in text
        or address in ends
        or address.is_loopback
        or address.is_multicast
        or address.is_unspecified
    ):
        raise argparse.ArgumentTypeError(f"got {text!r}, {expected}")
    return found


def _ssid(text: str) -> str:
    if not (1 <= len(text.encode()) <= 32 and text.isprintable()):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected 1 to 32 bytes of printable text")
    return text


def _server(text: str) -> str:
    if not (is_address(text) or _HOST.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a host's name or address")
    return text


def _user(text: str) -> str:
    if not _USER.fullmatch(text) or text in ("root", "diemcau"):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a name of a-z, 0-9 and -, not root nor diemcau"
        )
    return text


def _locale(text: str) -> str:
    if not _LOCALE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected one such as vi_VN.UTF-8")
    return text


def _zone(text: str) -> str:
    import zoneinfo

    if text not in zoneinfo.available_timezones():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected one such as Asia/Ho_Chi_Minh")
    return text

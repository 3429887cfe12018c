"""What the commands' options are checked with: argparse names the option and shows the message."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence


def fleet_id(text: str) -> str:
    from diemcau_agent.topics import ID_PATTERN, is_id

    if not is_id(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {ID_PATTERN}")
    return text


def number(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from {least} to {most}")
        return int(text)

    return whole


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def broker_address(text: str) -> object:
    return _address(text, ("mqtt", "mqtts", "wss"), "mqtt://, mqtts:// or wss://")


def mqtts_address(text: str) -> object:
    return _address(text, ("mqtts",), "mqtts://")


def _address(text: str, schemes: Sequence[str], expected: str) -> object:
    from diemcau_agent.address import Address

    try:
        address = Address.parse(text)
    except (KeyError, ValueError):
        address = None
    if address is None or address.scheme not in schemes or not address.host:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected} and a host")
    return address

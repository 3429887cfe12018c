"""``diemcau-fleet card``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_agent.exits import NOT, OK, USAGE

from . import options

if TYPE_CHECKING:
    from diemcau_agent.config import Settings
    from diemcau_fleet.office.ca import Commands

    from . import seed


def add(commands: Commands) -> None:
    card = commands.add_parser(
        "card", help="prepare a Raspberry Pi OS card, so that its first boot makes a kit of it"
    )
    options.add(card)


def run(arguments: argparse.Namespace) -> int:
    from .errors import CardError

    try:
        return _prepare(arguments)
    except options.WrongOption as error:
        return _told(error, USAGE)
    except CardError as error:
        return _told(error, NOT)
    except OSError as error:
        return _told(f"{error.filename}: {error.strerror}" if error.filename else error, NOT)


def _prepare(arguments: argparse.Namespace) -> int:
    from . import contents, write
    from .target import boot_partition

    settings, pieces = contents.of_kit(arguments.kit)
    kit = options.kit(arguments, settings)
    pieces |= contents.of_image(contents.image_files())
    pieces |= contents.of_packages(arguments.package)
    pieces |= contents.time_servers(arguments.ntp)
    pieces |= contents.login(kit.technician)

    def agreed(what: str) -> None:
        if not arguments.yes:
            _ask(what, settings.point)

    write.write(boot_partition(arguments.target, agreed), kit, pieces)
    _say(arguments.target, kit, settings, contents.TOKEN in pieces)
    return OK


def _ask(what: str, point: str) -> None:
    """The point, typed: a y is typed too soon."""
    from .errors import CardError

    if not sys.stdin.isatty():
        raise CardError(f"{what}: nobody is there to be asked; --yes where it is the right one")
    print(f"{what}\nIts boot partition will be changed. Type {point} to go on: ", end="", flush=True)
    if sys.stdin.readline().strip() != point:
        raise CardError("not agreed to: nothing was changed")


def _say(target: Path, kit: seed.Kit, settings: Settings, with_token: bool) -> None:
    network = kit.network
    cable = str(network.static.address) if network.static else "DHCP"
    print(f"{target}: {kit.point} at its first boot; cable: {cable}", end="")
    print(f", VLAN {network.vlan}" if network.vlan else "", end="")
    print(f", Wi-Fi {network.wifi.ssid}" if network.wifi else "", end="")
    print(f"; SSH: {kit.technician.name}, by key" if kit.technician.keys else "; SSH: off")
    if with_token:
        print(
            "The token on it can be read by whoever holds the card, until the first boot has taken it away."
        )
    elif settings.enrolment is not None:
        print("No token on it: the kit will say that it is not enrolled until it is given one.")


def _told(error: object, code: int) -> int:
    print(f"diemcau-fleet card: {error}", file=sys.stderr)
    return code

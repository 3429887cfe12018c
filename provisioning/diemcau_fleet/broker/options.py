"""The options of ``diemcau-fleet broker``. Imports nothing heavy: every call makes every parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from diemcau_fleet.arguments import fleet_id, mqtts_address, number

from .settings import CA, MQTTS_PORT, WSS_PORT, Bridge, Listen, Settings

FLEET = Path("/var/lib/diemcau-fleet")
OUT = Path("/etc/mosquitto/diemcau")


def add(broker: argparse.ArgumentParser) -> None:
    broker.description = (
        "Writes mosquitto's configuration, ACL and list of revoked certificates from the fleet's registry, "
        "whole or not at all; has the broker read them again; ends the connection of whoever was revoked and "
        "clears what is retained of it. Once, or with --follow for as long as it runs. See docs/broker.md."
    )
    broker.add_argument("--dir", type=Path, default=FLEET, metavar="DIR", help="default: %(default)s")
    files = broker.add_argument_group("files")
    files.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="default: %(default)s")
    files.add_argument(
        "--place",
        type=Path,
        metavar="DIR",
        help="what --out is called on the broker's machine, where --reload-command carries it there",
    )
    files.add_argument("--host-cert", type=Path, required=True, metavar="FILE", help="the broker's own")
    files.add_argument("--host-key", type=Path, required=True, metavar="FILE", help="which --user can read")
    files.add_argument("--user", default="mosquitto", help="as whom mosquitto runs; default: %(default)s")
    files.add_argument(
        "--state", type=Path, default=Path("/var/lib/mosquitto"), metavar="DIR", help="default: %(default)s"
    )
    files.add_argument(
        "--pid-file",
        type=Path,
        default=Path("/run/mosquitto/mosquitto.pid"),
        metavar="FILE",
        help="which mosquitto writes; default: %(default)s",
    )
    doors = broker.add_argument_group("where it listens")
    doors.add_argument(
        "--listen", type=_listen(MQTTS_PORT), action="append", metavar="HOST[:PORT]",
        help=f"mqtts, may be given several times; default: 0.0.0.0:{MQTTS_PORT}",
    )  # fmt: skip
    doors.add_argument(
        "--wss", type=_listen(WSS_PORT), action="append", default=[], metavar="HOST[:PORT]",
        help="MQTT in a WebSocket; mosquitto 2.0 asks no CRL there: rather listen with mqtts on 443",
    )  # fmt: skip
    bridge = broker.add_argument_group("a province's broker, bridged to the centre's")
    bridge.add_argument(
        "--bridge-to", type=mqtts_address, metavar="URL", help="such as mqtts://centre.example:8883"
    )
    bridge.add_argument("--bridge-id", type=fleet_id, metavar="ID", help="a service of the role bridge")
    bridge.add_argument("--bridge-ca", type=Path, metavar="FILE", help="whose certificate the centre has")
    bridge.add_argument("--bridge-cert", type=Path, metavar="FILE", help="its certificate")
    bridge.add_argument("--bridge-key", type=Path, metavar="FILE", help="and key")
    force = broker.add_argument_group("putting it in force")
    force.add_argument(
        "--follow", type=number(1, 240), nargs="?", const=30, metavar="SECONDS",
        help="look again and again until SIGTERM or SIGINT; default: every %(const)s s",
    )  # fmt: skip
    force.add_argument(
        "--reload-command", metavar="COMMAND", help="instead of SIGHUP to the process in --pid-file"
    )
    force.add_argument(
        "--evict-at", type=mqtts_address, metavar="URL",
        help="where a revoked member's connection is ended; default: the first --listen, on this machine",
    )  # fmt: skip


def settings(arguments: argparse.Namespace) -> Settings:
    """Raises ValueError that names the option."""
    bridge = None
    parts = ("bridge_to", "bridge_id", "bridge_cert", "bridge_key")
    missing = [f"--{part.replace('_', '-')}" for part in parts if getattr(arguments, part) is None]
    if 0 < len(missing) < len(parts):
        raise ValueError(f"{', '.join(missing)}: expected, where another --bridge- option is given")
    if not missing:
        place: Path = arguments.place or arguments.out
        to = arguments.bridge_to
        bridge = Bridge(
            arguments.bridge_id, to.host, to.port, arguments.bridge_ca or place / CA,
            arguments.bridge_cert, arguments.bridge_key,
        )  # fmt: skip
    return Settings(
        out=arguments.out,
        place=arguments.place or arguments.out,
        host_cert=arguments.host_cert,
        host_key=arguments.host_key,
        mqtts=tuple(arguments.listen or [Listen("0.0.0.0", MQTTS_PORT)]),  # noqa: S104 - a broker is for all
        wss=tuple(arguments.wss),
        user=arguments.user,
        state=arguments.state,
        pid_file=arguments.pid_file,
        bridge=bridge,
    )


def _listen(port: int) -> Callable[[str], Listen]:
    def listen(text: str) -> Listen:
        try:
            return Listen.parse(text, port)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return listen

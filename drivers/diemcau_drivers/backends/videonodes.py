"""Cameras as the kernel lists them in sysfs; nothing is opened. Standard library only.

USB cameras are told by vendor, product and port path, which stay the same across reboots; CSI
sensors by their place in the device tree, which is also libcamera's camera id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
I2C_ENTITY = re.compile(r"(?P<sensor>\w+) \d+-[0-9a-f]{4}")
"""A subdevice's name as v4l2_i2c_subdev_init makes it: driver, bus and address, "imx708 10-001a"."""


@dataclass(frozen=True, slots=True)
class VideoNode:
    """One /dev/videoN. ``usb`` is "vvvv:pppp:port path", None where it is no USB device's."""

    name: str
    path: Path
    usb: str | None

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.name} | ({} if self.usb is None else {"usb": self.usb})


@dataclass(frozen=True, slots=True)
class Sensor:
    """One CSI sensor. ``path`` is its device tree node as libcamera names it, "/base/soc/..."."""

    name: str
    path: str

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.name, "path": self.path}


def matches(identity: dict[str, str], wanted: str | None) -> bool:
    """Whether ``wanted`` (the configuration's, None = any) is a substring of one of the values."""
    return wanted is None or any(wanted in value for value in identity.values())


def video_node(wanted: str | None, sys: Path = SYS, dev: Path = Path("/dev")) -> VideoNode | None:
    """The V4L2 camera to use: the first USB one, or the first of any kind that ``wanted`` names.

    Only USB ones count by themselves: a Pi has many /dev/video nodes that are codecs and ISPs.
    """
    for node in _video_nodes(sys, dev):
        if matches(node.identity, wanted) and (node.usb is not None or wanted is not None):
            return node
    return None


def sensor(wanted: str | None, sys: Path = SYS) -> Sensor | None:
    """The CSI sensor to use: the first that ``wanted`` names."""
    return next((found for found in _sensors(sys) if matches(found.identity, wanted)), None)


def _video_nodes(sys: Path, dev: Path) -> Iterator[VideoNode]:
    for entry in _numbered(sys / "class/video4linux", "video"):
        # index 0 is the stream itself; a UVC camera's other nodes carry metadata (uvcvideo).
        if text(entry / "index") in ("0", None):
            yield VideoNode(
                text(entry / "name") or entry.name, dev / entry.name, usb_identity(entry / "device")
            )


def _sensors(sys: Path) -> Iterator[Sensor]:
    tree = (sys / "firmware/devicetree/base").resolve()
    for entry in _numbered(sys / "class/video4linux", "v4l-subdev"):
        named = I2C_ENTITY.fullmatch(text(entry / "name") or "")
        node = (entry / "device/of_node").resolve()
        # A lens motor sits on the same bus; only what sends pictures has a port.
        if named and any((node / port).is_dir() for port in ("port", "ports")):
            place = node.relative_to(tree) if node.is_relative_to(tree) else Path(node.name)
            yield Sensor(named["sensor"], f"/base/{place}")


def usb_identity(device: Path) -> str | None:
    """ "vvvv:pppp:port path" of the USB device that ``device`` (a sysfs directory) belongs to.

    The port path ("1-1.2") is the USB device's own directory name (kernel, Documentation/ABI, usb).
    """
    place = device.resolve()
    for above in (place, *place.parents):
        vendor, product = text(above / "idVendor"), text(above / "idProduct")
        if vendor and product:
            return f"{vendor}:{product}:{above.name}"
    return None


def text(path: Path) -> str | None:
    """A sysfs attribute without its line end; None where there is none or it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _numbered(directory: Path, prefix: str) -> list[Path]:
    """Entries ``prefix`` + number, in the order of their numbers."""
    try:
        entries = list(directory.iterdir())
    except OSError:
        return []
    numbered = [
        (int(entry.name.removeprefix(prefix)), entry)
        for entry in entries
        if entry.name.startswith(prefix) and entry.name.removeprefix(prefix).isdecimal()
    ]
    return [entry for _, entry in sorted(numbered)]

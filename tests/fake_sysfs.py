"""A /sys, /proc and /dev made for a test, as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path


class FakeSysfs:
    """A kernel's file systems below ``root``; each method plugs something in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys, self.proc, self.dev = root / "sys", root / "proc", root / "dev"
        for place in (self.sys, self.proc, self.dev):
            place.mkdir(parents=True)

    def write(self, path: str, content: str | bytes) -> Path:
        """``path`` below the root, with its directories."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def usb_device(self, port: str, usb_id: str) -> Path:
        """The directory of USB device ``port`` ("1-1.2"); returns that of its first interface."""
        vendor, product = usb_id.split(":")
        self.write(f"sys/devices/usb1/{port}/idVendor", f"{vendor}\n")
        self.write(f"sys/devices/usb1/{port}/idProduct", f"{product}\n")
        interface = self.sys / f"devices/usb1/{port}/{port}:1.0"
        interface.mkdir(parents=True, exist_ok=True)
        return interface

    def link(self, path: str, target: Path) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def usb_camera(self, number: int, name: str, usb_id: str, port: str, *, index: int = 0) -> Path:
        """Returns its node in /dev."""
        self.link(f"sys/class/video4linux/video{number}/device", self.usb_device(port, usb_id))
        self.write(f"sys/class/video4linux/video{number}/name", f"{name}\n")
        self.write(f"sys/class/video4linux/video{number}/index", f"{index}\n")
        return self.write(f"dev/video{number}", "")

    def platform_video(self, number: int, name: str) -> Path:
        """A codec's, an ISP's or vivid's node."""
        platform = self.sys / f"devices/platform/{name.replace(' ', '-')}"
        platform.mkdir(parents=True)
        self.link(f"sys/class/video4linux/video{number}/device", platform)
        self.write(f"sys/class/video4linux/video{number}/name", f"{name}\n")
        self.write(f"sys/class/video4linux/video{number}/index", "0\n")
        return self.write(f"dev/video{number}", "")

    def i2c_subdevice(self, number: int, name: str, tree_path: str, *, port: bool) -> None:
        """A sensor (with a port) or a lens motor (without) on a camera's I2C bus."""
        node = self.sys / "firmware/devicetree/base" / tree_path
        (node / "port" if port else node).mkdir(parents=True)
        self.link(f"sys/class/video4linux/v4l-subdev{number}/device/of_node", node)
        self.write(f"sys/class/video4linux/v4l-subdev{number}/name", f"{name}\n")

    def sound_card(
        self, number: int, card_id: str, line: str, pcms: tuple[str, ...], usb: Path | None = None
    ) -> None:
        """``line``: "driver - name". ``pcms``: "pcm0p" plays, "pcm0c" captures. ``usb``: its interface."""
        listing = self.proc / "asound/cards"
        before = listing.read_text() if listing.exists() else ""
        self.write("proc/asound/cards", f"{before}{number:2} [{card_id:15}]: {line}\n      {line} at usb\n")
        self.write(f"proc/asound/card{number}/id", f"{card_id}\n")
        for pcm in pcms:
            self.write(f"proc/asound/card{number}/{pcm}/info", "")
        if usb is not None:
            ids = [(usb.parent / name).read_text().strip() for name in ("idVendor", "idProduct")]
            self.write(f"proc/asound/card{number}/usbid", ":".join(ids) + "\n")
        self.link(f"sys/class/sound/card{number}/device", usb or self.sys / "devices")

    def connector(self, name: str, status: str, edid: bytes = b"") -> None:
        self.write(f"sys/class/drm/{name}/status", f"{status}\n")
        self.write(f"sys/class/drm/{name}/edid", edid)

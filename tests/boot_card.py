"""A card as Raspberry Pi Imager leaves it, a kit's files from the office, and ``diemcau-fleet card``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import signing
from cards import run
from diemcau_fleet import cli
from diemcau_fleet.card import boot
from diemcau_fleet.office import kit_settings

POINT = "xp-0417"
TOKEN = "b25lLXRpbWUtdG9rZW4tb2YtYS10ZXN0LWtpdA"
CMDLINE = (
    "console=tty1 root=PARTUUID=4d8fd085-02 rootfstype=ext4 fsck.repair=yes rootwait resize "
    "ds=nocloud;i=rpi-imager-1\n"
)
BOOT_FILES = {
    "cmdline.txt": CMDLINE,
    "config.txt": "[all]\n",
    "user-data": "#cloud-config\n",
    "meta-data": "x: y\n",
}


def kit_folder(folder: Path, point: str = POINT, token: str = TOKEN) -> Path:
    folder.mkdir()
    settings = kit_settings.text(
        point,
        ["hanoi"],
        [signing.public("fleet-1")],
        "https://est.example:8443",
        ["mqtts://broker.example:8883"],
    )
    (folder / "agent.toml").write_text(settings)
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (folder / "token").write_text(token + "\n")
    return folder


def deb(
    folder: Path, name: str = "diemcau", architecture: str = "arm64", version: str = "1.0", script: str = ""
) -> Path:
    """A real package: one file that holds its version, and ``script`` as its postinst."""
    tree = folder / f"{name}-{version}-{architecture}"
    for folder_in_it in ("DEBIAN", "usr/share"):
        (tree / folder_in_it).mkdir(parents=True)
    (tree / "usr/share" / name).write_text(f"{version}\n")
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        "Maintainer: t <t@t>\nDescription: t\n"
    )
    if script:
        (tree / "DEBIAN/postinst").write_text(script)
        (tree / "DEBIAN/postinst").chmod(0o755)
    made = folder / f"{name}_{version}_{architecture}.deb"
    run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(made))
    return made


def boot_folder(folder: Path) -> Path:
    """Where a desktop would have mounted the boot partition."""
    folder.mkdir()
    for name, text in BOOT_FILES.items():
        (folder / name).write_text(text)
    return folder


def boot_image(image: Path, size_mib: int = 64) -> Path:
    """A FAT32 partition, with nothing around it."""
    run("truncate", "-s", f"{size_mib}M", str(image))
    run("mkfs.vfat", "-F", "32", "-s", "1", "-n", "BOOTFS", str(image))
    for name, text in BOOT_FILES.items():
        put(image, name, text)
    return image


def card_image(image: Path) -> Path:
    """A whole card: partition table, the FAT partition at 4 MiB, nothing in the other."""
    part = boot_image(image.with_suffix(".part"))
    run("truncate", "-s", "96M", str(image))
    table = b"label: dos\nstart=8192, size=131072, type=c\nstart=139264, type=83\n"
    subprocess.run(["/usr/sbin/sfdisk", "--quiet", str(image)], input=table, check=True, capture_output=True)
    with image.open("r+b") as file:
        file.seek(4 * 2**20)
        file.write(part.read_bytes())
    return image


def put(image: Path, name: str, text: str) -> None:
    subprocess.run(["mcopy", "-o", "-i", str(image), "-", f"::{name}"], input=text.encode(), check=True)


def read(image: Path, name: str, offset: int = 0) -> bytes:
    return subprocess.run(
        ["mcopy", "-n", "-i", f"{image}@@{offset}", f"::{name}", "-"], check=True, capture_output=True
    ).stdout


class Prepare:
    """``diemcau-fleet card`` with this test's kit and package, and what it said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.kit = kit_folder(folder / "kit")
        self.package = deb(folder)
        self._capsys = capsys

    def __call__(self, target: Path, *words: str | Path) -> tuple[int, str, str]:
        """Its exit code, stdout and stderr."""
        given = ["card", str(target), *(str(word) for word in words)]
        if "--kit" not in given:
            given += ["--kit", str(self.kit)]
        if "--package" not in given:
            given += ["--package", str(self.package)]
        try:
            code = cli.main(given)
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def done(self, target: Path, *words: str | Path) -> str:
        code, out, err = self(target, *words)
        assert (code, err) == (0, ""), err
        return out


class PulledError(Exception):
    """The plug."""


class Cut:
    """A boot partition whose plug is pulled at one write; what was being written is half there."""

    def __init__(self, inner: boot.Boot, after: int) -> None:
        self._inner = inner
        self._left = after
        self.names, self.read, self.free = inner.names, inner.read, inner.free

    def put(self, name: str, data: bytes) -> None:
        if self._pulled():
            self._inner.put(name, data[: len(data) // 2])
            raise PulledError
        self._inner.put(name, data)

    def replace(self, name: str, data: bytes) -> None:
        if self._pulled():
            if isinstance(
                self._inner, boot.Fat
            ):  # in its last step: the new one stands beside, the old one is torn
                self._inner.put(f"{name}.new", data)
                self._inner.put(name, data[: len(data) // 2])
            raise PulledError
        self._inner.replace(name, data)

    def forget(self, name: str) -> None:
        if self._pulled():
            raise PulledError
        self._inner.forget(name)

    def _pulled(self) -> bool:
        self._left -= 1
        return self._left < 0

"""Which disk a card is: a real loop device is one, this machine's own are not, whatever they are used for."""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from pathlib import Path

import pytest

import boot_card
from boot_card import POINT, Prepare
from cards import run
from diemcau_fleet.card import target
from diemcau_fleet.card.errors import CardError

pytestmark = [pytest.mark.mounts, pytest.mark.fat]
OFFSET = 4 * 2**20


@pytest.fixture
def prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    return Prepare(tmp_path, capsys)


@pytest.fixture
def device(tmp_path: Path) -> Generator[Path]:
    """A card in a reader, as far as the kernel is concerned."""
    made = Path(run("losetup", "--find", "--show", str(boot_card.card_image(tmp_path / "card.img"))).strip())
    try:
        yield made
    finally:
        run("blockdev", "--setrw", str(made))  # the kernel keeps that for the next one
        run("losetup", "--detach", str(made))


def test_a_card_in_its_reader_is_prepared_once_it_is_agreed_to(
    prepare: Prepare, device: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = (tmp_path / "card.img").read_bytes()
    code, _, err = prepare(device)  # nobody there to be asked
    assert code == 1
    assert f"{device}: no model, 0.1 GiB: nobody is there to be asked; --yes" in err
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    code, out, err = prepare(device)
    assert (code, "not agreed to: nothing was changed" in err) == (1, True)
    assert f"Type {POINT} to go on" in out
    assert (tmp_path / "card.img").read_bytes() == before
    monkeypatch.setattr("sys.stdin", Terminal(f"{POINT}\n"))
    prepare.done(device)
    assert POINT.encode() in boot_card.read(tmp_path / "card.img", "user-data", OFFSET)


def test_a_disk_that_is_mounted_is_refused_even_with_yes(
    prepare: Prepare, device: Path, tmp_path: Path
) -> None:
    run("mkfs.ext4", "-q", str(device))
    (tmp_path / "in-use").mkdir()
    run("mount", str(device), str(tmp_path / "in-use"))
    try:
        code, _, err = prepare(device, "--yes")
    finally:
        run("umount", str(tmp_path / "in-use"))
    assert code == 1
    assert f"{device.name} is mounted at {tmp_path / 'in-use'}" in err


def test_a_write_protected_card_says_so(prepare: Prepare, device: Path) -> None:
    run("blockdev", "--setro", str(device))
    code, _, err = prepare(device, "--yes")
    assert code == 1
    assert "is write-protected; look at the switch" in err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"removable": "0"}, "sdx is a fixed disk, expected a card in a reader"),
        ({"swaps": "/dev/sdx2 partition 1 0 -2\n"}, "sdx2 is this machine's swap"),
        ({"mounts": "25 1 8:2 / / rw - ext4 /dev/sdx2 rw\n"}, "sdx2 is mounted at /"),
        ({"holder": "dm-0"}, "sdx2 is part of dm-0 (LVM, RAID or encryption)"),
        ({"ro": "1"}, "is write-protected"),
    ],
)
def test_any_use_of_any_partition_is_a_reason_against_the_whole_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: Path, change: dict[str, str], reason: str
) -> None:
    number = device.stat().st_rdev
    _kernel(monkeypatch, tmp_path, f"{os.major(number)}:{os.minor(number)}", change)
    with pytest.raises(CardError) as refused:
        target.card_in_reader(device)
    assert reason in str(refused.value)


def test_a_usb_reader_is_told_by_its_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: Path
) -> None:
    number = device.stat().st_rdev
    _kernel(monkeypatch, tmp_path, f"{os.major(number)}:{os.minor(number)}", {})
    assert target.card_in_reader(device) == f"{device}: MassStorage, 29.7 GiB"


def test_what_is_no_card_is_refused_with_what_it_is(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    gpt = bytearray(1024)
    gpt[510:512], gpt[450] = b"\x55\xaa", 0xEE
    for name, data, reason in (
        ("image.img.xz", b"\xfd7zXZ\0" + bytes(600), "is compressed; unpack it first"),
        ("zeros.img", bytes(1024), "no partition table and no FAT"),
        ("short.img", b"x", "no partition table and no FAT"),
        ("gpt.img", bytes(gpt), "first partition is of type 0xee, expected FAT"),
    ):
        (tmp_path / name).write_bytes(data)
        code, _, err = prepare(tmp_path / name)
        assert (code, reason in err) == (1, True), err
    for path, reason in (
        (tmp_path / "none", "no such directory, device or image"),
        (tmp_path / "empty", "has no cmdline.txt and no config.txt"),
        (Path("/dev/null"), "expected a directory, a block device or an image"),
        (Path("/boot"), "is this machine's own"),
    ):
        code, _, err = prepare(path)
        assert (code, reason in err) == (1, True), err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, numbers: str, change: dict[str, str]) -> None:
    """The kernel's tables of a USB card reader with a card of two partitions, but for one thing."""
    disk = tmp_path / "sys/block/sdx"
    for part, dev in ((disk, numbers), (disk / "sdx1", "8:1"), (disk / "sdx2", "8:2")):
        (part / "holders").mkdir(parents=True)
        (part / "dev").write_text(dev + "\n")
        if part != disk:
            (part / "partition").write_text(f"{part.name[-1]}\n")
    (disk / "device").mkdir()
    (disk / "device/model").write_text("MassStorage     \n")
    (disk / "size").write_text("62333952\n")
    (disk / "removable").write_text(change.get("removable", "1") + "\n")
    (disk / "ro").write_text(change.get("ro", "0") + "\n")
    if "holder" in change:
        (disk / "sdx2/holders" / change["holder"]).mkdir()
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    (tmp_path / "sys/dev/block" / numbers).symlink_to(disk)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(change.get("mounts", ""))
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n" + change.get("swaps", ""))
    monkeypatch.setattr(target, "SYS", tmp_path / "sys")
    monkeypatch.setattr(target, "PROC", tmp_path / "proc")

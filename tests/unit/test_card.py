"""``diemcau-fleet card``: onto a real FAT, never half, never onto anything that is no card."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

import boot_card
from boot_card import POINT, TOKEN, Cut, Prepare, PulledError
from diemcau_fleet.card import boot, contents, seed, write
from diemcau_fleet.card.errors import CardError

pytestmark = pytest.mark.fat
OFFSET = 4 * 2**20
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0pVgdxZ3nZDGOaO8y1r1rVZ5mHqf2Q0mC2m6Fj0b4X an@office"
KIT = seed.Kit(POINT, "vi_VN.UTF-8", "Asia/Ho_Chi_Minh", seed.Network(), seed.Technician("kythuat", ()))


@pytest.fixture
def prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    return Prepare(tmp_path, capsys)


def test_a_card_carries_kit_package_and_seed_and_boots_as_a_new_instance(
    prepare: Prepare, tmp_path: Path
) -> None:
    image = boot_card.card_image(tmp_path / "card.img")
    said = prepare.done(image, "--ntp", "ntp.example")
    assert f"{POINT} at its first boot; cable: DHCP; SSH: off" in said
    assert "can be read by whoever holds the card" in said

    def on_card(name: str) -> bytes:
        return boot_card.read(image, name, OFFSET)

    assert on_card("diemcau/kit/token").decode().strip() == TOKEN
    assert on_card("diemcau/kit/agent.toml") == (prepare.kit / "agent.toml").read_bytes()
    assert on_card(f"diemcau/packages/{prepare.package.name}") == prepare.package.read_bytes()
    assert (
        on_card("diemcau/files/etc/systemd/timesyncd.conf.d/60-servers.conf") == b"[Time]\nNTP=ntp.example\n"
    )
    sums = on_card("diemcau/SHA256SUMS")
    for line in sums.decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(on_card(f"diemcau/{name}")).hexdigest() == digest
    assert hashlib.sha256(sums).hexdigest().encode() in on_card("user-data")
    instance = json.loads(on_card("meta-data"))["instance-id"]
    line = on_card("cmdline.txt").decode()
    assert line == boot_card.CMDLINE.replace("ds=nocloud;i=rpi-imager-1", f"ds=nocloud;i={instance}")
    assert line.count("\n") == 1


def test_prepared_again_a_card_is_the_same_to_the_last_byte(prepare: Prepare, tmp_path: Path) -> None:
    image = boot_card.boot_image(tmp_path / "boot.img")
    prepare.done(image)
    before = image.read_bytes()
    prepare.done(image)
    assert image.read_bytes() == before


def test_prepared_for_another_kit_a_card_keeps_nothing_of_the_first(prepare: Prepare, tmp_path: Path) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    prepare.done(folder, "--ssh-key", _file(tmp_path / "key.pub", ED25519), "--ntp", "ntp.example")
    first = json.loads((folder / "meta-data").read_text())
    (prepare.kit / "token").unlink()
    said = prepare.done(folder)
    assert "No token on it" in said
    assert json.loads((folder / "meta-data").read_text()) != first
    assert not [
        path for path in folder.rglob("*") if path.is_file() and TOKEN in path.read_text(errors="replace")
    ]
    assert not list(folder.rglob("60-servers.conf"))
    assert not list(folder.rglob("sshd_config.d/*"))


@pytest.mark.parametrize("kind", ["mounted", "image"])
def test_a_plug_pulled_anywhere_leaves_a_card_that_is_not_taken_for_whole_and_the_next_run_completes_it(
    prepare: Prepare, tmp_path: Path, kind: str
) -> None:
    _, pieces = contents.of_kit(prepare.kit)
    pieces |= contents.of_image(contents.image_files()) | contents.of_packages([prepare.package])
    whole = boot.Mounted(boot_card.boot_folder(tmp_path / "whole"))
    write.write(whole, KIT, pieces)
    steps, cuts = 0, 0
    target = tmp_path / "cut"
    if kind == "mounted":
        boot_card.boot_folder(target)
    else:
        boot_card.boot_image(target)
    while True:
        cutting = Cut(_opened(target, kind), steps)
        try:
            write.write(cutting, KIT, pieces)
        except PulledError:
            cuts += 1
        else:
            break
        at_once = _opened(target, kind)
        assert at_once.read("cmdline.txt").decode().startswith("console=tty1 root=PARTUUID=4d8fd085-02 ")
        if _believed(at_once):
            assert all(at_once.read(f"{write.FOLDER}/{name}") == data for name, data in pieces.items())
        steps += 1 if kind == "mounted" else 4
    assert cuts >= 3
    last = _opened(target, kind)
    assert last.names() == whole.names()
    assert {name: last.read(name) for name in last.names()} == {
        name: whole.read(name) for name in whole.names()
    }


def _opened(target: Path, kind: str) -> boot.Boot:
    return boot.Mounted(target) if kind == "mounted" else boot.Fat(target, 0)


def _believed(card: boot.Boot) -> bool:
    """As first-boot.sh does: the digest that user-data gives it, and the sums."""
    given = re.search(rb'"([0-9a-f]{64})"', card.read("user-data"))
    if given is None or f"{write.FOLDER}/SHA256SUMS" not in card.names():
        return False
    sums = card.read(f"{write.FOLDER}/SHA256SUMS")
    if hashlib.sha256(sums).hexdigest() != given[1].decode():
        return False
    lines = [line.split("  ") for line in sums.decode().splitlines()]
    return all(
        hashlib.sha256(card.read(f"{write.FOLDER}/{name}")).hexdigest() == digest for digest, name in lines
    )


def test_a_card_that_has_been_a_kit_is_not_prepared_again(prepare: Prepare, tmp_path: Path) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    prepare.done(folder)
    (folder / "diemcau/result.txt").write_text("Installed\n")
    code, _, err = prepare(folder)
    assert code == 1
    assert "has been a kit's already" in err


def test_what_does_not_fit_is_refused_before_anything_is_written(prepare: Prepare, tmp_path: Path) -> None:
    image = boot_card.boot_image(tmp_path / "boot.img", size_mib=40)
    boot_card.put(image, "kernel8.img", "x" * 33 * 2**20)
    before = image.read_bytes()
    code, _, err = prepare(image)
    assert code == 1
    assert re.search(r"\d MiB free on the boot partition, expected 8 at least", err)
    assert image.read_bytes() == before


WRONG_OPTIONS = {
    ("--address", "10.1.2.3"): "such as 10.1.2.3/24",
    ("--address", "10.1.2.0/24"): "such as 10.1.2.3/24",
    ("--address", "10.1.2.255/24"): "such as 10.1.2.3/24",
    ("--address", "127.0.0.1/8"): "such as 10.1.2.3/24",
    ("--address", "10.1.2.3/24"): "--gateway: is missing",
    ("--gateway", "10.1.2.1"): "--gateway: is of use only with --address",
    ("--dns", "10.1.1.1"): "--dns: is of use only with --address",
    ("--dns", "dns.example"): "expected an address",
    ("--address", "10.1.2.3/24", "--gateway", "10.1.3.1"): "expected another address of 10.1.2.0/24",
    ("--address", "10.1.2.3/24", "--gateway", "10.1.2.3"): "expected another address of 10.1.2.0/24",
    ("--address", "10.1.2.3/24", "--gateway", "10.1.2.1"): "nobody tells the kit where broker.example is",
    ("--vlan", "0"): "from 1 to 4094",
    ("--vlan", "4095"): "from 1 to 4094",
    ("--wifi", "hội trường"): "expected both or neither",
    ("--wifi", "x" * 33): "expected 1 to 32 bytes",
    ("--ntp", "ntp example"): "expected a host's name or address",
    ("--timezone", "Hanoi"): "such as Asia/Ho_Chi_Minh",
    ("--locale", "vi"): "such as vi_VN.UTF-8",
    ("--ssh-user", "root"): "not root nor diemcau",
    ("--ssh-key", "/nonexistent/key.pub"): "/nonexistent/key.pub: No such file",
    ("--package", "/nonexistent.deb"): "/nonexistent.deb: no such file",
    ("--package", __file__): "expected a Debian package",
    ("--kit", "/nonexistent"): "/nonexistent/agent.toml: cannot be read",
}


@pytest.mark.parametrize(("words", "reason"), WRONG_OPTIONS.items(), ids=lambda value: " ".join(value))
def test_a_wrong_option_is_named_with_what_is_expected_and_changes_nothing(
    prepare: Prepare, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    code, out, err = prepare(folder, *words)
    assert code in (1, 2)
    assert out == ""
    assert reason in err
    assert {path.name: path.read_text() for path in folder.iterdir()} == boot_card.BOOT_FILES


def test_the_kits_files_are_judged_as_the_kit_will_judge_them(prepare: Prepare, tmp_path: Path) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    good = {path.name: path.read_text() for path in prepare.kit.iterdir()}
    for name, text, reason in (
        ("agent.toml", good["agent.toml"].replace(POINT, "XP 0417"), "agent.toml: point: got"),
        ("agent.toml", good["agent.toml"].split("[enrolment]")[0], "agent.toml has no [enrolment]"),
        ("token", "two words", "token: expected one word"),
        ("token", "", "token: expected one word"),
        ("ca.pem", None, "ca.pem: is not there, but agent.toml's enrolment.ca_file names it"),
    ):
        path = prepare.kit / name
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        code, _, err = prepare(folder)
        assert (code, reason in err) == (1, True), err
        path.write_text(good[name])
    prepare.done(folder)


def test_a_package_of_another_machine_or_without_diemcau_is_refused(prepare: Prepare, tmp_path: Path) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    other, foreign = boot_card.deb(tmp_path, "libportaudio2"), boot_card.deb(tmp_path, architecture="amd64")
    for words, reason in (
        (["--package", foreign], "got architecture 'amd64', expected arm64"),
        (["--package", other], "--package: got libportaudio2, expected diemcau's own among them"),
        (["--package", other, "--package", other], "libportaudio2 is given twice"),
    ):
        code, _, err = prepare(folder, *words)
        assert (code, reason in err) == (1, True), err
    prepare.done(folder, "--package", other, "--package", prepare.package)
    assert {path.name for path in (folder / "diemcau/packages").iterdir()} == {
        other.name,
        prepare.package.name,
    }


def test_a_private_key_never_gets_onto_a_card(prepare: Prepare, tmp_path: Path) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    for text, reason in (
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nAAAA\n", "is a private key"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "expected lines such as"),
        ("ssh-ed25519 %%%", "expected lines such as"),
        ("# nothing\n", "has no key in it"),
    ):
        code, _, err = prepare(folder, "--ssh-key", _file(tmp_path / "key", text))
        assert (code, reason in err) == (2, True), err


def test_a_wifi_passphrase_is_on_no_card_only_the_key_made_of_it(prepare: Prepare, tmp_path: Path) -> None:
    folder = boot_card.boot_folder(tmp_path / "bootfs")
    prepare.done(folder, "--wifi", "IEEE", "--wifi-password-file", _file(tmp_path / "psk", "password\n"))
    assert "password\n" not in "".join(path.read_text() for path in folder.glob("*-*"))
    # IEEE 802.11-2020, J.4.2, first test case.
    expected = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"  # pragma: allowlist secret
    points = json.loads((folder / "network-config").read_text())["network"]["wifis"]["wlan0"]["access-points"]
    assert points == {"IEEE": {"password": expected}}
    assert "cfg80211.ieee80211_regdom=VN" in (folder / "cmdline.txt").read_text()
    for bad in ("short", "x" * 64, "mật khẩu dài", "two\nlines of it"):
        code, _, err = prepare(folder, "--wifi", "IEEE", "--wifi-password-file", _file(tmp_path / "psk", bad))
        assert code == 2
        assert "8 to 63 printable ASCII" in err


def test_a_folder_that_mtools_cannot_read_is_told_in_one_line(tmp_path: Path) -> None:
    torn = boot_card.boot_image(tmp_path / "boot.img")
    with torn.open("r+b") as file:
        file.seek(11)
        file.write(b"\0\0")
    with pytest.raises(CardError, match=r"boot\.img: mdir: "):
        boot.Fat(torn, 0)


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path

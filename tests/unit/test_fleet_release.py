"""``diemcau-fleet release``: what the centre signs is what a kit takes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from diemcau_agent.update import release
from diemcau_fleet.cli import main


def package(folder: Path, name: str = "diemcau", version: str = "1.2.0", arch: str = "arm64") -> Path:
    tree = folder / f"tree-{version}-{arch}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: n <n@e>\nDescription: d\n"
    )
    built = folder / f"{name}_{version}_{arch}.deb"
    argv = ("dpkg-deb", "--root-owner-group", "--build", str(tree), str(built))
    subprocess.run(argv, check=True, capture_output=True)
    return built


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """Its file, and its public half."""
    path = tmp_path / "release.key"
    assert main(["release", "keygen", str(path)]) == 0
    return path, capsys.readouterr().out.strip()


def test_what_is_signed_says_what_the_package_says_and_its_hash(
    tmp_path: Path, key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    deb = package(tmp_path)
    path, public = key
    assert path.stat().st_mode & 0o777 == 0o600
    assert main(["release", "sign", str(deb), "--key", str(path), "--serial", "7"]) == 0
    told = json.loads(capsys.readouterr().out)
    signed = release.read((tmp_path / f"{deb.name}.jws").read_bytes(), [public])
    sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
    assert (signed.version, signed.arch, signed.sha256) == ("1.2.0", "arm64", sha256)
    assert (signed.size, signed.serial, signed.downgrade) == (deb.stat().st_size, 7, False)
    assert told == {
        "version": "1.2.0", "sha256": sha256, "serial": 7, "arch": "arm64", "jws": f"{deb}.jws",
    }  # fmt: skip
    assert main(["release", "sign", str(deb), "--key", str(path), "--serial", "8", "--downgrade"]) == 0
    assert release.read((tmp_path / f"{deb.name}.jws").read_bytes(), [public]).downgrade


@pytest.mark.parametrize(
    ("name", "version", "arch", "why"),
    [
        ("sudo", "1.2.0", "arm64", "package: got"),
        ("diemcau", "1:1.2.0", "arm64", "version: got"),
        ("diemcau", "1.2.0", "riscv64", "arch: got"),
    ],
)
def test_what_no_kit_would_take_is_not_signed(
    tmp_path: Path, key: tuple[Path, str], capsys: pytest.CaptureFixture[str],
    name: str, version: str, arch: str, why: str,
) -> None:  # fmt: skip
    deb = package(tmp_path, name, version, arch)
    assert main(["release", "sign", str(deb), "--key", str(key[0]), "--serial", "7"]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / f"{deb.name}.jws").exists()


def test_what_is_no_package_or_no_key_is_said(
    tmp_path: Path, key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.deb"
    text.write_text("no package")
    assert main(["release", "sign", str(text), "--key", str(key[0]), "--serial", "7"]) == 2
    assert "text.deb" in capsys.readouterr().err
    assert main(["release", "sign", str(package(tmp_path)), "--key", str(text), "--serial", "7"]) == 1
    assert "no private key" in capsys.readouterr().err
    assert main(["release", "keygen", str(key[0])]) == 1
    assert "there is a key already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["release", "sign", str(text), "--key", str(key[0]), "--serial", "0"])

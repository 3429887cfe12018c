"""The package as it is built: what is in it and what is not, its fields, its size, the same bytes each time.
What it does to a kit: tests/package (``make test-package``)."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = str(ROOT / "provisioning/package/build.sh")
OURS = {"diemcau_agent", "diemcau_drivers", "diemcau"}
CENTRE = ("broker", "collector", "est", "reflector")
pytestmark = [pytest.mark.deb, pytest.mark.timeout(90)]
"""pip fetches a dozen wheels from this machine's mirror, once a run."""


def build(out: Path, package: str = "diemcau", **settings: str) -> Path:
    ended = subprocess.run(
        [BUILD, package],
        env={**os.environ, "OUT": str(out), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


def said(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def contents(deb: Path) -> dict[str, tarfile.TarInfo]:
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        return {member.name.removeprefix("."): member for member in tree if not member.isdir()}


@pytest.fixture(scope="module", params=["amd64", "arm64"])
def arch(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory, arch: str) -> Path:
    return build(tmp_path_factory.mktemp("deb"), ARCH=arch)


def test_a_kit_gets_its_own_files_and_none_of_the_simulator_the_tests_and_the_centre(
    deb: Path, arch: str
) -> None:
    files = contents(deb)
    wheels = {name for name in files if name.startswith("/usr/share/diemcau/wheelhouse/")}
    units = {name for name in files if name.startswith("/usr/lib/systemd/system/")}
    rest = set(files) - wheels - units
    assert rest == {
        "/etc/diemcau/agent.toml",
        "/usr/bin/diemcau-agent",
        "/usr/lib/sysusers.d/diemcau.conf",
        "/usr/lib/tmpfiles.d/diemcau.conf",
        "/usr/lib/udev/rules.d/60-diemcau.rules",
        "/usr/share/diemcau/install-venv",
        "/usr/share/diemcau/requirements.txt",
        "/usr/share/doc/diemcau/changelog.gz",
        "/usr/share/doc/diemcau/copyright",
        "/usr/share/lintian/overrides/diemcau",
    }
    assert "/usr/lib/systemd/system/diemcau-agent.service" in units
    assert not [unit for unit in units for name in CENTRE if f"diemcau-{name}." in unit]
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[arch]
    tags = {name.removesuffix(".whl").rsplit("-", 1)[1] for name in wheels}
    assert all(tag == "any" or machine in tag for tag in tags), tags
    names = {Path(name).name.split("-")[0] for name in wheels}
    assert {"diemcau", "msgspec", "cryptography", "pynacl", "paho_mqtt", "psutil"} <= names
    assert not names & {"diemcau_sim", "diemcau_fleet", "numpy", "pillow", "aiohttp", "pytest", "rich"}


def test_for_every_python_of_the_two_debians_there_is_a_wheel(deb: Path) -> None:
    compiled: dict[str, set[str]] = {}
    for name in contents(deb):
        if name.endswith(".whl") and not name.endswith("-any.whl"):
            project, _, python, abi, _ = Path(name).name.split("-")
            compiled.setdefault(project, set()).add("abi3" if abi == "abi3" else python)
    assert compiled
    assert all(tags in ({"abi3"}, {"cp311", "cp313"}) for tags in compiled.values()), compiled


def test_all_is_roots_nothing_has_a_special_bit_and_only_the_settings_are_kept_from_others(deb: Path) -> None:
    for name, member in contents(deb).items():
        assert (member.uid, member.gid) == (0, 0), name
        if member.issym():
            continue
        expected = {"/etc/diemcau/agent.toml": 0o640, "/usr/share/diemcau/install-venv": 0o755}.get(
            name, 0o644
        )
        assert member.mode == expected, name


def test_no_key_and_no_host_is_in_it(deb: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tmp_path / "tree"], check=True)
    (ours,) = (tmp_path / "tree/usr/share/diemcau/wheelhouse").glob("diemcau-*.whl")
    with zipfile.ZipFile(ours) as wheel:
        assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == OURS
        contained = {name: wheel.read(name) for name in wheel.namelist()}
    for file in (tmp_path / "tree").rglob("*"):
        if file.is_file() and not file.is_symlink():
            contained[str(file)] = file.read_bytes()
    for name, content in contained.items():
        assert b"PRIVATE" + b" KEY-----" not in content, name
        assert str(ROOT).encode() not in content, name


def test_its_fields_say_what_apt_has_to_have(deb: Path, arch: str) -> None:
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", said("dpkg-deb", "--field", deb), re.MULTILINE))
    source = (ROOT / "agent/diemcau_agent/__init__.py").read_text()
    assert f'__version__ = "{fields["Version"]}"' in source
    assert fields["Architecture"] == arch
    depends = {word.split(" ")[0] for word in fields["Depends"].split(", ")}
    assert {
        "python3",
        "python3-pip-whl",
        "python3-numpy",
        "python3-pil",
        "libportaudio2",
        "v4l-utils",
    } <= depends
    assert said("dpkg-deb", "--info", deb, "conffiles") == "/etc/diemcau/agent.toml\n"
    for script in ("postinst", "prerm", "postrm"):
        assert not re.search(r"@[A-Z]+@", said("dpkg-deb", "--info", deb, script)), script


def test_it_is_small(deb: Path) -> None:
    """A line of 1 Mbit/s carries it in some 80 s."""
    assert deb.stat().st_size < 10_000_000
    assert int(said("dpkg-deb", "--field", deb, "Installed-Size")) < 10_000


@pytest.mark.parametrize("arch", ["arm64"], indirect=True)
def test_lintian_finds_nothing_that_is_not_explained(deb: Path) -> None:
    as_root = ("--allow-root",) if os.getuid() == 0 else ()
    looked = subprocess.run(
        ["lintian", *as_root, "--fail-on", "error,warning", deb], capture_output=True, text=True, check=False
    )
    assert looked.returncode == 0, looked.stdout + looked.stderr


@pytest.mark.parametrize("arch", ["arm64"], indirect=True)
def test_the_same_source_makes_the_same_bytes(deb: Path, arch: str, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        again = build(tmp_path, ARCH=arch)
    finally:
        os.umask(umask)
    assert again.name == deb.name
    assert again.read_bytes() == deb.read_bytes()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"ARCH": "riscv64"}, 'ARCH: got "riscv64"'), ({"VERSION": "new"}, 'VERSION: got "new"')],
)
def test_what_cannot_be_built_is_told(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OUT": str(tmp_path), **settings}
    ended = subprocess.run([BUILD], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert list(tmp_path.iterdir()) == []

"""The package on Debians for arm64, emulated (qemu-user) and without a network: its wheelhouse is whole, each
wheel of it runs, and so does the agent. What dpkg does to units, users and state is tried on amd64
(test_installed.py); a systemd, a Pi's kernel and its devices are not here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from debs import BACKENDS, SETTINGS, built, root

# From nothing two Debians and a package are made, then a minute of emulation each; three on a busy machine.
pytestmark = [pytest.mark.arm64, pytest.mark.timeout(600)]
SUITES = ("bookworm", "trixie")
AARCH64 = 183
"""ELF's e_machine."""
# All mounts are gone with the namespace. Where the kernel does not know arm64 yet, it is told by qemu's own
# rule, whose flag F has it open the emulator now: the root needs none. No /dev but what every program wants.
ENTER = """
cd "$0"
binfmt=/proc/sys/fs/binfmt_misc
if ! chroot . /bin/true 2>/dev/null; then
    [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
    sed 's/^:qemu-aarch64:/:diemcau-arm64:/' /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register ||
        [ -e $binfmt/diemcau-arm64 ]
    chroot . /bin/true
fi
mkdir -p proc dev
mount -t proc proc proc
mount -t tmpfs tmpfs dev
mkdir dev/shm
for node in null zero full random urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done
exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \
    DEBIAN_FRONTEND=noninteractive "$@"
"""
# The default processor signs the return addresses of trixie's programs, in bookworm's qemu six times slower.
# This one is a Pi 4's; what runs on it runs on a Pi 5. `env -i`, in install-venv too, must not forget it.
ENV = """#!/bin/sh
if [ "$1" = -i ]; then shift && set -- -i QEMU_CPU=cortex-a72 "$@"; fi
exec /usr/bin/env.debian "$@"
"""
IMPORT = """
import importlib, importlib.machinery, importlib.metadata, json, sys

(place,) = [path for path in sys.path if path.startswith("/opt/diemcau/")]
imported = {}
for wheel in importlib.metadata.distributions(path=[place]):
    names = set()
    for file in wheel.files:
        compiled = [end for end in importlib.machinery.EXTENSION_SUFFIXES if file.name.endswith(end)]
        if compiled:
            names.add(".".join((*file.parts[:-1], file.name.removesuffix(compiled[0]))))
        elif len(file.parts) == 1 and file.suffix == ".py":
            names.add(file.stem)
        elif len(file.parts) == 2 and file.name == "__init__.py":
            names.add(file.parts[0])
    for name in names:
        importlib.import_module(name)
    imported[wheel.name.lower().replace("-", "_")] = sorted(names)
print(json.dumps(imported))
"""
AGENT = """
as="setpriv --reuid=diemcau --regid=diemcau --init-groups"
install -d -o diemcau -g diemcau -m 700 /run/diemcau /var/lib/diemcau
$as diemcau-agent run --config /etc/diemcau/trial.toml 2>/run/agent.log & agent=$!
code=3
while [ $code = 3 ] && kill -0 $agent; do
    code=0
    $as diemcau-agent status --json >/run/status || code=$?
done
kill -TERM $agent && wait $agent || { cat /run/agent.log; exit 1; }
cat /run/status
"""


class Emulated:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *argv: str) -> str:
        """What ``argv`` prints; with stderr by AssertionError where it fails."""
        ended = subprocess.run(
            ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
             "sh", "-euc", ENTER, str(self.folder), *argv),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, f"{shlex.join(argv)}: {ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def python(self, program: str, *argv: str) -> str:
        return self.run(f"/opt/diemcau/{self.version}/bin/python", "-P", "-c", program, *argv)

    @property
    def version(self) -> str:
        return (self.folder / "opt/diemcau/bin").readlink().parts[0]

    @property
    def packages(self) -> Path:
        """The venv's, seen from here."""
        (found,) = (self.folder / "opt/diemcau" / self.version / "lib").glob("python3.*/site-packages")
        return found

    @property
    def wheels(self) -> list[Path]:
        return sorted((self.folder / "usr/share/diemcau/wheelhouse").iterdir())


def _install(suite: str, deb: Path, folder: Path) -> Emulated:
    """Debian's own are unpacked, not configured: to dpkg they are not there."""
    subprocess.run(("cp", "--archive", root(suite, ARCH="arm64"), folder), check=True)
    env = folder / "usr/bin/env"
    env.rename(folder / "usr/bin/env.debian")
    env.write_text(ENV)
    env.chmod(0o755)
    shutil.copy(deb, folder / "root")
    emulated = Emulated(folder)
    assert emulated.run("uname", "-m") == "aarch64\n"
    interfaces = emulated.run("cat", "/proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    emulated.run("ldconfig")
    emulated.run("dpkg", "--force-depends", "--install", f"/root/{deb.name}")
    return emulated


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Emulated]]:
    """Of each suite one, side by side."""
    folder = tmp_path_factory.mktemp("arm64")
    deb = built(folder, ARCH="arm64")
    with ThreadPoolExecutor() as pool:
        kits = [pool.submit(_install, suite, deb, folder / suite) for suite in SUITES]
    try:
        yield dict(zip(SUITES, (kit.result() for kit in kits), strict=True))
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=SUITES)
def kit(request: pytest.FixtureRequest, installed: dict[str, Emulated]) -> Emulated:
    return installed[request.param]


def test_dpkg_holds_it_as_installed_and_its_program_tells_its_version(kit: Emulated) -> None:
    held = kit.run("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Architecture}", "diemcau")
    assert held == "installed arm64"
    assert kit.run("dpkg", "--verify", "diemcau") == ""
    assert kit.run("/opt/diemcau/bin/diemcau-agent", "--version") == f"diemcau-agent {kit.version}\n"


def test_nothing_of_the_wheelhouse_is_left_out_but_what_is_for_the_other_python(kit: Emulated) -> None:
    """Every file of every wheel is there, byte by byte."""
    ours = kit.packages.parent.name.removeprefix("python").replace(".", "")
    other = {"311": "cp313", "313": "cp311"}[ours]
    for path in kit.wheels:
        _, _, python, abi, _ = path.name.split("-")
        if python == other and abi == other:
            continue
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if name.endswith(("/", ".dist-info/RECORD")):
                    continue
                assert ".data/" not in name, f"{path.name}: {name} goes elsewhere than below site-packages"
                assert (kit.packages / name).read_bytes() == wheel.read(name), f"{path.name}: {name}"


def test_every_wheel_is_imported_with_each_compiled_module_of_it(kit: Emulated) -> None:
    imported = json.loads(kit.python(IMPORT))
    assert set(imported) == {path.name.split("-")[0].lower() for path in kit.wheels}
    assert all(imported.values()), imported
    names = {name for found in imported.values() for name in found}
    assert {"_cffi_backend", "cryptography.hazmat.bindings._rust", "msgspec._core", "nacl._sodium"} <= names
    assert {"diemcau_agent", "diemcau_drivers", "psutil", "sounddevice"} <= names


def test_all_that_is_compiled_is_for_arm64(kit: Emulated) -> None:
    compiled: dict[str, int] = {}
    for file in kit.packages.rglob("*"):
        if file.is_file() and (head := file.read_bytes()[:20])[:4] == b"\x7fELF":
            compiled[str(file.relative_to(kit.packages))] = int.from_bytes(head[18:20], "little")
    assert {name: machine for name, machine in compiled.items() if machine != AARCH64} == {}
    assert {file.name for file in kit.packages.rglob("*.so*")} <= {Path(name).name for name in compiled}
    assert compiled


def test_the_agent_checks_settings_runs_answers_and_ends(kit: Emulated) -> None:
    settings = kit.folder / "etc/diemcau/trial.toml"
    settings.write_text(SETTINGS.replace("xp-0417", "not a point"))
    with pytest.raises(AssertionError, match=r'point: .*"not a point"'):
        kit.run("diemcau-agent", "check-config", "/etc/diemcau/trial.toml")
    settings.write_text(SETTINGS)
    assert "ok, point xp-0417" in kit.run("diemcau-agent", "check-config", "/etc/diemcau/trial.toml")
    status = json.loads(kit.run("sh", "-eu", "-c", AGENT))
    assert (status["birth"]["point"], status["birth"]["hardware"]["model"]) == ("xp-0417", "aarch64")
    assert status["birth"]["software"]["version"] == kit.version


@pytest.mark.parametrize(("process", "backend"), BACKENDS.items())
def test_each_devices_process_starts_and_tells_that_its_device_is_absent(
    kit: Emulated, process: str, backend: str
) -> None:
    setup = {"backend": backend, "options": {"runtime_dir": "/tmp"}}
    (kit.folder / "root/asked").write_text(f'{json.dumps(setup)}\n{{"id": 1, "do": "probe"}}\n')
    said = kit.run(
        "sh", "-c", f"/opt/diemcau/{kit.version}/bin/python -P -m diemcau_drivers {process} </root/asked"
    )
    ready, _answer = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
    assert ready["ready"]["backend"] == backend
    assert set(re.findall(r'"kind":"(\w+)"', said)) <= {"absent"}, said

"""What lies in ``diemcau/`` on the boot partition, and what the office's files must be for it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from diemcau_agent import config

from .errors import CardError
from .seed import Technician

TOKEN = "kit/token"  # noqa: S105  # where it is, not what it is
_TOKEN_BYTES = 512
_DEB_S = 30


def image_files() -> Path:
    """In the installed package beside this; in the repository where people read it."""
    packed = Path(__file__).parent / "image"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "image"


def of_image(source: Path) -> dict[str, bytes]:
    found = {"first-boot.sh": (source / "first-boot.sh").read_bytes()}
    for path in sorted((source / "files").rglob("*")):
        if path.is_file():
            found[path.relative_to(source).as_posix()] = path.read_bytes()
    return found


def of_kit(folder: Path) -> tuple[config.Settings, dict[str, bytes]]:
    """The files of ``diemcau-fleet kit add --out``, as the kit will read them. Raises CardError, OSError."""
    try:
        settings = config.load(folder / "agent.toml")
    except config.ConfigError as error:
        raise CardError(f"{folder / 'agent.toml'}: {error}") from None
    found = {"kit/agent.toml": (folder / "agent.toml").read_bytes()}
    enrolment = settings.enrolment
    if (folder / "ca.pem").exists():
        found["kit/ca.pem"] = (folder / "ca.pem").read_bytes()
    elif enrolment is not None and enrolment.ca_file == "/etc/diemcau/ca.pem":
        raise CardError(f"{folder / 'ca.pem'}: is not there, but agent.toml's enrolment.ca_file names it")
    if (folder / "token").exists():
        if enrolment is None:
            raise CardError(f"{folder / 'token'}: is there, but agent.toml has no [enrolment] that uses it")
        token = (folder / "token").read_bytes()
        if not (0 < len(token.split()) == 1 and token.isascii() and len(token) <= _TOKEN_BYTES):
            raise CardError(
                f"{folder / 'token'}: expected one word of ASCII, as `diemcau-fleet kit add` makes it"
            )
        found[TOKEN] = token.strip() + b"\n"
    return settings, found


def of_packages(packages: Sequence[Path]) -> dict[str, bytes]:
    """diemcau's own, and others that it needs and the image has not. Raises CardError, OSError."""
    found: dict[str, bytes] = {}
    names: list[str] = []
    for path in packages:
        name, architecture = _fields(path)
        if architecture not in ("arm64", "all"):
            raise CardError(
                f"{path}: got architecture {architecture!r}, expected arm64 (a Raspberry Pi's) or all"
            )
        if name in names:
            raise CardError(f"{path}: {name} is given twice")
        names.append(name)
        found[f"packages/{path.name}"] = path.read_bytes()
    if "diemcau" not in names:
        raise CardError(f"--package: got {', '.join(names)}, expected diemcau's own among them")
    return found


def time_servers(servers: Iterable[str]) -> dict[str, bytes]:
    text = " ".join(servers)
    if not text:
        return {}
    return {"files/etc/systemd/timesyncd.conf.d/60-servers.conf": f"[Time]\nNTP={text}\n".encode()}


def login(technician: Technician) -> dict[str, bytes]:
    """This file is what first-boot.sh switches SSH on by."""
    if not technician.keys:
        return {}
    lines = (
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin no",
        f"AllowUsers {technician.name}",
    )
    return {"files/etc/ssh/sshd_config.d/50-diemcau.conf": "".join(f"{line}\n" for line in lines).encode()}


def sums(pieces: Mapping[str, bytes]) -> bytes:
    """SHA256SUMS. Without the token: a first boot that goes on after a power cut finds it gone."""
    return "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in sorted(pieces.items())
        if name != TOKEN
    ).encode()


def digest(summed: bytes) -> str:
    """Of SHA256SUMS: what first-boot.sh is started with."""
    return hashlib.sha256(summed).hexdigest()


def _fields(package: Path) -> tuple[str, str]:
    """Its name and architecture, as dpkg reads them."""
    if not package.is_file():
        raise CardError(f"{package}: no such file")
    try:
        done = subprocess.run(
            ["dpkg-deb", "--show", "--showformat", "${Package} ${Architecture}", str(package)],
            capture_output=True,
            text=True,
            timeout=_DEB_S,
        )
    except FileNotFoundError:
        raise CardError("dpkg-deb: not installed; it reads the packages (apt-get install dpkg)") from None
    words = done.stdout.split()
    if done.returncode != 0 or len(words) != 2:
        raise CardError(f"{package}: expected a Debian package: {done.stderr.strip() or 'no fields'}")
    return words[0], words[1]

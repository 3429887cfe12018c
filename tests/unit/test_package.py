"""What is shipped: the agent and the drivers, no simulator, no test, no key. And no secret is in the repo."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("diemcau_agent", "diemcau_drivers")
KINDS = {".py", ".mo", ".po", ".typed", ".json", ".toml", ".service", ".socket", ".txt", ".md"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, timeout=60, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        for name in package.namelist():
            assert b"PRIVATE" + b" KEY-----" not in package.read(name), name
        return package.namelist()


@pytest.mark.timeout(90)
def test_the_package_is_the_agent_and_the_drivers_and_nothing_else(names: list[str]) -> None:
    ours = [name for name in names if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in ours} == set(SHIPPED)
    assert not [name for name in ours if "sim/" in name or "/tests/" in name or "test_" in name]
    assert {Path(name).suffix for name in ours} <= KINDS, "a kind of file that was never shipped: a key?"
    assert "diemcau_agent/locale/vi/LC_MESSAGES/diemcau.mo" in ours


PLANTED = {
    "a private key": "-----BEGIN" + " PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAB\n",
    "a seed": 'SEED = "' + "nWGxne_9WmC6hEr0kuwsxERJxWl7" + "MmkZcDusAxyuf2A" + '"\n',
    "a password": "pass" + 'word = "correct-horse-battery-7"\n',  # pragma: allowlist secret
    "a signed token": 'x = "'
    + "eyJhbGciOiJFZERTQSJ9."
    + "eyJpZCI6ICJpZC0wMDAwMDQzMCJ9."
    + "RXhhbXBsZSBvZiBFZDI1NTE5"
    + '"\n',
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_secret_is_found(what: str, tmp_path: Path) -> None:
    planted = tmp_path / "settings.py"
    planted.write_text(PLANTED[what])
    assert _scan(planted) == 1


@pytest.mark.timeout(90)
def test_what_is_no_secret_is_let_pass(tmp_path: Path) -> None:
    clean = tmp_path / "settings.py"
    clean.write_text('point = "xp-0417"\n')
    assert _scan(clean) == 0


def _scan(file: Path) -> int:
    program = str(ROOT / "provisioning" / "secrets.sh")
    ended = subprocess.run(
        [program, str(file)], cwd=ROOT, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return ended.returncode

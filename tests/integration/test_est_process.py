"""``diemcau-fleet serve-est`` as a process: how it starts, what it leaves with."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = (
    sys.executable,
    "-W",
    "error",
    "-c",
    "import sys; from diemcau_fleet.cli import main; sys.exit(main())",
)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=15, check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A fleet in it, and a server's certificate."""
    assert run("ca", "init", "--dir", tmp_path / "fleet").returncode == 0
    words = ("ca", "server", "est", "--san", "localhost", "127.0.0.1", "--out", tmp_path / "est")
    assert run(*words, "--dir", tmp_path / "fleet").returncode == 0
    return tmp_path


def serve_est(place: Path, listen: str = "127.0.0.1:0", cert: str = "cert.pem") -> list[str]:
    own = place / "est"
    files = ("--cert-file", own / cert, "--key-file", own / "key.pem", "--dir", place / "fleet")
    return [*PROGRAM, "serve-est", "--listen", listen, *map(str, files)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_leaves_in_order(place: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        serve_est(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            said = child.stdout.readline()
            assert said.startswith("listening on 127.0.0.1:")
            port = said.strip().rpartition(":")[2]
            # Other people's TLS: openssl sees its name, and TLS 1.2 at least.
            seen = subprocess.run(
                ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-verify_return_error", "-tls1_2",
                 "-verify_hostname", "localhost", "-CAfile", str(place / "fleet" / "ca.pem")),
                capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            assert "Verify return code: 0 (ok)" in seen.stdout
            child.send_signal(number)
            _, errors = child.communicate(timeout=10)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    assert "Traceback" not in errors


def test_what_keeps_it_from_starting_is_one_line_and_an_exit_code(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        cases = {
            1: serve_est(place, listen=listen),
            2: serve_est(place, cert="key.pem"),
        }
        for code, words in cases.items():
            done = subprocess.run(words, capture_output=True, text=True, timeout=15, check=False)
            assert done.returncode == code, done.stderr
            assert done.stderr.startswith("diemcau-fleet serve-est: ")
            assert done.stderr.count("\n") == 1
    (place / "fleet" / "fleet.sqlite3").unlink()
    done = subprocess.run(serve_est(place), capture_output=True, text=True, timeout=15, check=False)
    assert done.returncode == 1
    assert "no fleet here" in done.stderr

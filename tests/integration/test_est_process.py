"""``diemcau-fleet serve-est`` as a process: how it starts, what it leaves with."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from diemcau_fleet import cli

PROGRAM = (
    sys.executable,
    "-W",
    "error",
    "-c",
    "import sys; from diemcau_fleet.cli import main; sys.exit(main())",
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A fleet in it, and a server's certificate."""
    fleet = ["--dir", str(tmp_path / "fleet")]
    assert cli.main(["ca", "init", *fleet]) == 0
    names = ["--san", "localhost", "127.0.0.1"]
    assert cli.main(["ca", "server", "est", *names, "--out", str(tmp_path / "est"), *fleet]) == 0
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


def test_an_address_that_is_taken_is_one_line_and_exit_code_1(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(serve_est(place, listen=f"127.0.0.1:{taken.getsockname()[1]}"), 1, "in use")


def test_a_file_that_holds_no_certificate_is_wrong_usage(place: Path) -> None:
    refused(serve_est(place, cert="key.pem"), 2, "--cert-file")


def test_without_a_registry_it_says_how_to_make_one(place: Path) -> None:
    (place / "fleet" / "fleet.sqlite3").unlink()
    refused(serve_est(place), 1, "ca init")


def refused(words: list[str], code: int, reason: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=15, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("diemcau-fleet serve-est: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1

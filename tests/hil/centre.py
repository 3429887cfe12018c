"""The centre of one virtual kit, on this machine: the fleet's own tools as processes, and mosquitto on the
rules that they wrote. TLS with certificates of both sides everywhere, as in a real one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from diemcau_sim.mortal import MORTAL
from diemcau_sim.mosquitto import free_port, program
from updates import Updates
from virtual_kit import CENTRE
from witness import Witness

POINT = "xp-0417"
OPERATOR = "op-1"
FLEET = (sys.executable, "-c", "import sys; from diemcau_fleet.cli import main; sys.exit(main())")


class Centre:
    """``stick``: what the technician carries to the kit: ``agent.toml``, ``ca.pem``, ``token``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stick = folder / "stick"
        self._dir = folder / "fleet"
        self._children: list[subprocess.Popen[str]] = []
        self._serial = 0
        self.broker_port, self.reflector_port = free_port(), free_port(socket.SOCK_DGRAM)

    def __enter__(self) -> Centre:
        names = ("--san", CENTRE, "127.0.0.1", "localhost")
        self.fleet("ca", "init")
        for server in ("est", "broker", "updates"):
            self.fleet("ca", "server", f"{server}.example", *names, "--out", str(self.folder / server))
        est_url = self._serve_est()
        self.fleet(
            "kit", "add", POINT, "--est-url", est_url, "--broker-url", f"mqtts://{CENTRE}:{self.broker_port}",
            "--out", str(self.stick),
        )  # fmt: skip
        self.fleet(
            "operator", "add", OPERATOR, "--role", "operator", "--key-file", str(self.folder / "op.key"),
            "--out", str(self.folder / "operator"),
        )  # fmt: skip
        for service, role in (("publisher", "publisher"), ("witness", "viewer")):
            self.fleet("service", "add", f"{service}-1", "--role", role, "--out", str(self.folder / service))
        self._serve_broker()
        self.fleet("keys", "--out", str(self.folder / "keys.jws"))
        self._plain(
            "publish", str(self.folder / "keys.jws"), "--client-id", "publisher-1", *self._papers("publisher")
        )
        self._updates = Updates(self.folder / "released", self.folder / "updates")
        self.release_key = self._plain("release", "keygen", str(self.folder / "release.key")).strip()
        listen = ("reflector", "--listen", f"127.0.0.1:{self.reflector_port}")
        self._children.append(subprocess.Popen((*MORTAL, *FLEET, *listen), text=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._updates.close()
        for child in reversed(self._children):
            child.terminate()
        for child in self._children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()

    def fleet(self, *words: str) -> str:
        return self._plain(*words, "--dir", str(self._dir))

    def command(self, verb: str, *arguments: str, wait_s: int = 60) -> list[dict[str, Any]]:
        """Every reply to a signed command of the operator; the last is how it ended. A point that has just
        come back has a new nonce: an operator orders again then."""
        replies = self._ordered(verb, *arguments, wait_s=wait_s)
        if replies[-1]["rest"].startswith("bad_nonce"):
            replies = self._ordered(verb, *arguments, wait_s=wait_s)
        return replies

    def _ordered(self, verb: str, *arguments: str, wait_s: int) -> list[dict[str, Any]]:
        done = subprocess.run(
            (*FLEET, "command", POINT, verb, *arguments, "--key", str(self.folder / "op.key"),
             "--iss", OPERATOR, *self._papers("operator"), "--wait-s", str(wait_s)),
            capture_output=True, text=True, timeout=wait_s + 30, check=False,
        )  # fmt: skip
        lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
        assert lines, f"{verb}: no reply in {wait_s} s: {done.stderr}"
        return [{"state": line[1], "rest": " ".join(line[2:])} for line in lines]

    def update(self, package: Path, *options: str, wait_s: int) -> dict[str, Any]:
        """Signed, put on the server, ordered: the last reply. ``options``: of ``release sign``."""
        shutil.copy(package, self._updates.files)
        self._serial += 1
        signed: dict[str, Any] = json.loads(
            self._plain(
                "release", "sign", str(self._updates.files / package.name), "--serial", str(self._serial),
                "--key", str(self.folder / "release.key"), *options,
            )
        )  # fmt: skip
        url = f"https://{CENTRE}:{self._updates.port}/{package.name}"
        arguments = (f"version={signed['version']}", f"url={url}", f"sha256={signed['sha256']}")
        return self.command("update", *arguments, wait_s=wait_s)[-1]

    def witness(self) -> Witness:
        """Hears every document and every reply to the operator, as one who may say nothing."""
        return Witness(self.broker_port, OPERATOR, self.folder / "witness")

    def _plain(self, *words: str) -> str:
        done = subprocess.run((*FLEET, *words), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"diemcau-fleet {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def _papers(self, of: str) -> tuple[str, ...]:
        place = self.folder / of
        return (
            "--broker", f"mqtts://127.0.0.1:{self.broker_port}", "--ca-file", str(place / "ca.pem"),
            "--cert-file", str(place / "cert.pem"), "--key-file", str(place / "key.pem"),
        )  # fmt: skip

    def _serve_est(self) -> str:
        papers = self.folder / "est"
        with (self.folder / "est.log").open("w") as log:
            child = subprocess.Popen(
                (*MORTAL, *FLEET, "serve-est", "--listen", "127.0.0.1:0", "--dir", str(self._dir),
                 "--cert-file", str(papers / "cert.pem"), "--key-file", str(papers / "key.pem")),
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._children.append(child)
        assert child.stdout is not None
        said = child.stdout.readline()
        assert said.startswith("listening on"), (self.folder / "est.log").read_text()
        return f"https://{CENTRE}:{said.rpartition(':')[2].strip()}"

    def _serve_broker(self) -> None:
        papers, place = self.folder / "broker", self.folder / "mosquitto"
        (place / "state").mkdir(parents=True)
        self.fleet(
            "broker", "--host-cert", str(papers / "cert.pem"), "--host-key", str(papers / "key.pem"),
            "--out", str(place / "etc"), "--user", "root", "--state", str(place / "state"),
            "--pid-file", str(place / "pid"), "--listen", f"127.0.0.1:{self.broker_port}",
            "--reload-command", "true",
        )  # fmt: skip
        with (self.folder / "mosquitto.log").open("w") as log:
            command = (*MORTAL, program(), "-c", str(place / "etc" / "mosquitto.conf"))
            child = subprocess.Popen(command, stdout=log, stderr=log, text=True)
        self._children.append(child)
        ends_s = time.monotonic() + 10
        while not _accepts(self.broker_port):
            said = (self.folder / "mosquitto.log").read_text()
            assert child.poll() is None, said
            assert time.monotonic() < ends_s, said
            time.sleep(0.05)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True

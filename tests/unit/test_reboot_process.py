"""The real process on a real socket that it is handed as systemd does; no restart is ordered here but of a
program that only says that it was called."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import signing
from diemcau_agent.privileged.guard import MAX_LINE_BYTES

POINT = "xp-0417"
SOON_S = 10.0
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "diemcau_agent", "reboot-helper", *sys.argv[2:]])
"""


class Helper:
    """``folder``: ``etc/agent.toml``, ``state/``, ``run/``, ``reboot.sock``, ``bin/systemctl``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "etc" / "agent.toml"
        for name in ("etc", "state", "run", "bin"):
            (folder / name).mkdir(mode=0o755)
        self.config.write_text(
            f'point = "{POINT}"\nfleet_keys = ["{signing.public("fleet-1")}"]\n'
            'broker = {urls = ["mqtts://broker.example"]}\n'
        )
        self.config.chmod(0o644)
        self.systemctl('echo "$@" >>"$(dirname "$0")/ordered"')
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(folder / "reboot.sock"))
        (folder / "reboot.sock").chmod(0o666)
        self.listener.listen(8)
        self.process: subprocess.Popen[bytes] | None = None

    def systemctl(self, script: str) -> None:
        program = self.folder / "bin" / "systemctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def start(self, user: str = "daemon") -> None:
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }
        number = self.listener.fileno()
        program = (sys.executable, "-c", HAND_OVER, str(number), "--config", str(self.config), "--user", user)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(program, pass_fds=(number,), env=environment, stderr=log)

    def stop(self) -> None:
        self.listener.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def ordered(self) -> list[str]:
        path = self.folder / "bin" / "ordered"
        return path.read_text().splitlines() if path.exists() else []

    def say(self, data: bytes) -> list[dict[str, Any]]:
        """One connection: everything that is answered until it ends."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SOON_S)
            connection.connect(str(self.folder / "reboot.sock"))
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough
            try:
                return [json.loads(line) for line in connection.makefile("rb")]
            except ConnectionResetError:
                return []

    def ask(self, **request: str) -> dict[str, Any]:
        (answer,) = self.say(json.dumps(request).encode() + b"\n")
        return answer

    def command(self, by: str = "op-1", **changes: Any) -> str:
        nonce = self.ask(do="nonce")["ok"]["reboot_nonce"]
        now_s = int(time.time())
        claims = {
            "id": "command-1", "aud": f"point/{POINT}", "verb": "restart", "iss": by, "iat": now_s,
            "exp": now_s + 60, "args": {"target": "host", "reboot_nonce": nonce}, "nonce": "n", **changes,
        }  # fmt: skip
        return signing.signed(claims, by).decode()


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    made = Helper(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def knowing(helper: Helper) -> Helper:
    """It runs, and knows the operator op-1."""
    helper.start()
    keys = signing.key_list(signing.key("op-1")).decode()
    assert helper.ask(do="keys", list=keys) == {"ok": {"revision": 1}}, helper.log
    return helper


def test_an_operators_command_restarts_the_machine_once(knowing: Helper) -> None:
    command = knowing.command()
    assert knowing.ask(do="reboot", command=command) == {"ok": {"restarting": True}}
    assert knowing.ordered == ["reboot"]
    assert knowing.process is not None
    assert knowing.process.wait(SOON_S) == 0  # what stops the machine need not wait for it
    past = json.loads((knowing.folder / "state" / "past.json").read_text())
    assert past["ids"] == ["command-1"]
    knowing.start()  # the next life remembers
    assert knowing.ask(do="reboot", command=command)["error"]["code"] == "bad_nonce"
    assert knowing.ordered == ["reboot"]


def test_the_list_of_keys_outlives_the_process_and_an_older_one_does_not_come_back(knowing: Helper) -> None:
    older = signing.key_list(signing.key("op-1")).decode()
    newer = signing.key_list(signing.key("op-1"), revision=2, revoked=["op-1"]).decode()
    assert knowing.ask(do="keys", list=newer) == {"ok": {"revision": 2}}
    assert knowing.process is not None
    knowing.process.kill()
    knowing.process.wait()
    knowing.start()
    refused = knowing.ask(do="keys", list=older)["error"]
    assert refused == {"code": "bad_keys", "detail": "revision: got 1, expected more than 2"}
    assert knowing.ask(do="reboot", command=knowing.command())["error"]["code"] == "unknown_key"
    assert knowing.ordered == []


def test_a_list_as_long_as_may_be_is_taken(knowing: Helper) -> None:
    keys = [signing.key(f"op-{number}", points=["xp-0417", "xp-0418"]) for number in range(1, 1001)]
    text = signing.key_list(*keys, revision=2).decode()
    assert len(text) > 150_000
    assert knowing.ask(do="keys", list=text) == {"ok": {"revision": 2}}


@pytest.mark.machine  # becomes other users
def test_another_user_is_not_even_listened_to(knowing: Helper) -> None:
    """The real command of a real operator, by nobody: the socket's mode is open here, so the uid decides."""
    knowing.folder.chmod(0o755)
    line = json.dumps({"do": "reboot", "command": knowing.command()})
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.settimeout(10); print(s.makefile('rb').readline().decode())"
    )
    for parent in knowing.folder.parents:  # pytest's own folders are root's alone
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/pytest"):
            parent.chmod(parent.stat().st_mode | 0o011)
    for user, code in (("nobody", "not_permitted"), ("daemon", None)):
        said = subprocess.run(
            ("setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", "/usr/bin/python3", "-c",
             script if code else script.replace("s.settimeout", "s.sendall(sys.argv[2].encode() + b'\\n');"
                                                "s.settimeout"),
             str(knowing.folder / "reboot.sock"), line),
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        answer = json.loads(said)
        assert answer.get("error", {}).get("code") == code
        assert knowing.ordered == ([] if code else ["reboot"])
    assert "uid 65534 asked, and may not" in knowing.log


def test_a_daemon_that_forges_replays_or_strips_is_refused(knowing: Helper) -> None:
    header, payload, signature = knowing.command().split(".")
    tries = {
        f"{header}.{payload}.": "bad_signature",
        f"eyJhbGciOiJub25lIn0.{payload}.": "malformed",
        f"{header}.{payload}.{signature[:-4]}AAAA": "bad_signature",
        knowing.command(by="mallory"): "unknown_key",
        signing.signed(json.loads(_decoded(payload)), "mallory").decode(): "bad_signature",
        _decoded(payload): "malformed",
        knowing.command(aud="group/all"): "wrong_audience",
        knowing.command(args={"target": "host"}): "bad_nonce",
        knowing.command(iat=1, exp=100_000): "expired",
        "": "malformed",
    }
    for command, code in tries.items():
        assert knowing.ask(do="reboot", command=command)["error"]["code"] == code
    assert knowing.ordered == []


def _decoded(part: str) -> str:
    import base64

    return base64.urlsafe_b64decode(part + "==").decode()


def test_whatever_comes_over_the_socket_is_answered_or_ends_its_connection_only(knowing: Helper) -> None:
    for line in (
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"do": "dance"}\n',
        b"\xff\n",
        b"[" * 9000 + b"\n",
        b'{"do":1}\n',
    ):
        (answer,) = knowing.say(line)
        assert answer["error"]["code"] == "bad_request"
    assert knowing.say(b"no end") == []
    assert knowing.say(b"") == []
    (answer,) = knowing.say(b"x" * (MAX_LINE_BYTES + 1))
    assert answer["error"]["code"] == "too_large"
    two = knowing.say(b'{"do": "nonce"}\n{"do": "nonce"}\n')
    assert two[0] == two[1] == knowing.ask(do="nonce")


def _removed(path: Path) -> None:
    path.unlink()


def _damaged(path: Path) -> None:
    path.write_text("point = 3")


def _writable(path: Path) -> None:
    path.chmod(0o666)


def _in_an_open_folder(path: Path) -> None:
    path.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("break_it", "detail"),
    [
        (_removed, "No such file"),
        (_damaged, "point: got 3"),
        (_writable, "mode 0666, expected root's"),
        (_in_an_open_folder, "mode 0777, expected root's"),
    ],
)
def test_settings_that_are_not_good_or_not_roots_restart_nothing(
    knowing: Helper, break_it: Callable[[Path], None], detail: str
) -> None:
    command = knowing.command()
    break_it(knowing.config)
    error = knowing.ask(do="reboot", command=command)["error"]
    assert error["code"] == "internal"
    assert detail in error["detail"]
    assert knowing.ordered == []


def test_a_policy_that_was_changed_is_in_force_at_once(knowing: Helper) -> None:
    knowing.config.write_text(knowing.config.read_text() + "policy = {host_restart = false}\n")
    assert knowing.ask(do="reboot", command=knowing.command())["error"]["code"] == "not_permitted"


def test_a_systemctl_that_fails_is_told(knowing: Helper) -> None:
    knowing.systemctl("echo no bus >&2; exit 1")
    error = knowing.ask(do="reboot", command=knowing.command())["error"]
    assert error == {"code": "internal", "detail": "systemctl reboot: exit code 1: no bus"}


def test_without_systemd_it_does_not_start(tmp_path: Path) -> None:
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": str(tmp_path)}
    for variables, expected in (
        (environment, "got no socket from systemd"),
        (dict(os.environ), "expected both"),
    ):
        ended = subprocess.run(
            (sys.executable, "-m", "diemcau_agent", "reboot-helper", "--config", "agent.toml"),
            env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 2
        assert expected in ended.stderr

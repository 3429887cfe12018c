"""What keeps the agent from starting is one clear line and an exit code, never a storm of tracebacks."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from diemcau_agent import app, database, logs
from diemcau_agent.clock import SystemClock
from diemcau_agent.config import Settings, check
from diemcau_agent.exits import NOT
from diemcau_agent.spool import Spool


def settings(directory: Path) -> Settings:
    return check(
        {
            "point": "xp-0417",
            "commands": "unsigned",
            "backends": "sim",
            "backend_options": {"socket": str(directory / "no-world.sock")},
            "state_dir": str(directory / "state"),
            "runtime_dir": str(directory / "run"),
            "broker": {"urls": ["mqtt://127.0.0.1:1"]},
        }
    )


def critical(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert line.exc_info is None
    return line.getMessage()


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "begin", logs.Ring)  # leave the test's own logging be
    (tmp_path / "state").write_text("a file stands in its place")
    assert app.main(settings(tmp_path)) == NOT
    assert "state" in critical(caplog)


async def test_a_spool_that_another_agent_has_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.1)
    other = await Spool.open(tmp_path / "state" / "spool.sqlite3")
    assert await app.run(settings(tmp_path), logs.Ring(), SystemClock()) == NOT
    assert "spool.sqlite3 cannot be opened" in critical(caplog)
    await other.close()


async def test_another_agent_on_the_same_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("state", "run"):
        (tmp_path / folder).mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "run" / "control.sock"))
        other.listen()
        assert await app.run(settings(tmp_path), logs.Ring(), SystemClock()) == NOT
    assert "another agent is running" in critical(caplog)

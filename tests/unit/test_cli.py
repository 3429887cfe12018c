"""The command line promises: exit codes, plain text for pipes, JSON for programs, every error told in a line,
and that ``run`` carries nothing that only people need."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent import __version__, cli, exits
from diemcau_agent.control import Control, Refused
from fake_control_room import FakeControlRoom, judged, report, status

GOOD = """
point = "xp-0417"
commands = "off"
language = "vi"
runtime_dir = "{runtime_dir}"
[broker]
urls = ["mqtts://broker.example:8883"]
"""
BAD = """
point = "XP 0417"
comands = "off"
[broker]
urls = ["http://broker"]
[probe]
period_s = 1
"""


@contextmanager
def running(directory: Path, room: FakeControlRoom) -> Generator[None]:
    """An agent's control socket in a thread of its own, as the command line blocks."""
    started = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        server = Control(directory / "control.sock", room)
        task = asyncio.create_task(server.serve(), name="control")
        stop.append((asyncio.get_running_loop(), task))
        await server.listening.wait()
        started.set()
        await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="agent")
    thread.start()
    assert started.wait(5)
    try:
        yield
    finally:
        loop, task = stop[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join(5)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.RUNTIME_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.mark.parametrize(
    ("readiness", "code"), [("ready", 0), ("degraded", 1), ("not_ready", 1), ("unknown", 1)]
)
def test_status_exits_0_only_where_the_room_is_ready(tmp_path: Path, readiness: str, code: int) -> None:
    with running(tmp_path, FakeControlRoom(status(readiness))):
        assert cli.main(["status"]) == code


def test_status_tells_pipes_plain_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    muted = judged("degraded", "microphone_muted", readings={"level_dbfs": -42.1}, in_use_by="chromium")
    with running(tmp_path, FakeControlRoom(status("degraded", microphone=muted))):
        cli.main(["status"])
    printed = capsys.readouterr().out
    assert "▲ DEGRADED  The microphone is muted." in printed
    row = next(line for line in printed.splitlines() if line.startswith("  microphone"))
    assert "degraded" in row
    assert row.endswith("In use by chromium. The microphone is muted. · level -42 dBFS")
    assert "\x1b" not in printed


def test_status_as_json_is_the_status_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = FakeControlRoom()
    with running(tmp_path, room):
        assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == room.status()


@pytest.mark.parametrize(("result", "code"), [("passed", 0), ("failed", 1), ("partial", 1)])
def test_selftest_exits_0_only_where_it_passed(
    tmp_path: Path, result: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    room = FakeControlRoom(outcome=result)
    with running(tmp_path, room):
        assert cli.main(["selftest", "--scope", "quick", "--json"]) == code
    assert room.asked == [("selftest", "quick", "command")]
    assert json.loads(capsys.readouterr().out) == report(result)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_failed_selftest_says_what_was_measured_expected_and_what_to_do(
    tmp_path: Path, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, FakeControlRoom(outcome="failed")):
        cli.main(["selftest", "--language", language])
    printed = capsys.readouterr().out
    for told in ("microphone_muted", "muted true", "the chirp is heard"):
        assert told in printed
    assert ("Unmute the microphone." in printed) is (language == "en")
    assert ("Bật lại micrô." in printed) is (language == "vi")


def test_press_and_hold_reach_the_button(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = FakeControlRoom()
    with running(tmp_path, room):
        assert cli.main(["press"]) == 0
        assert cli.main(["press", "--hold", "2.5", "--json"]) == 0
    assert room.asked == [("press", 0.0), ("press", 2.5)]
    assert capsys.readouterr().out.startswith("The button was pressed.\n")


@pytest.mark.parametrize("seconds", ["-1", "61", "long", "nan"])
def test_a_hold_out_of_bounds_is_wrong_usage(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["press", f"--hold={seconds}"])
    assert stopped.value.code == exits.USAGE
    assert f"got '{seconds}', expected seconds from 0 to 60" in capsys.readouterr().err


def test_line_tells_what_stands_and_ends_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path, FakeControlRoom()):
        assert cli.main(["line", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["reflector"] == "stamp.example"
        assert cli.main(["line", "--language", "vi"]) == 0
        assert "✓" in capsys.readouterr().out.splitlines()[0]


def test_baseline_tells_what_it_recorded_or_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = FakeControlRoom()
    with running(tmp_path, room):
        assert cli.main(["baseline", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["readings"] == {"camera": {"sharpness": 812.0}}
        assert cli.main(["baseline", "--language", "vi"]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == ["  camera  sharpness 812"]
        room.refusal = Refused("failed", "mend this first: frame_black")
        assert cli.main(["baseline"]) == 1
    assert "mend this first: frame_black" in capsys.readouterr().err


def test_what_the_agent_refuses_is_told_to_programs_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = FakeControlRoom()
    room.refusal = Refused("busy", "a self-test is running")
    with running(tmp_path, room):
        assert cli.main(["selftest", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "busy"


@pytest.mark.parametrize("command", ["status", "selftest", "press", "watch", "line", "baseline"])
@pytest.mark.parametrize("as_json", [False, True])
def test_without_an_agent_each_says_so_and_exits_3(
    command: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, *(["--json"] if as_json else [])]) == exits.NO_AGENT
    out, err = capsys.readouterr()
    told = json.loads(out)["error"]["detail"] if as_json else err
    assert str(tmp_path / "control.sock") in told
    assert "Traceback" not in err


def test_watch_gives_programs_one_status_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = FakeControlRoom()
    with running(tmp_path, room):
        child = subprocess.Popen(
            [sys.executable, "-m", "diemcau_agent", "watch", "--json"], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == room.status()
    assert child.wait(10) == exits.NO_AGENT  # it went while someone watched
    child.stdout.close()


def test_the_agent_is_found_by_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "elsewhere"
    file = tmp_path / "diemcau.toml"
    file.write_text(GOOD.format(runtime_dir=place))
    with running(place, FakeControlRoom()):
        assert cli.main(["status", "--config", str(file)]) == 0
        assert "SẴN SÀNG" in capsys.readouterr().out
        assert cli.main(["status", "--runtime-dir", str(place)]) == 0
        assert "READY" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "vi_VN.UTF-8"}, "vi"),
        ({"LANG": "vi_VN.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "vi_VN"}, "vi"),
        ({"LANG": "C.UTF-8", "LC_ALL": ""}, "en"),
    ],
)
def test_the_language_is_the_systems(environment: dict[str, str], language: str) -> None:
    assert cli.system_language(environment) == language


def test_check_config_tells_every_error_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    assert cli.main(["check-config", str(file)]) == 1
    told = capsys.readouterr().err
    for path in ("point:", "comands:", "broker.urls[0]:", "probe.period_s:"):
        assert path in told
    file.write_text(GOOD.format(runtime_dir=tmp_path))
    assert cli.main(["check-config", str(file)]) == 0
    assert "xp-0417" in capsys.readouterr().out


def test_run_refuses_bad_settings_so_that_nobody_starts_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    assert cli.main(["run", "--config", str(file)]) == exits.USAGE
    assert "comands: unknown key (did you mean commands?)" in capsys.readouterr().err


def test_schemas_that_cannot_be_written_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "inside"
    assert cli.main(["schema", "--out", str(inside)]) == exits.NOT
    assert capsys.readouterr().err == f"{inside}: cannot be written: Not a directory\n"


_LIGHT = """
import sys, types
app = types.ModuleType("diemcau_agent.app")
def main(settings):
    print(settings.point, *sorted(sys.modules))
    return 7
app.main = main
sys.modules["diemcau_agent.app"] = app
import diemcau_agent
diemcau_agent.app = app
from diemcau_agent.cli import main as cli_main
sys.exit(cli_main(["run", "--config", sys.argv[1]]))
"""


def test_run_hands_its_settings_to_the_agent_and_carries_nothing_for_people(tmp_path: Path) -> None:
    file = tmp_path / "diemcau.toml"
    file.write_text(GOOD.format(runtime_dir=tmp_path))
    done = subprocess.run([sys.executable, "-c", _LIGHT, file], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    point, *modules = done.stdout.split()
    assert point == "xp-0417"
    for heavy in ("rich", "numpy", "diemcau_agent.schema", "diemcau_agent.screen", "diemcau_agent.asking"):
        assert heavy not in modules


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"diemcau-agent {__version__}\n"
    for wrong in ([], ["fly"], ["run"], ["selftest", "--scope", "medium"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(wrong)
        assert stopped.value.code == exits.USAGE


def test_a_reader_who_leaves_early_is_no_error(tmp_path: Path) -> None:
    with running(tmp_path, FakeControlRoom()):
        line = f"{sys.executable} -m diemcau_agent status --json | head -c 1"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout == "{"
    assert done.stderr == ""

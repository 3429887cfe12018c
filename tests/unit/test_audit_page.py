"""``diemcau-agent audit``: what people and programs are told of the record, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diemcau_agent import cli
from diemcau_agent.audit.chain import Head, Noted
from diemcau_agent.audit.file import NAME, AuditFile


def record(directory: Path, count: int = 3) -> Head:
    file = AuditFile(directory)
    for number in range(count):
        file.append(
            [
                Noted(
                    time=f"2026-11-2{number}T07:30:00.000Z", clock="unsynced", boot="b", session=4, mono_ms=5,
                    kind="command_accepted", data={"verb": "ping", "iss": "operator-1"},
                )
            ]
        )  # fmt: skip
    file.close()
    return file.head


def audit(*arguments: object) -> int:
    return cli.main(["audit", *map(str, arguments)])


def test_a_whole_record_is_told_with_its_span_and_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = record(tmp_path)
    assert audit("verify", "--state-dir", tmp_path, "--language", "en") == 0
    assert capsys.readouterr().out.splitlines() == [
        "The record is whole.",
        "3 entries",
        "from 2026-11-20T07:30:00.000Z to 2026-11-22T07:30:00.000Z",
        f"newest entry: 3:{head.hash}",
    ]
    assert audit("verify", "--state-dir", tmp_path, "--head", f"3:{head.hash}", "--language", "vi") == 0
    assert "Nhật ký nguyên vẹn." in capsys.readouterr().out


def test_a_record_that_was_cut_is_found_by_the_head_that_the_centre_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = record(tmp_path)
    lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / NAME).write_bytes(b"".join(lines[:-1]))
    assert audit("verify", "--state-dir", tmp_path, "--language", "en") == 0
    assert audit("verify", "--state-dir", tmp_path, "--head", f"3:{head.hash}", "--language", "en") == 1
    assert "NOT in it" in capsys.readouterr().out


def test_a_break_is_told_with_file_line_and_reason_also_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path)
    text = (tmp_path / NAME).read_text().replace("2026-11-21", "2026-11-20")
    (tmp_path / NAME).write_text(text)
    assert audit("verify", "--state-dir", tmp_path, "--language", "en") == 1
    assert "  audit.jsonl:3 (n 3): the line before it was changed" in capsys.readouterr().out
    assert audit("verify", "--state-dir", tmp_path, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["whole"], told["broken"]) == (False, 1)
    assert told["breaks"] == [{"file": NAME, "line": 3, "n": 3, "reason": "changed_before"}]


def test_the_settings_say_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    settings = tmp_path / "agent.toml"
    settings.write_text(
        'point = "xp-0417"\ncommands = "off"\nbackends = "sim"\nlanguage = "en"\n'
        f'state_dir = "{tmp_path}"\n[broker]\nurls = ["mqtt://127.0.0.1:1883"]\n'
    )
    assert audit("verify", "--config", settings) == 0
    assert "3 entries" in capsys.readouterr().out


def test_entries_are_shown_from_a_time_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    assert audit("show", "--state-dir", tmp_path, "--since", "2026-11-21T08:00:00Z") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("     3  2026-11-22T07:30:00.000Z (?)     4  command_accepted  {")
    assert audit("show", "--state-dir", tmp_path, "--since", "2026-11-21", "--json") == 0
    assert [json.loads(line)["n"] for line in capsys.readouterr().out.splitlines()] == [2, 3]


def test_a_place_without_a_record_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for place, told in (("none", "The record cannot be read: "), ("empty", "There is no record in ")):
        for action in ("verify", "show"):
            assert audit(action, "--state-dir", tmp_path / place, "--language", "en") == 1
            assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize("head", ["3", "3:abc", "x:" + "a" * 64, "3:" + "G" * 64])
def test_a_head_that_is_none_is_refused(head: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        audit("verify", "--head", head)
    assert caught.value.code == 2
    assert "expected a number, a colon and 64" in capsys.readouterr().err

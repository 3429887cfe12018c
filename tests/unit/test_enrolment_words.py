"""What a technician reads of an enrolment: one line, in both languages, and a code for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from diemcau_agent import cli
from diemcau_agent.clock import rfc3339
from diemcau_agent.config import load
from diemcau_agent.enrolment import command
from diemcau_agent.enrolment.errors import Code, EnrolError
from diemcau_agent.enrolment.steps import Notes, Outcome
from diemcau_agent.enrolment.token import TokenFile
from diemcau_agent.wording import speaking
from enrolling_kit import POINT, TOKEN, KitClock
from est_authority import Authority
from est_server import EstServer

AUTHORITY = Authority()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    with EstServer(AUTHORITY, tmp_path) as running:
        yield running


@pytest.fixture
def settings(server: EstServer, tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    file = tmp_path / "agent.toml"
    file.write_text(
        f'point = "{POINT}"\ncommands = "off"\nstate_dir = "{tmp_path}/state"\n'
        '[broker]\nurls = ["mqtts://broker.example"]\n'
        f'[enrolment]\nurl = "{server.url}"\nca_file = "{tmp_path}/ca.pem"\ntoken_file = "{tmp_path}/token"\n'
    )
    return file


def given(server: EstServer, settings: Path) -> None:
    server.tokens[POINT] = TOKEN
    (settings.parent / "token").write_text(TOKEN)


@pytest.mark.parametrize("code", get_args(Code))
def test_every_reason_has_its_words_in_both_languages_and_what_was_found(code: Code) -> None:
    error = EnrolError(code, "what was found")
    english, vietnamese = (command.failure(error, POINT, speaking(language)) for language in ("en", "vi"))
    assert english != vietnamese
    for words in (english, vietnamese):
        assert words.endswith(". (what was found)")
        assert "\n" not in words
        assert "{" not in words


@pytest.mark.parametrize("result", ["enrolled", "renewed", "nothing"])
def test_every_result_has_its_words_in_both_languages(result: str) -> None:
    outcome = Outcome(result, 1_800_000_000.0, 1_790_000_000.0)  # pyright: ignore[reportArgumentType]
    english, vietnamese = (command.success(outcome, POINT, speaking(language)) for language in ("en", "vi"))
    assert english != vietnamese
    for words in (english, vietnamese):
        assert POINT in words
        assert "2027-01-15" in words


def test_what_happened_beside_has_its_words() -> None:
    notes = Notes(clock_set="2026", token_left="t: read-only", token_old=True, damaged="no PEM")
    english, vietnamese = (command.beside(notes, speaking(language)) for language in ("en", "vi"))
    assert len(english) == len(vietnamese) == 4
    assert not set(english) & set(vietnamese)
    assert command.beside(Notes(), speaking("en")) == []


def test_it_speaks_the_settings_language_or_the_one_asked_for(
    server: EstServer, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(server, settings)
    assert cli.main(["enrol", "--config", str(settings)]) == 0
    assert capsys.readouterr().out.startswith(f"Đã đăng ký: thiết bị này là {POINT}, đến 20")
    assert cli.main(["enrol", "--config", str(settings), "--language", "en"]) == 0
    assert capsys.readouterr().out.startswith(f"Nothing to do: this kit is {POINT}, until 20")
    assert cli.main(["enrol", "--config", str(settings), "--renew", "--language", "en"]) == 0
    assert capsys.readouterr().out.startswith(f"Renewed: this kit is {POINT}, until 20")


def test_programs_read_json(server: EstServer, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["enrol", "--config", str(settings), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "point": POINT, "result": "failed", "code": "token_missing", "detail": str(settings.parent / "token"),
    }  # fmt: skip
    given(server, settings)
    assert cli.main(["enrol", "--config", str(settings), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["point"], told["result"]) == (POINT, "enrolled")
    assert told["renew_after"] < told["not_after"]


def test_why_it_failed_goes_to_stderr(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["enrol", "--config", str(settings), "--language", "en"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("This kit needs a token:")


@pytest.mark.parametrize("what", ["enrol", "set-clock"])
def test_settings_without_an_enrolment_are_wrong_usage(
    settings: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    settings.write_text(settings.read_text().partition("[enrolment]")[0])
    assert cli.main([what, "--config", str(settings)]) == 2
    assert capsys.readouterr().err.startswith("enrolment: missing, expected")


def test_setting_the_clock_has_its_words_in_both_languages_and_json_for_programs(
    server: EstServer, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(server, settings)
    assert cli.main(["enrol", "--config", str(settings)]) == 0
    begins = rfc3339(server.issued[0].not_valid_before_utc.timestamp())
    loaded = load(settings)
    capsys.readouterr()
    told: list[str] = []
    for settable, as_json, language in (
        (False, False, "en"), (False, False, "vi"), (False, True, "en"),
        (True, False, "en"), (True, False, "vi"), (True, True, "en"),
    ):  # fmt: skip
        clock = KitClock(60.0, synced=False)
        clock.settable = settable
        code = command.set_clock(loaded, as_json=as_json, language=language, clock=clock)
        assert code == (0 if settable else 1)
        said = capsys.readouterr()
        told.append(said.out or said.err)
        assert (said.out == "") == (not settable and not as_json), "what failed goes to stderr"
    refused = "this process may not set it (CAP_SYS_TIME)"
    assert told[0] == f"The clock is wrong, and was left alone. Set it. ({refused})\n"
    assert told[1] == f"Đồng hồ sai, và chưa được chỉnh. Hãy chỉnh lại. ({refused})\n"
    assert json.loads(told[2]) == {"point": POINT, "result": "failed", "code": "clock", "detail": refused}
    assert told[3:5] == [
        f"The clock was set forward. ({begins})\n",
        f"Đã chỉnh đồng hồ tới trước. ({begins})\n",
    ]
    assert json.loads(told[5]) == {"point": POINT, "result": "set", "clock_set": begins}


def test_a_clock_that_is_right_is_left_alone_by_the_program_itself(
    server: EstServer, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the kernel's own clock, which stands after each certificate of the test."""
    given(server, settings)
    assert cli.main(["enrol", "--config", str(settings)]) == 0
    capsys.readouterr()
    for more, start in (
        (("--language", "vi"), "Giữ nguyên đồng hồ:"),
        (("--language", "en"), "The clock was left alone:"),
        (("--json",), "{"),
    ):
        assert cli.main(["set-clock", "--config", str(settings), *more]) == 0
        assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize("url", ["https://est.example:99999", "https://est.example:x", "https://[::1"])
def test_an_address_that_is_none_is_told_with_all_other_errors(
    settings: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    lines = [f'url = "{url}"' if "https" in line else line for line in settings.read_text().splitlines()]
    settings.write_text("\n".join(lines))
    assert cli.main(["enrol", "--config", str(settings)]) == 2
    assert f'enrolment.url: got "{url}", expected a host' in capsys.readouterr().err


def test_a_token_comes_as_a_credential_of_systemd_and_is_left_for_it_to_take_away(tmp_path: Path) -> None:
    credentials, file = tmp_path / "credentials", tmp_path / "token"
    credentials.mkdir()
    file.write_text("in the file")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert TokenFile.of(str(file), environment).read() == "in the file"
    (credentials / "token").write_text("\n")  # the unit's default: there is none
    assert TokenFile.of(str(file), environment).read() is None
    (credentials / "token").write_text("from systemd\n")
    token = TokenFile.of(str(file), environment)
    assert (token.read(), token.used()) == ("from systemd", None)
    assert (credentials / "token").exists()
    assert TokenFile.of(str(file), {}).read() == "in the file"

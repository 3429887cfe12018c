"""What an operator types, as it is signed: no kit is asked for what it would not take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import conference, jws, topics
from diemcau_agent.commands.claims import check_times
from diemcau_agent.model import Claims, Reply
from diemcau_fleet import cli, signing_key
from diemcau_fleet.orders.give import told
from diemcau_fleet.orders.notice import NoticeError, plan, topic_of
from diemcau_fleet.orders.order import Nonces, OrderError, order
from signing import key, key_list, signed

FILE = """
id = "national-1"
revision = 3
start = 2026-12-01T07:00:00+07:00
end = 2026-12-01T11:00:00+07:00
groups = ["all"]
freeze = {before_s = 1800, after_s = 300}
"""
NONCES = Nonces("0123456789abcdef", "fedcba9876543210")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "operator.key"
    signing_key.make(path)
    return path


def test_a_value_is_json_where_it_parses_else_text() -> None:
    words = ["message=Xin chào", "zoom=2.5", "mute=true", "preset=", 'unit="5"', "area=[1, 2]", "a=b=c"]
    assert order("point/xp-0417", "display", words).args == {
        "message": "Xin chào", "zoom": 2.5, "mute": True, "preset": "", "unit": "5", "area": [1, 2],
        "a": "b=c",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "words", "reason"),
    [
        ("brew", [], "verb: got 'brew', expected one of ping, identify"),
        ("ping", ["pad"], "got 'pad', expected NAME=VALUE"),
        ("ping", ["=1"], "got '=1', expected NAME=VALUE"),
        ("ping", ["a=1", "a=2"], "args.a: given twice"),
    ],
)
def test_what_is_no_command_is_told(verb: str, words: list[str], reason: str) -> None:
    with pytest.raises(OrderError, match=re.escape(reason)):
        order("point/xp-0417", verb, words)


def test_a_point_is_given_its_nonce_and_a_host_its_reboot_nonce() -> None:
    camera = order("point/xp-0417", "restart", ["target=camera"])
    host = order("point/xp-0417", "restart", ["target=host"])
    group = order("group/all", "ping", ["spread_s=60"])
    claims = [each.claims("12345678", "operator-1", 1000.9, NONCES) for each in (camera, host, group)]
    assert [each.nonce for each in claims] == [NONCES.nonce, NONCES.nonce, None]
    assert claims[0].args == {"target": "camera"}
    assert claims[1].args == {"target": "host", "reboot_nonce": NONCES.reboot_nonce}
    assert claims[2].aud == "group/all"
    assert group.spread_s == 60
    for each in claims:
        check_times(each, 1001, synced=True)


def test_a_reply_is_one_line_that_moves_no_cursor() -> None:
    reply = Reply(schema="diemcau.reply/1", point="xp-0417", boot="b", session=1, connection="c", time="t",
                  clock="synced", mono_ms=1, id="12345678", verb="ping", state="refused", code="bad_args",
                  detail="args:\x1b[2J\nwrong", result={"a": [1]})  # fmt: skip
    assert told(reply) == 'xp-0417 refused bad_args args: [2J wrong {"a":[1]}'


def test_a_conference_file_is_what_the_kits_take() -> None:
    planned = plan(FILE, "operator-1")
    assert (planned.start, planned.end, planned.iss) == (1_796_083_200, 1_796_097_600, "operator-1")
    assert conference.read(msgspec.json.encode(planned)) == planned
    assert plan(FILE, "operator-1", cancelled=True).state == "cancelled"
    assert planned.freeze is not None
    assert plan(re.sub("freeze = .*", "freeze = false", FILE), "operator-1").freeze is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("revision = 3", "revision: missing"),
        ("end = 2026-12-01T11:00:00+07:00", "end: missing"),
    ],
)
def test_what_is_missing_is_named(line: str, reason: str) -> None:
    with pytest.raises(NoticeError, match=reason):
        plan(FILE.replace(line, ""), "operator-1")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("freez = 1", "freez: unknown key (did you mean freeze?)"),
        ('iss = "operator-2"', "iss: got 'operator-2', expected 'operator-1', whose key signs"),
        ("thresholds = {rtt_max = 1}", "thresholds.rtt_max: unknown"),
        ("state = 1", "state: got 1"),
        ("[[", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(line: str, reason: str) -> None:
    with pytest.raises(NoticeError, match=re.escape(reason)):
        plan(FILE + line, "operator-1")


def test_a_time_without_its_offset_is_refused() -> None:
    with pytest.raises(NoticeError, match=re.escape("start: got 2026-12-01 07:00:00, expected its offset")):
        plan(FILE.replace("07:00:00+07:00", "07:00:00"), "operator-1")


def test_a_notice_belongs_where_its_content_says() -> None:
    planned = json.loads(msgspec.json.encode(plan(FILE, "operator-1")))
    assert topic_of(signed(planned, "operator-1")) == topics.conference("national-1")
    assert topic_of(key_list(key("operator-1"))) == topics.KEYS_TOPIC


@given(st.binary(max_size=60) | st.dictionaries(st.just("schema"), st.text()) | st.lists(st.integers()))
def test_what_is_no_notice_is_not_published(content: Any) -> None:
    text = content if isinstance(content, bytes) else signed(content, "operator-1")
    with pytest.raises(NoticeError):
        topic_of(text)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"schema": "diemcau.keys/1", "revision": 1, "fleet": [], "keys": []}, "fleet: got []"),
        ({"schema": "diemcau.conference/1"}, "id: missing"),
        ({"schema": "diemcau.health/1"}, "schema: got 'diemcau.health/1'"),
    ],
)
def test_a_notice_that_no_kit_takes_is_not_published(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(NoticeError, match=re.escape(reason)):
        topic_of(signed(content, "operator-1"))


class TestCommandLine:
    def test_a_command_that_is_printed_is_signed_with_the_key(
        self, key_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [
            "command",
            "xp-0417",
            "restart",
            "target=camera",
            "--key",
            str(key_file),
            "--iss",
            "operator-1",
        ]
        assert cli.main([*words, "--print", "--nonce", "0123456789abcdef"]) == 0
        letter = jws.parse(capsys.readouterr().out.strip().encode())
        assert letter.signed_by(jws.public_key(signing_key.public(signing_key.load(key_file))))
        claims = msgspec.json.decode(letter.payload, type=Claims)
        assert (claims.aud, claims.verb, claims.iss) == ("point/xp-0417", "restart", "operator-1")
        assert (claims.args, claims.nonce) == ({"target": "camera"}, "0123456789abcdef")

    def test_a_groups_command_needs_no_nonce(
        self, key_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        by = ["--key", str(key_file), "--iss", "operator-1", "--print"]
        assert cli.main(["command", "ping", "--group", "lao-cai", *by]) == 0
        claims = msgspec.json.decode(jws.parse(capsys.readouterr().out.strip().encode()).payload)
        assert (claims["aud"], claims["nonce"]) == ("group/lao-cai", None)

    def test_without_a_broker_nothing_is_sent_and_that_is_said(
        self, key_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["command", "xp-0417", "ping", "--key", str(key_file), "--iss", "operator-1"]) == 1
        assert "--broker: missing" in capsys.readouterr().err

    def test_a_conference_is_printed_signed(
        self, tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "national.toml"
        file.write_text(FILE)
        assert cli.main(["conference", str(file), "--key", str(key_file), "--iss", "operator-1"]) == 0
        letter = jws.parse(capsys.readouterr().out.strip().encode())
        assert letter.signed_by(jws.public_key(signing_key.public(signing_key.load(key_file))))
        assert conference.read(letter.payload).id == "national-1"

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["command", "Sa Pa", "ping"], "got 'Sa Pa', expected"),
            (["command", "xp-0417"], "verb: missing"),
            (["command", "xp-0417", "brew"], "verb: got 'brew'"),
            (["command", "xp-0417", "ping", "--key", "/nowhere"], "--key: "),
            (["conference", "/nowhere.toml"], "/nowhere.toml: "),
            (["publish", "/nowhere.jws", "--broker", "mqtt://127.0.0.1:1"], "/nowhere.jws: "),
            (["publish", "x", "--broker", "mqtts://127.0.0.1:1", "--ca-file", "/nowhere.pem"], "--ca-file"),
        ],
    )
    def test_wrong_usage_is_told_and_is_exit_code_2(
        self, key_file: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
    ) -> None:
        by = ["--key", str(key_file), "--iss", "operator-1"]
        if words[0] != "publish" and "--key" not in words:
            words = [*words, *by]
        elif "--key" in words:
            words = [*words, *by[2:]]
        assert cli.main(words) == 2
        assert reason in capsys.readouterr().err

    def test_a_broker_that_is_not_there_is_told(
        self, tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "national.toml"
        file.write_text(FILE)
        by = ["--key", str(key_file), "--iss", "operator-1", "--broker", "mqtt://127.0.0.1:1"]
        assert cli.main(["conference", str(file), *by]) == 1
        assert cli.main(["command", "xp-0417", "ping", *by]) == 1
        assert capsys.readouterr().err.count("127.0.0.1:1: ") == 2

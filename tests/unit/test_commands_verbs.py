"""What each verb does, what it may, and what it answers with."""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_room import NONCE, Room, settings
from diemcau_agent.commands.remote import CHANGEABLE, RemoteSettings, flatten, merge
from diemcau_agent.commands.verbs import VERBS
from diemcau_agent.config import ConfigError
from diemcau_agent.model import Reply, Selftest, Step, Verb
from diemcau_drivers.audio import GAIN_DB
from diemcau_drivers.camera import MAX_ZOOM
from diemcau_drivers.contract import ANNOUNCEMENTS, TEST_CARDS, Busy, Forbidden
from fakeclock import FakeClock


@pytest.fixture
async def room(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Room]:
    room = await Room.open(tmp_path, clock)
    yield room
    await room.close()


def test_all_verbs_of_the_wire_are_there_and_the_starred_take_a_spread() -> None:
    assert set(VERBS) == set(msgspec.inspect.type_info(Verb).values)  # pyright: ignore
    starred = {name for name, verb in VERBS.items() if verb.group}
    assert starred == {
        "ping", "identify", "selftest", "microphone", "speaker", "display", "rehearse", "update",
    }  # fmt: skip
    for name, verb in VERBS.items():
        assert ("spread_s" in verb.args.__struct_fields__) == (name in starred)


def test_the_names_of_announcements_and_cards_are_the_drivers() -> None:
    fields = {"speaker": ("announce", ANNOUNCEMENTS), "display": ("card", TEST_CARDS)}
    for verb, (field, names) in fields.items():
        for name in names:
            assert getattr(msgspec.convert({field: name}, VERBS[verb].args), field) == name
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({field: "other"}, VERBS[verb].args)


async def test_ping_tells_session_and_uptime(room: Room) -> None:
    room.clock.mono_s += 10
    reply = await room.order("ping")
    assert reply.result == {"session": 1, "boot": "boot-1", "uptime_s": 15.0, "host_uptime_s": 1010.0}


async def test_identify_calls_out_for_so_long(room: Room) -> None:
    reply = await room.order("identify", {"seconds": 30})
    assert reply.result == {"seconds": 30}
    assert room.identified == [30]


# --- While a conference is on

FROZEN: list[tuple[str, dict[str, Any], bool]] = [
    ("identify", {}, True),
    ("restart", {"target": "camera"}, True),
    ("restart", {"target": "agent"}, True),
    ("selftest", {}, True),
    ("camera", {"zoom": 2}, True),
    ("camera", {"power": False}, True),
    ("microphone", {"mute": True}, False),
    ("microphone", {"gain_db": 3}, True),
    ("speaker", {"announce": "chime"}, True),
    ("speaker", {"volume_percent": 30, "mute": False}, False),
    ("display", {"power": False}, True),
    ("display", {"input": "kit"}, True),
    ("display", {"card": "bars"}, True),
    ("display", {"message": "please mute", "brightness_percent": 50}, False),
    ("rehearse", {}, True),
    ("logs", {}, False),
    ("config", {"get": True}, False),
    ("ping", {}, False),
]


@pytest.mark.parametrize(("verb", "args", "frozen"), FROZEN, ids=[f"{v} {a}" for v, a, _ in FROZEN])
async def test_only_what_disturbs_a_meeting_is_frozen(
    room: Room, verb: str, args: dict[str, Any], frozen: bool
) -> None:
    room.conference = True
    await room.send(verb, args)
    await room.replied()
    assert (room.answers[0].code == "frozen") == frozen
    if frozen:
        await room.send(verb, {**args, "force": True}, id="forced-it")
        await room.replied()
        assert room.answers[1].state == "accepted"


@pytest.mark.parametrize(("verb", "args"), [(verb, args) for verb, args, _ in FROZEN])
async def test_a_conference_that_freezes_nothing_holds_nothing_back(
    room: Room, verb: str, args: dict[str, Any]
) -> None:
    room.conference, room.freezes = True, False
    await room.send(verb, args)
    await room.replied()
    assert room.answers[0].state == "accepted"


# --- Self-test


def report() -> Selftest:
    step = Step(
        name="camera",
        device="camera",
        result="passed",
        code=None,
        measured={},
        expected="a picture",
        remedy=None,
    )
    return Selftest(
        schema="diemcau.selftest/1", point="xp-0417", boot="b", session=1, connection="c", time="t",
        clock="synced", mono_ms=1, run="run-1", scope="full", trigger="command", result="passed",
        duration_ms=1200, steps=(step,),
    )  # fmt: skip


async def test_selftest_ends_with_the_whole_report(room: Room) -> None:
    room.selftest_answer = report()
    reply = await room.order("selftest", {"scope": "full"})
    assert msgspec.convert(reply.result, Selftest) == report()
    assert room.events[-1]["device"] is None, "it is of the whole room, not of the first device in it"


async def test_progress_is_told_at_most_once_a_second(room: Room) -> None:
    room.selftest_answer = report()
    seen: list[tuple[str, Any]] = []

    async def selftest(scope: Any, trigger: Any, progress: Any) -> Selftest:
        for step in range(30):  # a step each 0.1 s
            progress({"step": step})
            room.clock.mono_s += 0.1
        return report()

    room.rewire(selftest=selftest)
    await room.order("selftest")
    seen = [(reply.state, reply.result) for reply in room.answers]
    assert [state for state, _ in seen] == ["accepted", "running", "running", "running", "done"]
    assert [result["step"] for state, result in seen if state == "running"] == [0, 10, 20]


async def test_a_self_test_that_runs_already_makes_another_busy(room: Room) -> None:
    room.selftest_answer = Busy("a self-test runs", in_use_by="diemcau")
    assert (await room.order("selftest")).code == "busy"


# --- Camera


def picture(size: int) -> dict[str, Any]:
    jpeg = bytes(size)
    return {"jpeg_base64": base64.b64encode(jpeg).decode(), "width_px": 8, "height_px": 4, "bytes": size}


async def test_a_set_is_answered_with_what_was_read_back(room: Room) -> None:
    room.workers.answers["camera", "set"] = {"power": True, "zoom": 1.9, "preset": None}
    reply = await room.order("camera", {"zoom": 2})
    assert room.workers.asked == [("camera", "set", {"zoom": 2})]
    assert reply.result == {"power": True, "zoom": 1.9, "preset": None}


async def test_switching_off_is_always_allowed_switching_on_by_policy(room: Room) -> None:
    assert (await room.order("camera", {"power": False})).state == "done"
    room.settings = settings(policy={"camera_on": True})
    assert (await room.order("camera", {"power": True}, id="camera-on")).state == "done"


async def test_a_snapshot_is_in_the_answer_alone_and_the_journal_keeps_its_hash(room: Room) -> None:
    room.settings = settings(policy={"snapshot": True})
    room.workers.answers["camera", "snapshot"] = picture(1000)
    reply = await room.order("camera", {"snapshot": True})
    assert room.workers.asked == [("camera", "snapshot", {"max_bytes": 200 * 1024})]
    taken = reply.result["snapshot"]
    digest = hashlib.sha256(bytes(1000)).hexdigest()
    assert taken == {**picture(1000), "sha256": digest}
    entry = await room.dispatcher._journal.find("command-camera")
    assert entry is not None
    assert entry.answer is not None
    kept = msgspec.json.decode(entry.answer, type=Reply)
    assert kept.result == {
        "snapshot": {"sha256": digest, "width_px": 8, "height_px": 4, "bytes": 1000},
    }
    assert "jpeg" not in json.dumps(room.events)


async def test_a_snapshot_is_in_the_audit_before_and_after_and_told_meanwhile(room: Room) -> None:
    room.settings = settings(policy={"snapshot": True})
    before: list[tuple[list[str], int]] = []

    async def taken(args: Mapping[str, Any]) -> dict[str, Any]:
        before.append(([kind for kind, _ in room.notes], room.told_of_pictures))
        return picture(1000)

    room.workers.answers["camera", "snapshot"] = taken
    await room.order("camera", {"snapshot": True})
    assert before == [(["command_accepted"], 1)]
    kind, data = room.notes[-1]
    assert (kind, data["iss"], data["bytes"]) == ("snapshot", "operator-1", 1000)
    assert data["sha256"] == hashlib.sha256(bytes(1000)).hexdigest()
    assert "jpeg" not in json.dumps(room.notes)


async def test_no_picture_is_taken_that_nobody_in_the_room_would_see(room: Room) -> None:
    room.settings = settings(policy={"snapshot": True})
    room.sign_seen = False
    reply = await room.order("camera", {"snapshot": True, "force": True})
    assert (reply.state, reply.code) == ("refused", "not_permitted")
    assert room.workers.asked == []


async def test_no_picture_is_taken_that_the_audit_cannot_keep(room: Room) -> None:
    room.settings = settings(policy={"snapshot": True})
    room.card_good = False
    reply = await room.order("camera", {"snapshot": True})
    assert (reply.state, reply.code) == ("failed", "internal")
    assert (room.workers.asked, room.told_of_pictures) == ([], 0)
    zoomed = await room.order("camera", {"zoom": 2}, id="zoom-it-is")
    assert zoomed.state == "done", "all else is done all the same"


@pytest.mark.parametrize(
    "answer",
    [picture(200 * 1024 + 1), picture(0), {"jpeg_base64": "!"}, {}],
    ids=["big", "empty", "junk", "none"],
)
async def test_a_snapshot_that_is_none_or_too_large_fails(room: Room, answer: dict[str, Any]) -> None:
    room.settings = settings(policy={"snapshot": True})
    room.workers.answers["camera", "snapshot"] = answer
    assert (await room.order("camera", {"snapshot": True})).state == "failed"


async def test_force_goes_on_to_the_device(room: Room) -> None:
    await room.order("camera", {"zoom": 2, "force": True})
    await room.order("speaker", {"announce": "here", "force": True})
    await room.order("display", {"card": "bars", "force": True})
    assert room.workers.asked == [
        ("camera", "set", {"zoom": 2, "force": True}),
        ("audio", "speaker", {}),
        ("audio", "announce", {"name": "here", "force": True}),
        ("display", "set", {"card": "bars", "force": True}),
    ]


# --- Sound and screen


async def test_muting_is_always_allowed_unmuting_by_policy(room: Room) -> None:
    room.workers.answers["audio", "microphone"] = {"muted": True, "gain_db": 0.0}
    assert (await room.order("microphone", {"mute": True})).result == {"muted": True, "gain_db": 0.0}
    room.settings = settings(policy={"unmute": True})
    room.workers.answers["audio", "microphone"] = {"muted": True, "muted_by": "kit"}
    assert (await room.order("microphone", {"mute": False}, id="unmuting")).state == "done"


async def test_what_the_room_has_muted_is_not_unmuted_from_afar(room: Room) -> None:
    room.settings = settings(policy={"unmute": True})
    room.workers.answers["audio", "microphone"] = Forbidden("it was muted in the room")
    for audience in ("point/xp-0417", "group/all"):
        nonce = {"nonce": NONCE if audience.startswith("point") else None}
        args = {"mute": False, "force": True}
        reply = await room.order("microphone", args, id=f"{audience[:5]}-order", aud=audience, **nonce)
        assert (reply.state, reply.code) == ("refused", "not_permitted")
    # One request, in which the device's process looks and sets: nothing can come in between.
    assert room.workers.asked == [("audio", "microphone", {"mute": False})] * 2


@pytest.mark.parametrize(
    ("verb", "arg", "limit"),
    [
        ("camera", "zoom", MAX_ZOOM),
        ("microphone", "gain_db", GAIN_DB[0]),
        ("microphone", "gain_db", GAIN_DB[1]),
    ],
)
async def test_what_no_device_could_do_is_refused_before_it_is_accepted(
    room: Room, verb: str, arg: str, limit: float
) -> None:
    await room.order(verb, {arg: limit}, id="at-the-limit")
    assert room.last.state == "done"
    await room.order(verb, {arg: limit * 1.01}, id="beyond-it")
    assert room.states[-1] == ("refused", "bad_args")
    assert [reply.state for reply in room.answers if reply.id == "beyond-it"] == ["refused"]


async def test_speaker_answers_volume_and_what_was_announced(room: Room) -> None:
    room.workers.answers["audio", "speaker"] = {"volume_percent": 40.0, "muted": False}
    room.workers.answers["audio", "announce"] = {"name": "chime", "seconds": 1.2}
    reply = await room.order("speaker", {"volume_percent": 40, "announce": "chime"})
    assert reply.result == {
        "volume_percent": 40.0,
        "muted": False,
        "announced": {"name": "chime", "seconds": 1.2},
    }


async def test_a_screen_that_does_not_tell_answers_unknown(room: Room) -> None:
    room.workers.answers["display", "set"] = {"power": "unknown"}
    reply = await room.order("display", {"power": True})
    assert reply.result == {"power": "unknown"}


@pytest.mark.parametrize("address", ["kit", "2.0.0.0", "f.1.0.0"])
async def test_an_input_is_the_kit_or_an_hdmi_address(room: Room, address: str) -> None:
    assert (await room.order("display", {"input": address})).state == "done"
    assert (await room.order("display", {"input": address + "\n"}, id="line-end")).code == "bad_args"


# --- The line, the journal, the version


async def test_rehearse_says_that_nothing_would_answer(room: Room) -> None:
    reply = await room.order("rehearse")
    assert (reply.state, reply.code) == ("failed", "unsupported")
    assert "reflector" in (reply.detail or "")


async def test_rehearse_puts_the_load_that_was_asked_for_on_the_line(room: Room) -> None:
    loads: list[dict[str, Any]] = []

    async def rehearse(load: Any) -> dict[str, Any]:
        loads.append(dict(load))
        return {"loss_percent": 0.0}

    room.rewire(rehearse=rehearse)
    reply = await room.order("rehearse", {"seconds": 5, "rate_pps": 100})
    assert loads == [{"seconds": 5, "rate_pps": 100, "size_bytes": 200, "dscp": 46}]
    assert reply.result == {"loss_percent": 0.0}


async def test_a_rehearsal_that_cannot_begin_says_why(room: Room) -> None:
    async def rehearse(load: Any) -> dict[str, Any]:
        raise OSError("stamp.example: not known")

    room.rewire(rehearse=rehearse)
    reply = await room.order("rehearse")
    assert (reply.state, reply.code) == ("failed", "reflector_silent")
    assert "stamp.example: not known" in (reply.detail or "")


async def test_logs_are_the_newest_lines(room: Room) -> None:
    room.lines = [f"line {number}" for number in range(500)]
    reply = await room.order("logs", {"lines": 3, "unit": "diemcau-agent.service"})
    assert reply.result["lines"] == ["line 497", "line 498", "line 499"]
    assert reply.result["unit"] == "diemcau-agent.service"


@pytest.mark.parametrize("text", ["a" * 100, "\x00" * 40, "ệ" * 50, '"\\' * 30, string.printable])
async def test_logs_are_at_most_64_kib_on_the_wire(room: Room, text: str) -> None:
    room.lines = [text] * 2000
    reply = await room.order("logs", {"lines": 2000})
    size = len(msgspec.json.encode(reply.result["lines"]))
    assert size <= 64 * 1024 + 2
    assert size > 60 * 1024
    assert len(reply.result["lines"]) + reply.result["left_out"] == 2000


async def test_one_endless_line_is_cut(room: Room) -> None:
    room.lines = ["x" * 10_000_000]
    assert [len(line) for line in (await room.order("logs")).result["lines"]] == [4096]


async def test_a_journal_that_cannot_be_read_is_said_so(room: Room) -> None:
    room.lines = FileNotFoundError("journalctl")
    assert (await room.order("logs")).code == "unsupported"


# --- Configuration


async def test_config_leaves_out_where_keys_lie(room: Room) -> None:
    room.settings = settings(
        broker={"urls": ["mqtt://b"], "cert_file": "/secret/cert", "key_file": "/secret/key"},
        backend_options={"socket": "/secret/socket"},
    )
    reply = await room.order("config", {"get": True})
    assert "secret" not in json.dumps(reply.result)
    assert reply.result["settings"]["broker"]["urls"] == ["mqtt://b"]
    assert reply.result["changeable"] == list(CHANGEABLE)
    assert reply.result["pending"] == {}


async def test_what_is_set_is_kept_and_says_when_it_holds(room: Room, tmp_path: Path) -> None:
    changes = {"probe": {"period_s": 60}, "name": "Hội trường B"}
    reply = await room.order("config", {"set": changes})
    assert reply.result["changed"] == {"probe.period_s": "at the next start", "name": "at the next start"}
    assert reply.result["pending"] == {"name": "Hội trường B", "probe.period_s": 60}
    assert reply.result["settings"]["name"] == ""
    next_start = RemoteSettings(tmp_path / "remote.json").over(settings())
    assert (next_start.name, next_start.probe.period_s) == ("Hội trường B", 60)


async def test_what_a_running_agent_can_take_holds_at_once(room: Room) -> None:
    room.adopts = frozenset({"name"})
    reply = await room.order("config", {"set": {"name": "B"}})
    assert reply.result["changed"] == {"name": "now"}
    assert reply.result["settings"]["name"] == "B"
    assert reply.result["pending"] == {}


async def test_a_second_set_keeps_the_first(room: Room) -> None:
    await room.order("config", {"set": {"name": "A"}})
    await room.order("config", {"set": {"level": "commune"}}, id="config-second")
    assert room.remote.load() == {"name": "A", "level": "commune"}


BAD_SETS: list[tuple[dict[str, Any], str]] = [
    ({"probe.period_s": 1}, "args.set.probe.period_s: got 1, expected"),
    ({"expected": {"camera": "yes"}}, "args.set.expected.camera: got"),
    ({"point": "other"}, "args.set.point: cannot be changed from afar"),
    ({"policy": {"snapshot": True}}, "args.set.policy: cannot be changed from afar"),
    ({"probe": {"deadline_s": 9}}, "args.set.probe.deadline_s: cannot be changed from afar"),
    ({"camera.presets": {"wide": [1.0, 0.5]}}, "args.set.camera.presets"),
    ({"language": "fr"}, 'args.set.language: got "fr"'),
]


@pytest.mark.parametrize(("changes", "detail"), BAD_SETS, ids=[detail for _, detail in BAD_SETS])
async def test_what_may_not_be_set_is_refused_and_nothing_is_kept(
    room: Room, changes: dict[str, Any], detail: str
) -> None:
    reply = await room.order("config", {"set": changes | {"name": "never kept"}})
    assert (reply.state, reply.code) == ("refused", "bad_args")
    assert detail in (reply.detail or "")
    assert room.remote.load() == {}


async def test_config_is_get_or_set(room: Room) -> None:
    assert (await room.order("config")).code == "bad_args"
    assert (await room.order("config", {"get": True, "set": {"name": "A"}}, id="config-2")).code == "bad_args"


async def test_a_damaged_file_is_told_at_the_start_and_mended_by_the_next_set(room: Room) -> None:
    room.remote.path.write_bytes(b'{"name": ')
    with pytest.raises(ConfigError, match=r"remote\.json: cannot be read"):
        room.remote.over(settings())
    assert (await room.order("config", {"get": True})).state == "done"
    assert (await room.order("config", {"set": {"name": "A"}}, id="config-2")).state == "done"
    assert room.remote.over(settings()).name == "A"


async def test_a_file_that_cannot_be_written_changes_nothing(room: Room) -> None:
    room.remote.path.with_name(".remote.json.new").mkdir()
    room.adopts = frozenset({"name"})
    reply = await room.order("config", {"set": {"name": "A"}})
    assert (reply.state, reply.code) == ("failed", "internal")
    assert room.settings.name == ""


def test_every_changeable_setting_exists_and_can_be_merged() -> None:
    base = settings()
    for name in CHANGEABLE:
        value: Any = msgspec.to_builtins(base)
        for part in name.split("."):
            value = value[part]
        assert merge(base, {name: value}) == base


def test_nested_and_dotted_names_are_the_same() -> None:
    nested = {"expected": {"camera": False}, "camera": {"presets": {"a": [2, 0.5, 0.5]}}}
    dotted = {"expected.camera": False, "camera.presets": {"a": [2, 0.5, 0.5]}}
    assert flatten(nested) == flatten(dotted) == dotted


# --- The audit, and what no signature can change


AUDITED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ping", {}, {}),
    ("microphone", {"mute": True}, {"mute": True}),
    ("config", {"set": {"name": "Hall 2"}}, {"set": {"name": "Hall 2"}}),
    ("display", {"message": "Ms Lan, please wait", "power": True}, {"message": "given", "power": True}),
    ("restart", {"target": "host", "reboot_nonce": "n0nce"}, {"target": "host", "reboot_nonce": "given"}),
]


@pytest.mark.parametrize(("verb", "args", "kept"), AUDITED, ids=[verb for verb, *_ in AUDITED])
async def test_what_was_accepted_is_in_the_audit_without_secrets_and_words(
    room: Room, verb: str, args: dict[str, Any], kept: dict[str, Any]
) -> None:
    await room.send(verb, args)
    await room.replied()
    (kind, data), *_ = room.notes
    assert (kind, data["verb"], data["iss"], data["aud"], data["args"]) == (
        "command_accepted", verb, "operator-1", "point/xp-0417", kept,
    )  # fmt: skip


async def test_what_was_refused_or_repeated_is_no_entry_of_its_own(room: Room) -> None:
    await room.order("camera", {"snapshot": True})
    assert room.notes == []
    await room.order("ping")
    await room.send("ping")
    assert [kind for kind, _ in room.notes] == ["command_accepted"]


def test_the_rooms_own_word_cannot_be_changed_from_afar() -> None:
    """By the first level of every setting there is: a new one is refused until somebody adds it here."""
    changeable = {name.partition(".")[0] for name in CHANGEABLE}
    assert changeable == {"name", "place", "level", "language", "expected", "probe", "panel", "camera"}
    whole: dict[str, Any] = msgspec.to_builtins(settings())
    for name, value in whole.items():
        if name not in changeable:
            with pytest.raises(ConfigError, match=f"{name}.*: cannot be changed from afar"):
                flatten({name: value if not isinstance(value, dict) or value else {"x": 1}})
    for name in ("policy", "fleet_keys", "commands", "enrolment", "broker", "state_dir", "runtime_dir"):
        assert name in set(whole) - changeable


@pytest.mark.parametrize(
    ("verb", "args", "policy"),
    [
        ("camera", {"power": True}, "camera_on"),
        ("camera", {"snapshot": True}, "snapshot"),
        ("microphone", {"mute": False}, "unmute"),
        ("restart", {"target": "host"}, "host_restart"),
    ],
)
async def test_policy_beats_any_signature(room: Room, verb: str, args: dict[str, Any], policy: str) -> None:
    room.settings = settings(policy={policy: False})
    reply = await room.order(verb, {**args, "force": True})
    assert (reply.state, reply.code) == ("refused", "not_permitted")
    assert (room.workers.asked, room.restarted, room.notes) == ([], [], [])

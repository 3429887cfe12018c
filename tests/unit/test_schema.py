"""The schemas in docs/ are those of the structs, and what the agent sends is valid by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema
import msgspec
import pytest

import signing
from diemcau_agent import jws, model, schema, topics
from diemcau_agent.commands.verbs import VERBS
from diemcau_agent.config import Settings

DOCS = Path(__file__).parents[2] / "docs"
FILES = schema.files()
COMMON: dict[str, Any] = {
    "point": "xp-0417", "boot": "8f0c", "session": 12, "connection": "5b1d",
    "time": "2026-11-22T07:30:00.000Z", "clock": "synced", "mono_ms": 81234567,
}  # fmt: skip
JUDGED = model.Judged(
    state="degraded", code="frame_blurred", since=COMMON["time"], checked=COMMON["time"],
    codes=("frame_blurred",), readings={"sharpness_ratio": 0.21, "muted": False, "power": "on", "fps": None},
    in_use_by="other",
)  # fmt: skip
FIELDS: dict[type[model.Document], dict[str, Any]] = {
    model.Birth: {
        "name": "Phòng họp", "place": ("Lào Cai", "Sa Pa"), "level": "commune", "groups": ("all",),
        "software": model.Software(version="0.1.0", python="3.11.2", os="Debian 12"),
        "hardware": model.Hardware(model="Raspberry Pi 4", serial_hash=None),
        "devices": {"camera": model.DeviceBirth(expected=True, backend="sim", capabilities=("zoom",))},
        "commands": "unsigned", "policy": model.Policy(),
    },
    model.Status: {"status": "online", "nonce": "00ff", "reboot_nonce": None},
    model.Health: {
        "readiness": "degraded", "reasons": ("frame_blurred",), "devices": {"camera": JUDGED},
        "host": JUDGED, "line": JUDGED,
    },
    model.Telemetry: {
        "spool": "u", "seq": 7, "window_s": 60,
        "series": {"camera.luma_mean": model.Series(n=6, min=0.1, mean=0.2, p95=0.3, max=0.3)},
    },
    model.Event: {"spool": "u", "seq": 8, "kind": "state", "device": "camera", "from_": "ok", "to": "absent"},
    model.Selftest: {
        "run": "r", "scope": "quick", "trigger": "button", "result": "failed", "duration_ms": 5200,
        "steps": (
            model.Step(name="camera_picture", device="camera", result="failed", code="frame_black",
                       measured={"luma_mean": 0.0}, expected="light", remedy=model.Remedy(vi="v", en="e")),
            model.Step(name="sound_loop", device="speaker", result="not_tested", code=None, measured={},
                       expected="", remedy=None, reason="in_use"),
        ),
    },
    model.Reply: {"id": "12345678", "verb": "ping", "state": "done", "result": {"session": 12}},
}  # fmt: skip


def examples() -> dict[str, Any]:
    """One document of each kind, as it goes over the wire."""
    made: dict[str, Any] = {}
    for name, kind in schema.DOCUMENTS.items():
        lasting = {"valid_s": model.VALID_S[kind]} if kind in model.VALID_S else {}
        document = kind(schema=model.SCHEMA_IDS[kind], **COMMON, **lasting, **FIELDS[kind])
        made[name] = json.loads(model.encode(document))
    return made


EXAMPLES = examples()


def validator(content: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(content)


def errors(name: str, document: Any) -> list[str]:
    return [str(error.message) for error in validator(FILES[name]).iter_errors(document)]


@pytest.mark.parametrize("name", FILES)
def test_docs_are_fresh(name: str) -> None:
    """`make schema` writes them again."""
    assert json.loads((DOCS / "schema" / name).read_text(encoding="utf-8")) == FILES[name]


def test_docs_hold_nothing_else() -> None:
    assert {path.name for path in (DOCS / "schema").iterdir()} == set(FILES)


def test_the_wire_page_links_each() -> None:
    page = (DOCS / "wire.md").read_text(encoding="utf-8")
    assert all(f"(schema/{name})" in page for name in FILES)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"asyncapi.json"}))
def test_each_is_a_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(FILES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_sent_is_valid(name: str) -> None:
    assert errors(f"{name}.json", EXAMPLES[name]) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_another_document_is_not(name: str) -> None:
    others = [other for other in EXAMPLES if other != name and not errors(f"{name}.json", EXAMPLES[other])]
    assert others == []


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    ("field", "value"),
    [("schema", "diemcau.health/2"), ("point", "Sa Pa"), ("clock", "maybe"), ("session", "12"), ("time", 5)],
)
def test_a_wrong_field_is_refused(name: str, field: str, value: Any) -> None:
    assert errors(f"{name}.json", {**EXAMPLES[name], field: value})


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_field_may_be_added_within_a_version(name: str) -> None:
    assert errors(f"{name}.json", {**EXAMPLES[name], "new": 1}) == []


def test_the_validity_is_the_promised_one() -> None:
    promise = {"birth": 0, "health": 180, "status": 900}
    assert {name: FILES[f"{name}.json"]["properties"]["valid_s"]["const"] for name in promise} == promise


CLAIMS: dict[str, Any] = {
    "id": "6f1f6a52-2f8e-4d0b-9c56-1d2f3a4b5c6d", "aud": "point/xp-0417", "verb": "restart",
    "args": {"target": "camera"}, "iss": "operator-1", "iat": 0, "exp": 60, "nonce": "ff",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"verb": "ping", "args": {}}, True),
        ({"aud": "group/all"}, True),
        ({"aud": "everyone"}, False),
        ({"verb": "explode"}, False),
        ({"args": {"target": "moon"}}, False),
        ({"args": {}}, False),
        ({"args": {"target": "camera", "hard": True}}, False),
        ({"verb": "ping"}, False),
        ({"iss": "Operator"}, False),
        ({"extra": 1}, False),
    ],
)
def test_a_commands_claims(changes: dict[str, Any], good: bool) -> None:
    assert (errors("command.json", {**CLAIMS, **changes}) == []) is good


def test_a_command_that_must_have_args_cannot_leave_them_out() -> None:
    assert errors("command.json", {name: value for name, value in CLAIMS.items() if name != "args"})


def test_every_verb_has_its_args() -> None:
    assert FILES["command.json"]["properties"]["verb"]["enum"] == sorted(VERBS)
    assert len(FILES["command.json"]["allOf"]) == len(VERBS)


def test_what_the_fleet_says_to_all() -> None:
    keys = json.loads(jws.parse(signing.key_list(signing.key("operator-1"))).payload)
    conference = {"schema": "diemcau.conference/1", "id": "national-1", "iss": "operator-1", "revision": 1,
                  "start": 0, "end": 60, "groups": ["all"]}  # fmt: skip
    assert errors("keys.json", keys) == []
    assert errors("keys.json", {**keys, "revision": 0})
    assert errors("conference.json", conference) == []
    assert errors("conference.json", {**conference, "freeze": None}) == []
    assert errors("conference.json", {**conference, "state": "perhaps"})
    assert errors("keys.json", conference)
    assert errors("conference.json", keys)


def test_a_settings_file() -> None:
    good = {"point": "xp-0417", "broker": {"urls": ["mqtts://broker.example:8883"]}, "backends": "sim"}
    assert errors("config.json", good) == []
    assert errors("config.json", {**good, "pont": 1})
    assert errors("config.json", {"point": "xp-0417"})
    assert errors("config.json", json.loads(msgspec.json.encode(msgspec.convert(good, Settings)))) == []


class TestAsyncapi:
    """Held valid against AsyncAPI's own 3.0.0 schema when it was written; here its promises and its links."""

    whole = FILES["asyncapi.json"]

    def test_has_what_asyncapi_3_asks_for(self) -> None:
        assert self.whole["asyncapi"] == "3.0.0"
        assert {"title", "version"} <= set(self.whole["info"])
        for operation in self.whole["operations"].values():
            assert operation["action"] in ("send", "receive")
            assert set(operation["channel"]) == {"$ref"}
        for channel in self.whole["channels"].values():
            assert {f"{{{name}}}" for name in channel["parameters"]} == {
                level for level in channel["address"].split("/") if level.startswith("{")
            }

    def test_every_reference_resolves(self) -> None:
        references = list(_references(self.whole))
        assert references
        for reference in references:
            target: Any = self.whole
            for key in reference.removeprefix("#/").split("/"):
                target = target[key]
            assert isinstance(target, dict)

    def test_a_message_of_an_operation_is_one_of_its_channel(self) -> None:
        for operation in self.whole["operations"].values():
            for part in (operation, operation.get("reply", operation)):
                channel = part["channel"]["$ref"]
                assert all(message["$ref"].startswith(f"{channel}/messages/") for message in part["messages"])

    def test_every_topic_is_there_with_its_qos_and_retain(self) -> None:
        sent: dict[str, tuple[int, bool]] = {}
        for operation in self.whole["operations"].values():
            if operation["action"] == "send":
                name = operation["channel"]["$ref"].rpartition("/")[2]
                binding = operation["bindings"]["mqtt"]
                sent[self.whole["channels"][name]["address"]] = (binding["qos"], binding["retain"])
        promised = {topics.point("{point}", name): (1, name in topics.RETAINED) for name in schema.DOCUMENTS}
        promised[topics.reply("{point}", "{iss}")] = promised.pop(topics.point("{point}", "reply"))
        assert sent == promised

    def test_commands_and_notices_are_received(self) -> None:
        received = {
            self.whole["channels"][operation["channel"]["$ref"].rpartition("/")[2]]["address"]
            for operation in self.whole["operations"].values()
            if operation["action"] == "receive"
        }
        assert received == {
            f"{topics.ROOT}/point/{{point}}/command/{{verb}}",
            f"{topics.ROOT}/group/{{group}}/command/{{verb}}",
            topics.KEYS_TOPIC,
            topics.conference("{conference}"),
        }

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_its_payloads_are_the_documents(self, name: str) -> None:
        payload = self.whole["components"]["messages"][name]["payload"]
        bundle = {**payload, "components": self.whole["components"]}
        assert [error.message for error in validator(bundle).iter_errors(EXAMPLES[name])] == []
        assert list(validator(bundle).iter_errors({**EXAMPLES[name], "schema": "other/1"}))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            if key == "$ref":
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _references(item)


def test_written_files_are_what_is_printed(tmp_path: Path) -> None:
    written = schema.write(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {
        "codes.md", *(f"schema/{name}" for name in FILES),
    }  # fmt: skip
    printed = json.loads(schema.as_text())
    assert printed == {path.name: json.loads(path.read_text()) for path in written if path.suffix == ".json"}

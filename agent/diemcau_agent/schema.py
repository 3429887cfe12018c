"""The wire, described from the structs: JSON Schema (2020-12) of every document, of commands and settings,
and AsyncAPI 3.0 of the topics. ``diemcau-agent schema`` prints them; docs/schema/ holds them.

The payloads inside the AsyncAPI description are the same schemas, bundled.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from . import codes_page, model, topics
from .commands.claims import MAX_BYTES
from .commands.verbs import VERBS
from .config import Broker, Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SESSION_EXPIRY_S = 60
Schema = dict[str, Any]

DOCUMENTS: dict[str, type[model.Document]] = {kind.__name__.lower(): kind for kind in model.SCHEMA_IDS}
"""The document's name, which is its topic's last level (``reply`` has the operator's key id below)."""
NOTICES: dict[str, type[msgspec.Struct]] = {"keys": model.Keys, "conference": model.Conference}
"""What the fleet says to all: the payload of a compact JWS, retained."""
SUMMARIES = {
    "birth": "Who this is, what it should have, what it can do",
    "status": "Online, offline (said goodbye) or lost (the Will); the nonces",
    "health": "The judged state of every device, the host and the line",
    "telemetry": "One-minute aggregates of every reading",
    "event": "What happened, in order",
    "selftest": "The last self-test report, whole",
    "reply": "Replies to commands",
    "keys": "Whom to obey: the operators' keys with their roles, and those revoked",
    "conference": "A conference's window, freeze, thresholds and groups",
}
PARAMETERS: dict[str, str] = {
    "point": "The point's opaque id",
    "group": "A group's id; all points are in `all`",
    "iss": "The key id of the operator who gave the command",
    "verb": "What is to be done",
    "conference": "A conference's id",
}


def files() -> dict[str, Schema]:
    """File name -> content."""
    written = {f"{name}.json": _titled(_document(kind), name) for name, kind in DOCUMENTS.items()}
    written |= {f"{name}.json": _titled(_rooted(kind), name) for name, kind in NOTICES.items()}
    written["command.json"] = _titled(command(), "command")
    written["config.json"] = _titled(_rooted(Settings), "config")
    written["asyncapi.json"] = asyncapi()
    # A default that is a tuple is a list on the wire.
    return json.loads(json.dumps(written), object_hook=_portable)


def _portable(schema: Schema) -> Schema:
    """The page is the same from every Python: a docstring's indentation is gone in 3.13, and there in 3.11.
    Its regular expressions are ECMA-262's (JSON Schema Core 6.4): ``$`` is there what ``\\Z`` is here."""
    text, pattern = schema.get("description"), schema.get("pattern")
    if isinstance(text, str):
        schema = {**schema, "description": inspect.cleandoc(text)}
    if isinstance(pattern, str):
        schema = {**schema, "pattern": pattern.replace(r"\Z", "$")}
    return schema


def as_text() -> str:
    """All of them, one JSON object by file name."""
    return _text(files()).rstrip("\n")


def write(directory: Path) -> list[Path]:
    """``schema/*.json`` and ``codes.md`` below ``directory``; the files written."""
    (directory / "schema").mkdir(parents=True, exist_ok=True)
    texts = {directory / "schema" / name: _text(content) for name, content in files().items()}
    texts[directory / "codes.md"] = codes_page.render()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def command() -> Schema:
    """The claims of a command; each verb's ``args`` by ``verb``."""
    kinds = {name: verb.args for name, verb in VERBS.items()}
    template = "#/$defs/{name}"
    (claims, *refs), defs = msgspec.json.schema_components(
        [model.Claims, *kinds.values()], ref_template=template
    )
    whole: Schema = defs.pop(claims["$ref"].rpartition("/")[2])
    whole["properties"]["verb"] = {"enum": sorted(kinds)}
    whole["properties"]["aud"]["pattern"] = f"^(point|group)/{topics.ID_PATTERN[1:]}"
    whole["allOf"] = [
        {
            "if": {"properties": {"verb": {"const": verb}}, "required": ["verb"]},
            "then": {"properties": {"args": ref}, "required": ["args"] if _must(kinds[verb]) else []},
        }
        for verb, ref in zip(kinds, refs, strict=True)
    ]
    return {**whole, "$defs": defs}


def asyncapi() -> Schema:
    """From the point's side: it sends documents, it receives commands and notices."""
    refs, schemas = msgspec.json.schema_components(
        [*DOCUMENTS.values(), *NOTICES.values()], ref_template="#/components/schemas/{name}"
    )
    for kind in DOCUMENTS.values():
        _fix(schemas[kind.__name__], kind)
    claims = json.loads(json.dumps(command()).replace("#/$defs/", "#/components/schemas/"))
    schemas.update(claims.pop("$defs"))
    schemas["Claims"] = claims
    payloads = dict(zip((*DOCUMENTS, *NOTICES), refs, strict=True)) | {
        "command": {"$ref": "#/components/schemas/Claims"}
    }
    channels = {name: _channel(_address(name), name) for name in DOCUMENTS}
    point_commands, *group_commands = topics.command_filters("{point}", ("{group}",))
    channels["command"] = _channel(point_commands.replace("+", "{verb}"), "command")
    channels["groupCommand"] = _channel(group_commands[0].replace("+", "{verb}"), "command")
    channels["keys"] = _channel(topics.KEYS_TOPIC, "keys")
    channels["conference"] = _channel(topics.conference("{conference}"), "conference")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "diemcau",
            "version": topics.ROOT.rpartition("/v")[2],
            "description": "The MQTT contract of a conference room's agent; docs/wire.md says it in words.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": channels,
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name, payload) for name, payload in payloads.items()},
            "parameters": {name: {"description": text} for name, text in PARAMETERS.items()},
            "schemas": schemas,
        },
    }


def _server() -> Schema:
    return {
        "host": "{broker}:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5",
        "description": "Mutual TLS; certificate CN = client id = the point's id. wss:// on 443 as well.",
        "variables": {"broker": {"description": "One of the addresses in the room's settings"}},
        "bindings": {
            "mqtt": {
                "clientId": "{point}",
                "cleanSession": False,
                "keepAlive": _default(Broker, "keepalive_s"),
                "sessionExpiryInterval": SESSION_EXPIRY_S,
                "lastWill": {
                    "topic": topics.point("{point}", "status"),
                    "qos": 1,
                    "retain": True,
                    "message": "status = lost",
                },
                "bindingVersion": "0.2.0",
            }
        },
    }


def _channel(address: str, message: str) -> Schema:
    names = [level[1:-1] for level in address.split("/") if level.startswith("{")]
    return {
        "address": address,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
    }


def _operations() -> Schema:
    operations: Schema = {
        f"send{name.capitalize()}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": SUMMARIES[name],
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            "bindings": {"mqtt": {"qos": 1, "retain": name in topics.RETAINED, "bindingVersion": "0.2.0"}},
        }
        for name in DOCUMENTS
    }
    for name, whom in (("command", "this point"), ("groupCommand", "a group of points")):
        operations[f"receive{name[0].upper()}{name[1:]}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": f"A command to {whom}, never retained, at most {MAX_BYTES} bytes",
            "messages": [{"$ref": f"#/channels/{name}/messages/command"}],
            "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}},
            "reply": {
                "channel": {"$ref": "#/channels/reply"},
                "messages": [{"$ref": "#/channels/reply/messages/reply"}],
            },
        }
    for name in NOTICES:
        operations[f"receive{name.capitalize()}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": SUMMARIES[name],
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            "bindings": {"mqtt": {"qos": 1, "retain": True, "bindingVersion": "0.2.0"}},
        }
    return operations


def _message(name: str, payload: Schema) -> Schema:
    return {
        "name": name,
        "title": SUMMARIES.get(name, "A command's claims"),
        "contentType": "application/json",
        "payload": payload,
        "bindings": {"mqtt": {"payloadFormatIndicator": 1, "bindingVersion": "0.2.0"}},
    }


def _address(name: str) -> str:
    return topics.reply("{point}", "{iss}") if name == "reply" else topics.point("{point}", name)


def _document(kind: type[model.Document]) -> Schema:
    whole = _rooted(kind)
    _fix(whole, kind)
    return whole


def _fix(schema: Schema, kind: type[model.Document]) -> None:
    """What the types leave open and the page promises."""
    properties = schema["properties"]
    properties["schema"] = {"const": model.SCHEMA_IDS[kind]}
    properties["time"]["format"] = "date-time"
    if kind in model.VALID_S:
        properties["valid_s"] = {"const": model.VALID_S[kind]}


def _rooted(kind: type[msgspec.Struct]) -> Schema:
    """``kind`` itself at the root, what it is made of in ``$defs``."""
    (ref,), defs = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    whole: Schema = defs.pop(ref["$ref"].rpartition("/")[2])
    return {**whole, "$defs": defs} if defs else whole


def _titled(schema: Schema, name: str) -> Schema:
    rest = {key: value for key, value in schema.items() if key != "title"}
    return {"$schema": DIALECT, "$id": f"urn:diemcau:1:{name}", "title": f"diemcau {name}", **rest}


def _must(kind: type[msgspec.Struct]) -> bool:
    """Whether it has a field that must be given."""
    return any(field.required for field in msgspec.structs.fields(kind))


def _default(kind: type[msgspec.Struct], name: str) -> Any:
    return next(field.default for field in msgspec.structs.fields(kind) if field.name == name)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

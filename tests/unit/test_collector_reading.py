"""Whatever comes over the wire is a document or a told refusal, never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.topics import point
from diemcau_fleet.collector.ledger import Ledger
from diemcau_fleet.collector.reading import LIMIT_BYTES, Rejected, read
from point_documents import WALL_S, document, message

KINDS = ["birth", "status", "health", "selftest", "event", "telemetry", "reply"]
NAMES = ["birth", "status", "health", "selftest", "event", "telemetry", "reply/op-1", "command/x", "", "+"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def topic_of(kind: str) -> str:
    return point("xp-0417", "reply/op-1" if kind == "reply" else kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_document_of_the_wire_is_read(kind: str) -> None:
    body = document(kind, added_in_a_later_minor_version=[1, {"a": None}])
    envelope = read(topic_of(kind), json.dumps(body).encode())
    assert (envelope.point, envelope.name.split("/")[0], envelope.time_ms) == ("xp-0417", kind, WALL_S * 1000)
    assert envelope.document is not None


@given(
    topic=st.text(max_size=40) | st.sampled_from([point("xp-0417", name) for name in NAMES]),
    payload=st.binary(),
)
def test_arbitrary_bytes_are_refused(topic: str, payload: bytes) -> None:
    if payload:
        with pytest.raises(Rejected):
            read(topic, payload)


@given(kind=st.sampled_from(KINDS), data=st.data())
def test_a_document_with_any_field_changed_or_gone_is_taken_or_refused(
    kind: str, data: st.DataObject
) -> None:
    body = document(kind)
    field = data.draw(st.sampled_from([*body, "new"]))
    if data.draw(st.booleans()):
        body[field] = data.draw(JSON)
    else:
        body.pop(field, None)
    ledger = Ledger()
    ledger.take(topic_of(kind), json.dumps(body).encode(), 0, live=True)
    assert len(ledger.batch.refusals) == ledger.counts.rejected
    for row in ledger.batch.rows:
        assert 0 < row.seq <= 2**53
        json.loads(row.payload)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"point": "xp-0418"}, "point: got 'xp-0418', but it came on the topic of 'xp-0417'"),
        ({"schema": "diemcau.event/2"}, "schema: got 'diemcau.event/2', expected 'diemcau.event/1'"),
        ({"seq": 0}, "seq: got 0, expected 1"),
        ({"seq": 2**53 + 1}, "seq: got 9007199254740993"),
        ({"seq": 10**400}, "seq: got 1329 bits"),
        ({"session": -1}, "session: got -1"),
        ({"mono_ms": 1.5}, r"\$.mono_ms"),
        ({"spool": "a b"}, "spool: got 'a b'"),
        ({"boot": ""}, "boot: got ''"),
        ({"time": "2026-11-22T07:30:00"}, "expected RFC 3339"),
        ({"clock": "fine"}, r"\$.clock"),
        ({"kind": "x" * 65}, "kind: got"),
        ({"data": "x" * LIMIT_BYTES}, f"expected at most {LIMIT_BYTES}"),
    ],
)
def test_a_refusal_names_the_field_what_it_got_and_what_it_expects(
    changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(Rejected, match=says):
        read(*message("event", **changed))


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xfe", b'{"a": "\xff"}', b"[" * 60_000, b"[]", b"null", b"{" * 60_000, b'{"a":' * 10_000, b"NaN"],
)
def test_what_is_not_a_json_object_in_utf8_is_refused(payload: bytes) -> None:
    with pytest.raises(Rejected):
        read(point("xp-0417", "event"), payload)


def test_bytes_that_are_no_utf8_are_refused_even_where_nobody_looks() -> None:
    topic, payload = message("telemetry", series="here")
    with pytest.raises(Rejected, match="utf-8"):
        read(topic, payload.replace(b"here", b"h\xffre"))


@pytest.mark.parametrize("kind", ["birth", "status", "health", "selftest"])
def test_an_empty_retained_topic_was_cleared(kind: str) -> None:
    assert read(point("xp-0417", kind), b"").document is None


@pytest.mark.parametrize("kind", ["event", "telemetry", "reply/op-1"])
def test_an_empty_message_elsewhere_is_refused(kind: str) -> None:
    with pytest.raises(Rejected):
        read(point("xp-0417", kind), b"")

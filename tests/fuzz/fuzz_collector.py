"""Any topic and payload at the centre: a document, or the reason why it is none. A NUL parts the two."""

from __future__ import annotations

from diemcau_agent.topics import command_audience, conference_id, is_id
from diemcau_fleet.collector import reading

COMMON = (
    b'"point":"xp-0417","boot":"b","session":1,"connection":"c","time":"2026-11-22T07:30:00.000Z","clock":"synced",'
    b'"mono_ms":1'
)
KINDS = {
    "event": b'"spool":"s","seq":1,"kind":"dropped","data":{"stream":"event","from":1,"to":2}',
    "telemetry": b'"spool":"s","seq":1,"window_s":60,"series":{}',
    "status": b'"valid_s":900,"status":"online","nonce":"n"',
    "reply/operator-1": b'"id":"seed-0001","verb":"ping","state":"done","result":{"missing":[[1,2]]}',
    "selftest": b'"result":"passed"',
    "health": b'"valid_s":180,"readiness":"ready"',
    "birth": b'"valid_s":0,"commands":"signed"',
}


def seeds() -> list[bytes]:
    made = [
        b'diemcau/v1/point/xp-0417/%b\0{"schema":"diemcau.%b/1",%b,%b}'
        % (name.encode(), name.partition("/")[0].encode(), COMMON, more)
        for name, more in KINDS.items()
    ]
    return [
        *made,
        b"diemcau/v1/point/xp-0417/command/ping\0",
        b"diemcau/v1/conference/hop-1\0{}",
        b"diemcau/v1/group/all/command/x\0",
    ]


def fuzz(data: bytes) -> None:
    name, _, payload = data.partition(b"\0")
    topic = name.decode("utf-8", "replace")
    audience = command_audience(topic)
    assert audience is None or topic == f"diemcau/v1/{audience[0]}/command/{audience[1]}"
    conference = conference_id(topic)
    assert conference is None or topic == f"diemcau/v1/conference/{conference}"
    try:
        envelope = reading.read(topic, payload)
    except reading.Rejected as error:
        assert str(error)
        return
    assert is_id(envelope.point)

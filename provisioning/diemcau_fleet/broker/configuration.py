"""mosquitto.conf, for mosquitto 2.0.11 (Debian 12) and 2.0.21 (Debian 13). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from diemcau_agent import topics

from .settings import ACL, CA, CRL, Bridge, Listen, Settings

_UP = ("birth", "status", "health", "telemetry", "event", "selftest", "reply/+")
"""What a province hands to the centre of each of its points, and below, what it takes from there. Named one
by one and disjoint: nothing that came in goes out again."""
_DOWN = (
    f"{topics.ROOT}/point/+/command/+",
    f"{topics.ROOT}/group/+/command/+",
    topics.CONFERENCE_FILTER,
    topics.KEYS_TOPIC,
)
_WHOLE = """\
# Written by `diemcau-fleet broker`: a change by hand is lost. docs/broker.md
user {user}
pid_file {pid_file}

# One set of rules for all listeners. Per listener, mosquitto forgets which rules hold for a client that is
# away, and drops its delayed Will.
per_listener_settings false
allow_anonymous false
acl_file {acl}

# By default the state of a broker that is killed is that of half an hour ago. Each time all is written:
# 14,934 kits' documents are 103 MB and half a second.
persistence true
persistence_location {state}/
autosave_interval 300
# A session that nobody came back to; the collector asks for a day.
persistent_client_expiration 7d

# The default of 1000 drops in silence: of 14,934 Wills after a power cut a subscriber got 1,020.
max_queued_messages 100000
# Of a bridge, which speaks MQTT 3.1.1, this is what may be under way to the centre.
max_inflight_messages 100
# The largest document is a snapshot: 200 KiB of JPEG in base64.
max_packet_size 327680
# A line that died is known in 1.5 times this at most; 0, which is never, is no choice of a client's.
max_keepalive 120
# Without it an exchange stalls for 40 ms.
set_tcp_nodelay true
sys_interval 60

log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true
"""
_LISTENER = """\

listener {port} {host}
cafile {ca}
certfile {cert}
keyfile {key}
tls_version tlsv1.2
require_certificate true
# The certificate's CN is the user name and the client id: nobody takes over another's session.
use_identity_as_username true
use_username_as_clientid true
"""
_CRL = "crlfile {crl}\n"
_WEBSOCKETS = """\
protocol websockets
# Without it libwebsockets listens on every address, whatever the listener says.
socket_domain {domain}
# No crlfile: mosquitto 2.0 gives none to libwebsockets. Whoever is revoked is denied everything by the ACL.
"""
_BRIDGE = """\

connection {id}
address {host}:{port}
# MQTT 3.1.1 with a session that stays: in MQTT 5 this bridge loses what comes while the line is down.
bridge_protocol_version mqttv311
cleansession false
remote_clientid {id}
local_clientid {id}-local
keepalive_interval 20
restart_timeout 1 60
start_type automatic
notifications false
bridge_cafile {ca}
bridge_certfile {cert}
bridge_keyfile {key}
bridge_tls_version tlsv1.2
bridge_insecure false
bridge_outgoing_retain true
"""


class SettingsError(ValueError):
    """A value that would be more than one value in a file of lines."""


def configuration(settings: Settings) -> str:
    """The file's text. Raises SettingsError."""
    return "".join(_parts(settings))


def _parts(settings: Settings) -> Iterator[str]:
    yield _fill(
        _WHOLE, user=settings.user, pid_file=settings.pid_file, acl=settings.place / ACL, state=settings.state
    )
    for listen in settings.mqtts:
        yield _listener(listen, settings) + _fill(_CRL, crl=settings.place / CRL)
    for listen in settings.wss:
        domain = "ipv6" if ":" in listen.host else "ipv4"
        yield _listener(listen, settings) + _fill(_WEBSOCKETS, domain=domain)
    if settings.bridge is not None:
        yield from _bridge(settings.bridge)


def _listener(listen: Listen, settings: Settings) -> str:
    return _fill(
        _LISTENER, port=listen.port, host=listen.host,
        ca=settings.place / CA, cert=settings.host_cert, key=settings.host_key,
    )  # fmt: skip


def _bridge(bridge: Bridge) -> Iterator[str]:
    yield _fill(
        _BRIDGE, id=bridge.id, host=bridge.host, port=bridge.port,
        ca=bridge.ca_file, cert=bridge.cert_file, key=bridge.key_file,
    )  # fmt: skip
    for name in _UP:
        yield f"topic {topics.ROOT}/point/+/{name} out 1\n"
    for name in _DOWN:
        yield f"topic {name} in 1\n"


def _fill(template: str, **values: object) -> str:
    for name, value in values.items():
        text = str(value)
        if not text or text != text.strip() or not text.isprintable():
            raise SettingsError(f"{name}: got {text!r}, expected one line of text")
    return template.format(**values)

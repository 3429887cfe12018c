"""The settings' tables of the servers that a room speaks to."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

BrokerUrl = Annotated[
    str,
    Meta(
        pattern=r"^(mqtts?|wss)://[^\s/:@]+(:\d{1,5})?(/\S*)?\Z",
        description='a URL such as "mqtts://broker.example:8883" (mqtt, mqtts or wss)',
    ),
]

Reflector = Annotated[
    str,
    Meta(
        pattern=r"^([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?\Z",
        description='a host and perhaps a port, such as "stamp.example" or "10.0.0.1:862"',
    ),
]


class Broker(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    urls: Annotated[tuple[BrokerUrl, ...], Meta(min_length=1)]
    """Tried in order."""
    keepalive_s: Annotated[int, Meta(ge=5, le=300)] = 20
    """With 20 s a dead line is known in under 60 s (docs/wire.md, Presence)."""
    spread_s: Annotated[float, Meta(ge=0, le=600)] = 120.0
    """After the broker's loss the first try waits uniform(0, this): 14,934 kits do not come at once."""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class Enrolment(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the kit's certificate comes from (EST, RFC 7030)."""

    url: Annotated[
        str, Meta(pattern=r"^https://[^\s/@]+/?\Z", description='a URL such as "https://est.example:8443"')
    ]
    ca_file: str | None = None
    """Whose certificate that server has; None: the system's authorities."""
    token_file: str = "/etc/diemcau/token"
    """The one-time token, until it is used."""


class Line(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The measured line to the centre (STAMP, RFC 8762)."""

    reflector: Reflector | None = None
    """"HOST" or "HOST:PORT" (862 by default): a router that reflects STAMP, or ``diemcau-fleet reflector``.
    None: loss, delay and jitter are not measured."""
    rest_s: Annotated[float, Meta(ge=1, le=60)] = 50.0
    """A burst of 10 packets at rest; 50 s leaves 10 s of the promised 60 s for its confirmation."""
    brisk_s: Annotated[float, Meta(ge=0.5, le=60)] = 2.0
    """The same while a conference is on or a self-test runs."""
    survey_s: Annotated[float, Meta(ge=5, le=3600)] = 900.0
    """The far part of the path (route, MTU, time source) is looked at this often; in trouble at each look."""
    dscp: Annotated[int, Meta(ge=0, le=63)] = 46
    """RFC 3246: Expedited Forwarding, what voice is marked with."""


class Update(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When this room takes another version, and from whose server."""

    window: (
        Annotated[
            str,
            Meta(
                pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d\Z",
                description='local times such as "01:00-04:00"',
            ),
        ]
        | None
    ) = None
    """None: at any time, but never while a conference is on, even one that freezes nothing."""
    ca_file: str | None = None
    """Whose certificate the server of the packages has; None: the system's authorities."""

"""The documents on the wire (docs/wire.md), one struct each. Pure.

Their single source: ``diemcau-agent schema`` prints JSON Schema and AsyncAPI from these classes.
Times are RFC 3339 UTC with milliseconds. ``state`` values are worst first as in :data:`STATES`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .topics import ID_PATTERN

State = Literal["failed", "stuck", "absent", "degraded", "unknown", "ok"]
Readiness = Literal["not_ready", "unknown", "degraded", "ready"]
ClockState = Literal["synced", "unsynced"]
CommandPolicy = Literal["signed", "unsigned", "off"]
STATES: tuple[State, ...] = ("failed", "stuck", "absent", "degraded", "unknown", "ok")

PointId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
Reading = float | int | str | bool | None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What every document a point publishes carries."""

    schema: str
    point: PointId
    boot: str
    session: int
    connection: str
    time: str
    clock: ClockState
    mono_ms: int


class Lasting(Document, frozen=True, kw_only=True):
    """A document that is shown as unknown once it is older than ``valid_s`` (0 = until the next)."""

    valid_s: int


class Software(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    python: str
    os: str


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    serial_hash: str | None


class DeviceBirth(msgspec.Struct, frozen=True, kw_only=True):
    expected: bool
    backend: str
    identity: dict[str, str] = {}
    capabilities: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the room allows from afar; the room's own file says so, no signature can.

    The default is what nobody has to be asked about.
    """

    camera_on: bool = False
    snapshot: bool = False
    unmute: bool = False
    host_restart: bool = True


class Birth(Lasting, frozen=True, kw_only=True):
    name: str
    place: tuple[str, ...]
    level: str
    groups: tuple[str, ...]
    software: Software
    hardware: Hardware
    devices: dict[str, DeviceBirth]
    commands: CommandPolicy
    policy: Policy


class Status(Lasting, frozen=True, kw_only=True):
    status: Literal["online", "offline", "lost"]
    nonce: str | None = None
    reboot_nonce: str | None = None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The judged state of one device, the host or the line."""

    state: State
    code: str | None
    since: str
    checked: str | None
    codes: tuple[str, ...] = ()
    readings: dict[str, Reading] = {}
    in_use_by: str | None = None


class Health(Lasting, frozen=True, kw_only=True):
    readiness: Readiness
    reasons: tuple[str, ...]
    devices: dict[str, Judged]
    host: Judged
    line: Judged


class Spooled(Document, frozen=True, kw_only=True):
    """A document that comes from the spool: (point, spool, stream, seq) is unique."""

    spool: str
    seq: int


class Series(msgspec.Struct, frozen=True, kw_only=True):
    n: int
    min: float
    mean: float
    p95: float
    max: float


class Telemetry(Spooled, frozen=True, kw_only=True):
    """One-minute aggregates. ``series`` keys are ``device.reading``, e.g. ``camera.luma_mean``."""

    window_s: int
    series: dict[str, Series]


class Event(Spooled, frozen=True, kw_only=True):
    kind: str
    device: str | None = None
    code: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    data: dict[str, Any] = {}


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    vi: str
    en: str


StepResult = Literal["passed", "failed", "not_tested"]
RunResult = Literal["passed", "failed", "partial"]
Scope = Literal["quick", "full"]
Trigger = Literal["button", "page", "command", "schedule"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a self-test. ``not_tested`` is never ``passed``."""

    name: str
    device: str
    result: StepResult
    code: str | None
    measured: dict[str, Reading]
    expected: str
    remedy: Remedy | None
    reason: str | None = None
    """Why it was not tested: "in_use", "switched_off", "cancelled", "out_of_time", "unsupported",
    "no_reading", "no_answer", or the code of another finding that stands in its way."""


class Selftest(Document, frozen=True, kw_only=True):
    run: str
    scope: Scope
    trigger: Trigger
    result: RunResult
    duration_ms: int
    steps: tuple[Step, ...]


ReplyState = Literal["accepted", "running", "done", "failed", "refused"]


class Reply(Document, frozen=True, kw_only=True):
    id: str
    verb: str
    state: ReplyState
    code: str | None = None
    detail: str | None = None
    result: Any = None


Verb = Literal[
    "ping", "identify", "restart", "selftest", "camera", "microphone", "speaker", "display",
    "rehearse", "resend", "logs", "config", "update",
]  # fmt: skip
"""The verbs of docs/wire.md."""


EpochSeconds = Annotated[int, msgspec.Meta(ge=0, le=2**37)]


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a command says, before its arguments are looked at."""

    id: Annotated[str, msgspec.Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9-]+\Z")]
    aud: Annotated[str, msgspec.Meta(max_length=64)]
    verb: Annotated[str, msgspec.Meta(max_length=32)]
    iss: PointId
    iat: EpochSeconds
    exp: EpochSeconds
    args: dict[str, Any] = {}
    nonce: str | None = None


Role = Literal["operator", "installer", "viewer", "collector"]
PublicKey = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z", description="an Ed25519 public key: 32 bytes in base64url"),
]


class FleetKey(msgspec.Struct, frozen=True, kw_only=True):
    """One person's or program's key. ``id`` is the ``iss`` of its commands.

    ``operator``: every command. ``installer``: every command to one of ``points``, until that one is accepted
    (its baseline is recorded). ``viewer``: ``ping`` and ``logs``. ``collector``: ``resend``.
    """

    id: PointId
    role: Role
    public: PublicKey
    points: tuple[PointId, ...] = ()


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of ``diemcau/v1/fleet/keys``, retained, a compact JWS by one of the fleet's keys: whom to obey.
    It holds until a greater ``revision`` comes, or ``exp`` has passed (seconds since the epoch)."""

    schema: Literal["diemcau.keys/1"]
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    fleet: Annotated[tuple[PublicKey, ...], msgspec.Meta(min_length=1, max_length=4)]
    """The keys that may sign the next list: two while one takes the other's place."""
    keys: Annotated[tuple[FleetKey, ...], msgspec.Meta(max_length=1000)]
    revoked: Annotated[tuple[PointId, ...], msgspec.Meta(max_length=10_000)] = ()
    """Ids that are never obeyed again, whatever ``keys`` says."""
    exp: EpochSeconds | None = None


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """How long before and after its window a conference's rooms are left alone."""

    before_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    after_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0


class Conference(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of ``diemcau/v1/conference/{id}``, retained, a compact JWS by an operator's key (``iss``).
    Times are seconds since the epoch. A greater ``revision`` takes the place of the one before."""

    schema: Literal["diemcau.conference/1"]
    id: PointId
    iss: PointId
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    state: Literal["planned", "cancelled"] = "planned"
    start: EpochSeconds
    end: EpochSeconds
    """After ``start``, by 48 h at most."""
    groups: Annotated[tuple[PointId, ...], msgspec.Meta(min_length=1, max_length=1000)]
    """Whose points take part."""
    listen_only: Annotated[tuple[PointId, ...], msgspec.Meta(max_length=1000)] = ()
    """Those of them that only listen."""
    freeze: Freeze | None = Freeze()
    """None: nothing is frozen while it is on."""
    thresholds: dict[str, float] = {}
    """Other bounds than the usual while it is on (names of :class:`.thresholds.Thresholds`)."""


SCHEMA_IDS: dict[type[Document], str] = {
    Birth: "diemcau.birth/1",
    Status: "diemcau.status/1",
    Health: "diemcau.health/1",
    Telemetry: "diemcau.telemetry/1",
    Event: "diemcau.event/1",
    Selftest: "diemcau.selftest/1",
    Reply: "diemcau.reply/1",
}
VALID_S: dict[type[Document], int] = {Birth: 0, Status: 900, Health: 180}


def encode(document: Any) -> bytes:
    """JSON, UTF-8, keys in the struct's order."""
    return msgspec.json.encode(document)

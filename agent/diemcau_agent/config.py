"""The settings: TOML, every error at once, each with its path, what it got and what it expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from . import jws
from .address import Tls
from .explain import explain
from .model import Policy, PublicKey
from .servers import Broker, Enrolment, Line, Update
from .topics import ID_PATTERN

Id = Annotated[str, Meta(pattern=ID_PATTERN, description="3 to 32 of a-z, 0-9 and -, no - at either end")]
Gpio = Annotated[int, Meta(ge=0, le=27, description="a BCM GPIO number, 0 to 27")]
Zoom = Annotated[float, Meta(ge=1, le=10)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Backends(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which library or simulator plays each device. Never falls back to another in silence."""

    camera: str = "picamera2"
    audio: str = "sounddevice"
    display: str = "cec"
    panel: str = "gpio"
    presence: str = "sysfs"
    host: str = "local"

    @classmethod
    def all(cls, name: str) -> Backends:
        return cls(camera=name, audio=name, display=name, panel=name, presence=name, host=name)


class Expected(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What this room should have; what it should not have is never missed."""

    camera: bool = True
    microphone: bool = True
    speaker: bool = True
    display: bool = True
    panel: bool = True


class Probe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    period_s: Annotated[float, Meta(ge=2, le=3600)] = 300.0
    """Picture and sound are judged at least this often."""
    presence_s: Annotated[float, Meta(ge=0.5, le=15)] = 5.0
    host_s: Annotated[float, Meta(ge=1, le=30)] = 20.0
    line_s: Annotated[float, Meta(ge=1, le=30)] = 15.0
    deadline_s: Annotated[float, Meta(ge=0.5, le=60)] = 8.0
    """How long a device may take to answer before it counts as hung and is killed."""
    idle_s: Annotated[float, Meta(ge=0, le=3600)] = 20.0
    """A camera's or sound's process that nobody asks leaves after this long (0 = stays)."""
    health_s: Annotated[float, Meta(ge=1, le=90)] = 60.0
    """The health document's heartbeat, jittered by a tenth."""


class Camera(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    identity: str | None = None
    """Substring of the identity's values, where there is more than one; None takes the first."""
    presets: dict[str, tuple[Zoom, Share, Share]] = {}
    """name -> (zoom ratio >= 1, centre x 0 to 1, centre y 0 to 1)."""


class Audio(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    microphone: str | None = None
    """Stable identity: "usb:VVVV:PPPP[:PORT]" or the sound server's or card's name; never an index."""
    speaker: str | None = None


class Display(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    connector: str | None = None
    """As in /sys/class/drm, "HDMI-A-1"; None takes the first connected."""
    cec_device: str = "/dev/cec0"


class Panel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    button_gpio: Gpio = 17
    red_gpio: Gpio = 22
    green_gpio: Gpio = 27
    blue_gpio: Gpio = 23
    hold_s: Annotated[float, Meta(ge=0.5, le=10)] = 2.0
    stuck_s: Annotated[float, Meta(ge=3, le=120)] = 10.0
    """A button held this long is stuck, or someone leans on the panel."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    point: Id
    broker: Broker
    enrolment: Enrolment | None = None
    """None: the broker's files are put there by hand."""
    fleet_keys: Annotated[tuple[PublicKey, ...], Meta(max_length=4)] = ()
    """Whose word it is who commands (docs/wire.md, fleet/keys), until such a list names others."""
    release_keys: Annotated[tuple[PublicKey, ...], Meta(max_length=4)] = ()
    """Whose packages this kit installs (docs/update.md); without one it takes none."""
    name: str = ""
    place: tuple[str, ...] = ()
    """Free levels, outermost first."""
    level: str = ""
    groups: tuple[Id, ...] = ()
    """All points are in "all" besides."""
    state_dir: str = "/var/lib/diemcau"
    runtime_dir: str = "/run/diemcau"
    language: Literal["vi", "en"] = "vi"
    commands: Literal["signed", "unsigned", "off"] = "signed"
    backends: Backends | str = field(default_factory=Backends)
    """A table, or one name for every device, as in ``backends = "sim"``."""
    backend_options: dict[str, str] = {}
    """Handed to every backend as it stands."""
    expected: Expected = field(default_factory=Expected)
    probe: Probe = field(default_factory=Probe)
    line: Line = field(default_factory=Line)
    camera: Camera = field(default_factory=Camera)
    audio: Audio = field(default_factory=Audio)
    display: Display = field(default_factory=Display)
    panel: Panel = field(default_factory=Panel)
    policy: Policy = field(default_factory=Policy)
    update: Update = field(default_factory=Update)

    @property
    def all_groups(self) -> tuple[str, ...]:
        return ("all", *(group for group in self.groups if group != "all"))

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whom a command may be for that this kit obeys."""
        return (f"point/{self.point}", *(f"group/{group}" for group in self.all_groups))

    @property
    def backend_table(self) -> Backends:
        return Backends.all(self.backends) if isinstance(self.backends, str) else self.backends

    @property
    def identity_dir(self) -> str:
        """Where the enrolment keeps ``identity.pem``, key and certificate in one, and ``ca.pem``."""
        return f"{self.state_dir}/identity"

    @property
    def tls(self) -> Tls:
        """The broker's files where they are named, else those of the enrolment."""
        broker = self.broker
        if self.enrolment is None:
            return Tls(broker.ca_file, broker.cert_file, broker.key_file)
        return Tls(
            broker.ca_file or f"{self.identity_dir}/ca.pem",
            broker.cert_file or f"{self.identity_dir}/identity.pem",
            broker.key_file,
        )

    @property
    def simulated(self) -> bool:
        """Every device is played by the simulator: only then may commands come unsigned."""
        table = self.backend_table
        return {table.camera, table.display, table.panel, table.presence, table.host} == {"sim"}


class ConfigError(Exception):
    """Every error of a configuration, one a line: ``path: got X, expected Y``."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def load(path: Path) -> Settings:
    """Read and check a file. Raises ConfigError with every error there is."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not TOML: byte {error.start + 1} is not UTF-8"]) from error
    return parse(text, str(path))


def parse(text: str, source: str = "settings") -> Settings:
    """Settings from TOML; ``source`` names it in an error. Raises ConfigError."""
    import tomllib  # once, at the start

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{source}: not TOML: {error}"]) from error
    return check(data)


def check(data: Mapping[str, Any]) -> Settings:
    """Settings from plain data. Raises ConfigError with every error there is."""
    errors = explain(Settings, data)
    if not errors:
        settings = msgspec.convert(data, Settings)
        errors = _across(settings)
        if not errors:
            return settings
    raise ConfigError(errors)


def _across(settings: Settings) -> list[str]:
    """What no single field can tell."""
    errors: list[str] = []
    if settings.commands == "unsigned" and not settings.simulated:
        errors.append(
            'commands: got "unsigned", expected "signed" or "off": unsigned commands are for simulation only '
            '(backends = "sim")'
        )
    if settings.commands == "signed" and not settings.fleet_keys:
        errors.append(
            "fleet_keys: missing, expected the public keys that `diemcau-fleet ca show` prints "
            '(or commands = "off")'
        )
    for name, keys in (("fleet_keys", settings.fleet_keys), ("release_keys", settings.release_keys)):
        for index, key in enumerate(keys):
            try:
                jws.public_key(key)
            except jws.JwsError as error:
                errors.append(f"{name}[{index}]: {error}")
    for key in sorted(set(settings.fleet_keys) & set(settings.release_keys)):
        errors.append(f"release_keys: got {key} of fleet_keys too, expected a key for packages alone")
    panel = settings.panel
    pins = (panel.button_gpio, panel.red_gpio, panel.green_gpio, panel.blue_gpio)
    if len(set(pins)) != len(pins):
        errors.append(f"panel: got GPIOs {list(pins)}, expected four different ones")
    for index, url in enumerate(settings.broker.urls):
        port = url.split("/")[2].partition(":")[2]
        if port and not 0 < int(port) < 65536:
            errors.append(f'broker.urls[{index}]: got "{url}", expected a port from 1 to 65535')
        if url.startswith("mqtt://") and not settings.simulated:
            errors.append(f'broker.urls[{index}]: got "{url}", expected mqtts:// or wss:// on a real kit')
    if settings.enrolment is not None:
        url = settings.enrolment.url
        try:
            good = urlsplit(url).port != 0
        except ValueError:
            good = False
        if not good:
            errors.append(f'enrolment.url: got "{url}", expected a host and perhaps a port from 1 to 65535')
    if (settings.broker.cert_file is None) != (settings.broker.key_file is None):
        errors.append("broker: got one of cert_file and key_file, expected both or neither")
    return errors

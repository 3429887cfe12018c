"""The settings: TOML, every error at once, each with its path, what it got and what it expects."""

from __future__ import annotations

import difflib
import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from .model import Policy
from .topics import ID_PATTERN

Id = Annotated[str, Meta(pattern=ID_PATTERN, description="3 to 32 of a-z, 0-9 and -, no - at either end")]
Positive = Annotated[float, Meta(gt=0)]
Gpio = Annotated[int, Meta(ge=0, le=27, description="a BCM GPIO number, 0 to 27")]
BrokerUrl = Annotated[
    str,
    Meta(
        pattern=r"^(mqtts?|wss)://[^\s/:@]+(:\d{1,5})?(/\S*)?$",
        description='a URL such as "mqtts://broker.example:8883" (mqtt, mqtts or wss)',
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
    presets: dict[str, tuple[float, float, float]] = {}
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
    camera: Camera = field(default_factory=Camera)
    audio: Audio = field(default_factory=Audio)
    display: Display = field(default_factory=Display)
    panel: Panel = field(default_factory=Panel)
    policy: Policy = field(default_factory=Policy)

    @property
    def all_groups(self) -> tuple[str, ...]:
        return ("all", *(group for group in self.groups if group != "all"))

    @property
    def backend_table(self) -> Backends:
        return Backends.all(self.backends) if isinstance(self.backends, str) else self.backends

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
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    return parse(text)


def parse(text: str) -> Settings:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not TOML: {error}"]) from error
    return check(data)


def check(data: Mapping[str, Any]) -> Settings:
    """Settings from plain data. Raises ConfigError with every error there is."""
    errors: list[str] = []
    _walk(Settings, data, "", errors)
    if not errors:
        settings = msgspec.convert(data, Settings)
        errors += _across(settings)
        if not errors:
            return settings
    raise ConfigError(errors)


def explain(kind: type[Struct], data: Any, path: str = "") -> list[str]:
    """Every reason why plain ``data`` is no ``kind``, each with its path, what it got and what it expects."""
    errors: list[str] = []
    _walk(kind, data, path, errors)
    return errors


def _across(settings: Settings) -> list[str]:
    """What no single field can tell."""
    errors: list[str] = []
    if settings.commands == "unsigned" and not settings.simulated:
        errors.append(
            'commands: got "unsigned", expected "off": unsigned commands are for simulation only '
            '(backends = "sim")'
        )
    if settings.commands == "signed":
        errors.append(
            'commands: got "signed", expected "off" (or "unsigned" in simulation): '
            "this version cannot verify signatures yet"
        )
    panel = settings.panel
    pins = (panel.button_gpio, panel.red_gpio, panel.green_gpio, panel.blue_gpio)
    if len(set(pins)) != len(pins):
        errors.append(f"panel: got GPIOs {list(pins)}, expected four different ones")
    for index, url in enumerate(settings.broker.urls):
        if url.startswith("mqtt://") and not settings.simulated:
            errors.append(f'broker.urls[{index}]: got "{url}", expected mqtts:// or wss:// on a real kit')
    if (settings.broker.cert_file is None) != (settings.broker.key_file is None):
        errors.append("broker: got one of cert_file and key_file, expected both or neither")
    return errors


def _walk(kind: type[Struct], data: Any, path: str, errors: list[str]) -> None:
    if not isinstance(data, Mapping):
        errors.append(f"{path or 'file'}: got {_show(data)}, expected a table")
        return
    table = cast("Mapping[str, Any]", data)
    fields = {item.name: item for item in msgspec.structs.fields(kind)}
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            errors.append(
                f"{_join(path, key)}: unknown key{hint}, expected one of {', '.join(sorted(fields))}"
            )
    for name, item in fields.items():
        where = _join(path, name)
        if name not in table:
            if item.required:
                errors.append(f"{where}: missing, expected {_expects(item.type)}")
            continue
        value = table[name]
        struct = _struct_in(item.type)
        if struct is not None and not (isinstance(value, str) and str in get_args(item.type)):
            _walk(struct, value, where, errors)
        else:
            _leaf(item.type, value, where, errors)


def _leaf(kind: Any, value: Any, where: str, errors: list[str]) -> None:
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(inner) is tuple and isinstance(value, list) and get_args(inner)[1:] == (...,):
        for index, entry in enumerate(cast("list[Any]", value)):
            _leaf(get_args(inner)[0], entry, f"{where}[{index}]", errors)
        if any(error.startswith(f"{where}[") for error in errors):
            return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        at = re.search(r" - at `\$(.*)`$", str(error))
        place = where + (at.group(1) if at else "")
        errors.append(f"{place}: got {_show(value)}, expected {_expects(kind)}")


def _struct_in(kind: Any) -> type[Struct] | None:
    for option in get_args(kind) if _is_union(kind) else (kind,):
        if isinstance(option, type) and issubclass(option, Struct):
            return option
    return None


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _expects(kind: Any) -> str:
    """A type in a technician's words."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        meta = next(m for m in metas if isinstance(m, Meta))
        if meta.description:
            return meta.description
        bounds = ((">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt))
        limits = [f"{sign} {value:g}" for sign, value in bounds if value is not None]
        if meta.min_length:
            limits.append(f"at least {meta.min_length}")
        return " ".join([_expects(inner), " and ".join(limits)]).strip()
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(kind))
    if _is_union(kind):
        return " or ".join(_expects(option) for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        args = get_args(kind)
        if args[1:] == (...,):
            return f"a list, each {_expects(args[0])}"
        return "a list of " + ", ".join(_expects(arg) for arg in args)
    if get_origin(kind) is dict or _struct_in(kind) is not None:
        return "a table"
    names: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind, str(kind))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _show(value: Any) -> str:
    text = repr(value).replace("'", '"') if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

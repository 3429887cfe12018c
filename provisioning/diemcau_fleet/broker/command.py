"""``diemcau-fleet broker``. Exit codes: 0 in force, or stopped in order; 1 not in force; 2 wrong usage."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from types import FrameType

from diemcau_agent.exits import NOT, OK, USAGE

from . import options, reload
from .configuration import SettingsError, configuration
from .eviction import Eviction, named, pinned
from .keeper import Keeper, Look
from .rules import RulesError, check_pair, check_readable
from .settings import CA, Settings
from .source import Source

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, turned into a place to ask
_log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = options.settings(arguments)
        configuration(settings)
        if settings.here:
            check_pair("--host-cert, --host-key", settings.host_cert, settings.host_key)
            check_readable("--host-key", settings.host_key, settings.user)
            if settings.bridge is not None:
                check_pair("--bridge-cert, --bridge-key", settings.bridge.cert_file, settings.bridge.key_file)
                check_readable("--bridge-key", settings.bridge.key_file, settings.user)
    except (ValueError, RulesError, SettingsError) as error:
        print(f"diemcau-fleet: {error}", file=sys.stderr)
        return USAGE
    keeper = _keeper(arguments, settings)
    if settings.wss:
        _log.warning(
            "--wss: mosquitto 2.0 asks no list of revoked certificates there; the ACL denies whoever is "
            "revoked, but not an old certificate of an id that was taken back"
        )
    if arguments.follow is None:
        look = keeper.look()
        _tell(look, Look())
        return NOT if look.troubles else OK
    _follow(keeper, arguments.follow)
    return OK


def _keeper(arguments: argparse.Namespace, settings: Settings) -> Keeper:
    source = Source(arguments.dir)
    if arguments.reload_command is None:
        tell: reload.Reload = lambda: reload.by_pid_file(settings.pid_file)  # noqa: E731
    else:
        tell = lambda: reload.by_command(arguments.reload_command)  # noqa: E731
    if arguments.evict_at is not None:
        at = arguments.evict_at
        eviction = Eviction(at.host, at.port, named(settings.out / CA), source.issue)
    elif settings.here:
        door = settings.mqtts[0]
        host = _ANYWHERE.get(door.host, door.host)
        eviction = Eviction(host, door.port, pinned(settings.host_cert), source.issue)
    else:
        eviction = None
    return Keeper(source, settings, tell, eviction)


def _follow(keeper: Keeper, every_s: float) -> None:
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    before = Look()
    while not stop.is_set():
        look = keeper.look()
        _tell(look, before)
        before = look
        stop.wait(every_s)


def _tell(look: Look, before: Look) -> None:
    """A trouble that lasts is told once."""
    if look.changed:
        _log.info("written: %s", ", ".join(sorted(look.changed)))
    if look.running is not None and look.running != before.running:
        _log.info(
            "broker: %s", "told to read it" if look.running else "not running; it reads it when it starts"
        )
    if "configuration" in look.changed and look.running:
        _log.warning("mosquitto reads changed listeners and bridges only when it is started again")
    for identity in look.thrown_out:
        if identity in look.cleared:
            _log.info("revoked: %s: connection ended, retained documents cleared", identity)
        else:
            _log.info(
                "revoked: an old certificate of %s, which is a member again: connection ended", identity
            )
    for trouble in look.troubles:
        if trouble not in before.troubles:
            _log.error("%s", trouble)

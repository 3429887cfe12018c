"""Every verb of docs/wire.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diemcau_agent.commands.verb import Verb

from .camera import Camera
from .config import Config
from .display import Display
from .identify import Identify
from .logs import Logs
from .microphone import Microphone
from .ping import Ping
from .rehearse import Rehearse
from .resend import Resend
from .restart import Restart
from .selftest import Selftest
from .speaker import Speaker
from .update import Update

VERBS: Mapping[str, Verb[Any]] = {
    verb.name: verb
    for verb in (
        Ping(), Identify(), Restart(), Selftest(), Camera(), Microphone(), Speaker(), Display(),
        Rehearse(), Resend(), Logs(), Config(), Update(),
    )
}  # fmt: skip

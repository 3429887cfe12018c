"""Any settings file: settings, or every error of it in words."""

from __future__ import annotations

from diemcau_agent import config
from diemcau_agent.config import ConfigError

SIM = b'point = "xp-0417"\nbackends = "sim"\ncommands = "unsigned"\n[broker]\nurls = ["mqtt://127.0.0.1:1883"]\n'


def seeds() -> list[bytes]:
    more = (
        b"",
        b"[policy]\nunmute = true\n[probe]\nperiod_s = 300\n",
        b'[camera]\npresets = {door = 1}\n[line]\nreflector = "127.0.0.1:862"\n',
        b'[enrolment]\nurl = "https://est.example"\nca_file = "/etc/ca.pem"\ntoken_file = "/etc/token"\n',
    )
    return [SIM + each for each in more] + [SIM.replace(b"mqtt://127.0.0.1:1883", b"mqtts://[::1]:8883/x")]


def fuzz(data: bytes) -> None:
    try:
        config.parse(data.decode("utf-8", "replace"))
    except ConfigError as error:
        assert error.errors
        assert all(error.errors)

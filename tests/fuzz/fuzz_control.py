"""Any line on the control socket and on the reboot helper's: a request, or the word that it is none."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from diemcau_agent import config, control_requests
from diemcau_agent.privileged.moment import Moment
from diemcau_agent.reboot.guard import Guard
from diemcau_agent.reboot.record import Record
from signing import key_list, public, signed
from stage import KEYS, OPERATOR

NOW = Moment("boot-1", 1000.0, 1_795_332_600.0, True)


@cache
def helper() -> tuple[Guard, list[None]]:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    settings = config.check(
        {
            "point": "xp-0417",
            "broker": {
                "urls": ["mqtts://127.0.0.1:8883"],
                "ca_file": "/ca",
                "cert_file": "/cert",
                "key_file": "/key",
            },
            "commands": "signed",
            "fleet_keys": [public("fleet-1")],
        }
    )
    restarts: list[None] = []
    guard = Guard(
        lambda: settings, Record(folder, folder), frozenset({0}), lambda: restarts.append(None), lambda: NOW
    )
    guard.answer(json.dumps({"do": "keys", "list": key_list(*KEYS).decode()}).encode())
    return guard, restarts


def seeds() -> list[bytes]:
    command: dict[str, Any] = {"id": "seed-host", "aud": "point/xp-0417", "verb": "restart", "iss": OPERATOR}
    command |= {"iat": 1_795_332_600, "exp": 1_795_332_660, "args": {"target": "host", "reboot_nonce": "x"}}
    return [
        *(
            json.dumps({"do": do}).encode()
            for do in ("status", "watch", "cancel", "baseline", "line", "nonce")
        ),
        b'{"do": "selftest", "scope": "quick", "trigger": "page"}',
        b'{"do": "press", "hold_s": 3}',
        json.dumps({"do": "keys", "list": key_list(*KEYS, revision=1).decode()}).encode(),
        json.dumps({"do": "reboot", "command": signed(command, OPERATOR).decode()}).encode(),
    ]


def fuzz(data: bytes) -> None:
    try:
        control_requests.parse(data)
    except control_requests.BadRequest as error:
        assert str(error)
    guard, restarts = helper()
    answer = guard.answer(data)
    assert set(answer) in ({"ok"}, {"error"})
    json.dumps(answer)
    assert not restarts, "the machine restarted for nobody"

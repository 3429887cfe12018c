"""A kit whose clock stands where a test wants it: the real steps in their own process, under libfaketime, and
what diemcau-clock.path starts while they wait, by the same clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

(FAKETIME,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
ROOM = """
import json, os, sys, time
from pathlib import Path
from diemcau_agent.enrolment.errors import EnrolError
from diemcau_agent.config import Enrolment
from diemcau_agent.enrolment.est import Est
from diemcau_agent.enrolment.steps import Enrolling
from diemcau_agent.enrolment.store import Store
from diemcau_agent.enrolment.timekeeping import set_forward
from diemcau_agent.enrolment.token import TokenFile

class Clock:
    def wall(self): return time.time()
    def synced(self): return False
    def wait(self, seconds):
        assert store.clock_wanted_file.exists(), "nobody is called"
        if "{settable}" == "yes":
            set_forward("xp-0417", wanted.ca_file, store, Settable())

class Settable(Clock):
    def may_set(self): return True
    def set(self, wall_s):
        assert wall_s > time.time()
        Path("{rc}").write_text(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wall_s)))

folder = Path("{folder}")
wanted = Enrolment(url="{url}", ca_file={ca_file}, token_file=str(folder / "token"))
store = Store(folder / "identity")
enrolling = Enrolling("xp-0417", wanted, store, Clock(),
                      TokenFile(folder / "token", None), Est(wanted.url, wanted.ca_file))
began_s = time.time()
try:
    told = {{"result": enrolling.run().result}}
except EnrolError as error:
    told = {{"code": error.code, "detail": error.detail}}
told |= {{"clock_set": enrolling.notes.clock_set, "began_s": began_s, "ended_s": time.time()}}
print(json.dumps(told))
"""
"""Setting the clock moves libfaketime's, which is OpenSSL's too."""


class Faked:
    """A kit whose clock is ``at``. ``settable``: whether there is anybody who sets it when called."""

    def __init__(
        self,
        folder: Path,
        url: str,
        authority: bytes,
        token: str,
        at: str = "1970-01-01 00:01:00",
        folder_name: str = "kit",
    ) -> None:
        self.folder = folder / folder_name
        self.folder.mkdir()
        self.rc = folder / "faketime"
        self.rc.write_text(at)
        self.ca_file: Path | None = folder / "est-ca.pem"
        self.ca_file.write_bytes(authority)
        self.settable = True
        self.url = url
        (self.folder / "token").write_text(token)

    def enrol(self) -> dict[str, Any]:
        script = ROOM.format(
            folder=self.folder,
            url=self.url,
            rc=self.rc,
            ca_file=None if self.ca_file is None else repr(str(self.ca_file)),
            settable="yes" if self.settable else "no",
        )
        environment = {
            **os.environ,
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.rc),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }
        done = subprocess.run(
            (sys.executable, "-W", "error", "-c", script),
            env=environment,
            capture_output=True,
            text=True,
            timeout=15,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def in_force(self) -> bool:
        return (self.folder / "identity" / "identity.pem").exists()

"""Processes that the kernel ends with whoever started them: nothing is left of a room that is killed."""

from __future__ import annotations

MORTAL = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "--")
"""Before a command line: prctl(2) PR_SET_PDEATHSIG, set by util-linux's setpriv (2.33; essential in Debian),
since Python code between fork and exec may hang in a process with threads. The pid is the program's own."""

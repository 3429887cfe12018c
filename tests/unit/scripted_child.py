"""A device's process that does as it is told, to see what the daemon makes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    setup = json.loads(sys.stdin.readline())
    script = setup["options"].get("script", "")
    if script == "dies while starting":
        sys.exit(3)
    if script.startswith("greets with "):
        say({"ready": json.loads(script.removeprefix("greets with "))})
    else:
        say({"ready": {"process": sys.argv[1], "backend": setup["backend"], "pid": os.getpid()}})
    for line in sys.stdin:
        request = json.loads(line)
        match request["do"]:
            case "echo":
                say({"id": request["id"], "ok": {**request["args"], "pid": os.getpid()}})
            case "say that it was spawned":
                for event in ("spawned", "reopened"):
                    say({"event": event, "data": {"process": "camera", "confined": True}})
                say({"id": request["id"], "ok": {}})
            case "reopen":
                say({"id": request["id"], "ok": {}})
            case "hang":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(3600)
            case "hang with a child":
                child = subprocess.Popen(["sleep", "3600"])
                say({"event": "press", "data": {"pid": child.pid}})
                time.sleep(3600)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "leave":
                sys.exit(0)
            case "leave once":
                marker = Path(request["args"]["marker"])
                if marker.exists():
                    marker.unlink()
                    sys.exit(0)
                say({"id": request["id"], "ok": {"pid": os.getpid()}})
            case "garbage":
                sys.stdout.write("libcamera says hello\n")
                sys.stdout.flush()
            case "flood":
                sys.stdout.write("x" * (1024 * 1024) + "\n")
                sys.stdout.flush()
            case "refuse":
                error = {"kind": "busy", "detail": "held", "in_use_by": "chromium"}
                say({"id": request["id"], "error": error})
            case _:
                say({"id": 10_000, "ok": {}})  # an answer that nobody waits for


def say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


main()

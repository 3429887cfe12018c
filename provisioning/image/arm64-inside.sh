#!/bin/bash
# Read by the shell inside an arm64 root (arm64.sh).
echo "$(uname -m), $(python3 --version), dpkg says $(dpkg --print-architecture)"
version=$(cat /version)
/usr/share/diemcau/install-venv "$version" diemcau-agent
[ "$(readlink /opt/diemcau/bin)" = "$version/bin" ]
/usr/bin/diemcau-agent --version
cat >/tmp/agent.toml <<'END'
point = "xp-0417"
commands = "off"
[broker]
urls = ["mqtts://broker.example:8883"]
END
/usr/bin/diemcau-agent check-config /tmp/agent.toml
/opt/diemcau/bin/python -P - <<'END'
"""Every top-level module of every wheel that was installed, imported; and the compiled ones counted by file."""
import importlib, importlib.metadata, sys
from pathlib import Path

place = next(path for path in sys.path if path.startswith("/opt/diemcau/"))
wheels = len({path.name.split("-")[0].lower() for path in Path("/usr/share/diemcau/wheelhouse").glob("*.whl")})
found = list(importlib.metadata.distributions(path=[place]))
for wheel in found:
    tops = {file.parts[0].split(".")[0] for file in wheel.files or () if file.suffix in (".py", ".so")}
    for name in sorted(name for name in tops if name.isidentifier()):
        importlib.import_module(name)
    print(f"  {wheel.name} {wheel.version}: {', '.join(sorted(tops))}")
compiled = [path for path in Path(place).rglob("*.so")]
assert all(b"\xb7\x00" == path.read_bytes()[18:20] for path in compiled), "a library is not for aarch64"
assert len(found) == wheels, (len(found), wheels)
assert len(compiled) >= 4, compiled
print(f"{len(found)} wheels, {len(compiled)} aarch64 libraries")
END
du -sm /opt/diemcau | cut -f1 | sed 's/$/ MiB in \/opt\/diemcau/'

#!/bin/bash
# Read by the shell inside an arm64 root (arm64.sh): the first boot, and whether a kit is what it left.
echo "-- $(uname -m), $(python3 --version), $(dpkg --print-architecture)"
boot=/boot/firmware
if [ "$SUITE" = trixie ]; then
    cloud-init --version
    cloud-init schema --config-file "$boot/user-data"
    cloud-init schema --config-file "$boot/network-config" --schema-type network-config
    # Of netplan itself, which is what applies it.
    mkdir -p /tmp/netplan/etc/netplan
    install -m 600 "$boot/network-config" /tmp/netplan/etc/netplan/50-cloud-init.yaml
    netplan generate --root-dir /tmp/netplan
fi
digest=$(sed -n 's/^ *"\([0-9a-f]\{64\}\)"$/\1/p' "$boot/user-data")
token=$(cat "$boot/diemcau/kit/token")
time sh "$boot/diemcau/first-boot.sh" "$digest"
cat "$boot/diemcau/result.txt"
if grep -rqF "$token" "$boot"; then echo "the token is still on the boot partition"; exit 1; fi
[ "$(cat /etc/diemcau/token)" = "$token" ]
[ "$(stat -c '%U:%G %a' /etc/diemcau/agent.toml)" = "root:diemcau 640" ]
[ "$(stat -c %a /etc/diemcau/token)" = 600 ]
systemctl is-enabled diemcau-agent.service diemcau-enrol.service diemcau-root.service
findmnt --verify --tab-file /etc/fstab --fstab 2>&1 | tail -n 1 || :
diemcau-agent --version
diemcau-agent check-config /etc/diemcau/agent.toml
/opt/diemcau/bin/python -P - <<'END'
"""Every top-level module of every wheel that was installed here, imported."""
import importlib, importlib.metadata, sys
count = 0
for found in importlib.metadata.distributions(path=[path for path in sys.path if path.startswith("/opt/")]):
    for name in sorted({file.parts[0] for file in found.files or () if file.parts[-1] == "__init__.py" or len(file.parts) == 1}):
        stem = name.split(".")[0]
        if (name.endswith((".py", ".so")) or "." not in name) and stem.isidentifier() and stem not in ("tests", "examples"):
            importlib.import_module(stem)
            count += 1
    print(f"  {found.name} {found.version}")
assert count >= 10, count
print(f"{count} modules imported")
END
du -sm /opt/diemcau /usr/share/diemcau

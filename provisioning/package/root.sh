#!/bin/bash
# A Debian with what the package depends on and no more, on which it is tried: root.sh bookworm|trixie prints where
# it is. Made once (some two minutes, through this machine's own mirror), then taken from .cache, by content.
set -euo pipefail
suite=${1:?bookworm or trixie}
cd "$(dirname "$0")/../.."
# Depends: without versions; and what the trial itself needs: an init, a bus, ip(8).
depends=$(awk '/^Depends:/ { on = 1; sub(/^Depends:/, ""); print; next } /^[^ ]/ { on = 0 } on' provisioning/package/diemcau/control |
    sed 's/([^)]*)//g' | tr -d ' \n' | tr ',' '\n' | sort -u | paste -sd, -)
packages=$depends,systemd-sysv,dbus,iproute2
key=$(cat provisioning/bare-debian.sh <(echo "$packages") | sha256sum | cut -c1-12)
root=$PWD/.cache/package-root/$suite-$key
mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9
if [ ! -d "$root" ]; then
    rm -rf --one-file-system "$root.part"
    provisioning/bare-debian.sh "$suite" "$root.part" "$packages" >&2
    mv "$root.part" "$root"
fi
echo "$root"

#!/bin/bash
# A Debian with what the package depends on and no more, on which it is tried: root.sh bookworm|trixie prints where
# it is. Made once (some two minutes, through this machine's own mirror), then taken from .cache, by content.
# ARCH=arm64: unpacked, not configured, since that is ten minutes of emulation; no init is in it.
set -euo pipefail
suite=${1:?bookworm or trixie}
cd "$(dirname "$0")/../.."
# Depends: without versions; and what the trial itself needs: an init, a bus, ip(8).
depends=$(awk '/^Depends:/ { on = 1; sub(/^Depends:/, ""); print; next } /^[^ ]/ { on = 0 } on' provisioning/package/diemcau/control |
    sed 's/([^)]*)//g' | tr -d ' \n' | tr ',' '\n' | sort -u | paste -sd, -)
packages=$depends
if [ -n "${ARCH:-}" ]; then export VARIANT=extract; else packages=$packages,systemd-sysv,dbus,iproute2; fi
key=$(cat provisioning/bare-debian.sh provisioning/package/root.sh <(echo "$packages") | sha256sum | cut -c1-12)
root=$PWD/.cache/package-root/$suite${ARCH:+-$ARCH}-$key
mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9
if [ ! -d "$root" ]; then
    rm -rf --one-file-system "$root.part"
    provisioning/bare-debian.sh "$suite" "$root.part" "$packages" >&2
    if [ -n "${ARCH:-}" ]; then
        # What configuring makes of Debian's own files and pip and numpy cannot do without.
        cat "$root.part"/usr/share/ca-certificates/mozilla/*.crt >"$root.part/etc/ssl/certs/ca-certificates.crt"
        for library in blas lapack; do
            for file in "$root.part"/usr/lib/*/"$library/lib$library.so.3"; do ln -s "$library/${file##*/}" "${file%/*/*}/"; done
        done
    fi
    mv "$root.part" "$root"
fi
echo "$root"

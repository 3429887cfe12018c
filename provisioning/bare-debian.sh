#!/bin/bash
# A bare Debian in a new directory, as root: bare-debian.sh SUITE DIRECTORY PACKAGE,PACKAGE... Mirror, proxies and
# their settings are this machine's own, read from its apt when this runs; nothing of it is written down here.
# ARCH=arm64: another architecture. VARIANT=extract: unpacked only, no program of it is run; so on any machine, in seconds.
set -euo pipefail
suite=${1:?bookworm or trixie}
root=${2:?where to}
packages=${3:?which packages}

fail() {
    echo "bare-debian: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "needs root, to mount and chroot"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; as root: apt-get install mmdebstrap"
apt_settings=$(mktemp)
trap 'rm -f "$apt_settings"' EXIT

mirror=$(dirname "$0")/mirror.sh
archive=$("$mirror" Debian)
[ -n "$archive" ] || fail "apt knows no Debian archive; run apt-get update first"
security=$("$mirror" Debian-Security)
apt-config dump | { grep -E '^(Acquire::(Check-|Retries|https?::)|APT::.*Proxy)' || true; } >"$apt_settings"
variant=${VARIANT:-minbase}
essential="" # every other variant brings them by itself
[ "$variant" != extract ] || essential='?essential'
mmdebstrap --quiet ${ARCH:+--architectures="$ARCH"} --variant="$variant" --include="$packages" ${essential:+--include="$essential"} \
    --aptopt="$apt_settings" \
    "$suite" "$root" "deb $archive $suite main" ${security:+"deb $security $suite-security main"}

#!/bin/sh
# QEMU for the virtual kit, as root: where Debian's own is older than 8.1 (bookworm has 7.2), its backports', from this
# machine's own mirror. Under 7.2 a kernel that changes its own code while the other processor runs it panicked
# now and then (get_random_u32, one boot of some thirty).
set -eu
least=1:8.1
# shellcheck disable=SC1091
. /etc/os-release
[ "${VERSION_CODENAME:-}" = bookworm ] || exit 0
# shellcheck disable=SC2016  # the template is dpkg's
have=$(dpkg-query --show --showformat '${Version}' qemu-system-x86 2>/dev/null || true)
if [ -n "$have" ] && dpkg --compare-versions "$have" ge "$least"; then exit 0; fi

fail() {
    echo "virtual-kit: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "qemu-system-x86 is ${have:-missing}, expected $least or newer, as in bookworm-backports; installing it needs root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
archive=$("$(dirname "$0")/../mirror.sh" Debian)
[ -n "$archive" ] || fail "apt knows no Debian archive; run apt-get update first"
# What apt knows, and the backports; for this once.
mkdir "$work/parts"
cp /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list "$work/parts/" 2>/dev/null || true
[ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$work/parts/sources.list"
echo "deb $archive bookworm-backports main" >"$work/parts/backports.list"
apt() {
    DEBIAN_FRONTEND=noninteractive apt-get --quiet -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/parts" "$@"
}
echo "virtual-kit: QEMU from bookworm-backports"
if ! { apt update && apt install --yes --no-install-recommends --target-release bookworm-backports \
    qemu-system-x86 qemu-utils; } >"$work/log" 2>&1 </dev/null; then
    tail -n 15 "$work/log" >&2
    fail "cannot install qemu-system-x86 from bookworm-backports"
fi

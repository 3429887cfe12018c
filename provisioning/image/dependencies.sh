#!/bin/bash
# What a package needs and an image has not, for the card: dependencies.sh IMAGE.img PACKAGE.deb OUT [PACKAGE...].
# Puts PACKAGE.deb's dependencies, those PACKAGEs (as python3-picamera2) and theirs into OUT, as .deb files, for
# `diemcau-fleet card --package`. What the image has is read from its own dpkg status: nothing is mounted, no root.
# The mirror is this machine's own, read from its apt. SUITE=trixie; SOURCE='deb [signed-by=…] URL SUITE main' for
# one more archive, as Raspberry Pi's own.
set -euo pipefail
image=${1:?IMAGE.img PACKAGE.deb OUT [PACKAGE...]}
package=$(realpath "${2:?PACKAGE.deb}")
out=${3:?OUT, a folder}
shift 3
suite=${SUITE:-trixie}

fail() {
    echo "dependencies: $*" >&2
    exit 1
}

for program in sfdisk debugfs dpkg-deb apt-get; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || fail "$program is missing: apt-get install fdisk e2fsprogs dpkg apt"
done
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begin=$(sfdisk --dump "$image" | sed -n 's/.*start= *\([0-9]*\),.*type=83.*/\1/p' | head -n 1)
[ -n "$begin" ] || fail "$image: has no Linux partition; expected Raspberry Pi OS's image, unpacked"
debugfs -R "cat /var/lib/dpkg/status" "$image?offset=$((begin * 512))" >"$work/status" 2>"$work/said" || true
grep -q '^Package: dpkg$' "$work/status" || fail "$image: its dpkg status cannot be read: $(tail -n 1 "$work/said")"

# shellcheck disable=SC2016  # the template is apt's
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1)
[ -n "$archive" ] || fail "apt knows no Debian archive; run apt-get update first"
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$out"
{
    echo "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main"
    [ -z "${SOURCE:-}" ] || echo "$SOURCE"
} >"$work/sources.list"
apt() {
    apt-get --quiet --quiet --yes -o "APT::Architecture=arm64" -o "APT::Architectures=arm64" -o "Dir::State=$work/state" \
        -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" -o "Dir::Etc::sourcelist=$work/sources.list" \
        -o "Dir::Etc::sourceparts=/dev/null" -o "Dir::Etc::preferencesparts=/dev/null" -o "APT::Sandbox::User=" "$@"
}
apt update >"$work/said" 2>&1 || fail "the archive cannot be read: $(tail -n 1 "$work/said")"
apt install --download-only --no-install-recommends "$package" "$@" >"$work/said" 2>&1 ||
    fail "these cannot be installed on that image: $(grep -E '^(E:| )' "$work/said" | head -n 5 | tr '\n' ' ')"
find "$work/cache/archives" -maxdepth 1 -name '*.deb' ! -name 'diemcau_*' -exec mv -t "$out" {} +
find "$out" -maxdepth 1 -name '*.deb' -printf '%f %s bytes\n' | sort

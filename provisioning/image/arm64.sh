#!/bin/bash
# The arm64 package and a prepared card, on arm64 Debians that run under qemu-user: arm64.sh [SUITE...], by default
# trixie and bookworm. In each: a card is prepared, its first boot runs as it does on a Pi (only systemd is not
# running), with no network; then the agent, its settings' check and every wheel must run. What stays unproven is
# what only a Pi has: its kernel, its firmware, its devices.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=$PWD
[ $# -gt 0 ] || set -- trixie bookworm

fail() {
    echo "arm64: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "needs root, to mount and chroot"
for program in qemu-aarch64-static arch-test mmdebstrap unshare; do
    command -v "$program" >/dev/null || fail "$program is missing; provisioning/packages.sh dev installs it"
done

# The kernel opens the interpreter now (flag F), so the roots need none of their own. Whoever boots a systemd
# beside this takes the entry away again at its shutdown: hence a new one each time.
emulate() {
    local register=/proc/sys/fs/binfmt_misc
    [ -e "$register/register" ] || mount -t binfmt_misc binfmt_misc "$register" || fail "the kernel has no binfmt_misc"
    arch-test -c / arm64 >/dev/null 2>&1 && return
    [ -e "$register/diemcau-arm64" ] ||
        printf '%s' ':diemcau-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OF' >"$register/register"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "== the package"
ARCH=arm64 OUT=$work provisioning/package/build.sh diemcau >/dev/null
package=$(echo "$work"/diemcau_*_arm64.deb)
stat --printf='%n: %s bytes\n' "$package" | sed "s|$work/||"

# A kit as the office makes it, and its card.
fleet() { .venv/bin/python -P -c 'import sys; from diemcau_fleet.cli import main; sys.exit(main())' "$@"; }
fleet ca init --name Trial --dir "$work/fleet" >/dev/null
fleet kit add xp-0417 --est-url https://est.example:8443 --broker-url mqtts://broker.example:8883 \
    --out "$work/kit" --dir "$work/fleet" >/dev/null

prepare() { # BOOT: a mounted boot partition, as Raspberry Pi OS leaves it
    mkdir -p "$1"
    echo "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 fsck.repair=yes rootwait resize" >"$1/cmdline.txt"
    echo "[all]" >"$1/config.txt"
    fleet card "$1" --kit "$work/kit" --package "$package" --address 10.1.2.3/24 --gateway 10.1.2.1 --dns 10.1.1.1 \
        --vlan 120 --ntp ntp.example
}

for suite; do
    echo "== Debian $suite, arm64"
    emulate
    # The seed is judged by the cloud-init that Raspberry Pi OS has: trixie's.
    also=""
    [ "$suite" != trixie ] || also=cloud-init,netplan.io
    root=$(ARCH=arm64 ALSO=$also provisioning/package/root.sh "$suite")
    boot=$work/boot-$suite
    prepare "$boot"
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount --propagation private --net --pid --fork --kill-child bash -euc '
        root=$1 boot=$2 here=$3/root
        mkdir "$here" && mount -t tmpfs tmpfs "$here" && mkdir "$here"/{upper,work,kit}
        mount -t overlay overlay -o "lowerdir=$root,upperdir=$here/upper,workdir=$here/work" "$here/kit"
        cd "$here/kit"
        mount -t proc proc proc && mount --rbind /dev dev && mount -t tmpfs tmpfs run
        mkdir -p boot/firmware && mount --bind "$boot" boot/firmware
        exec chroot . /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            LANG=C.UTF-8 HOME=/root SUITE="$4" bash -eu
    ' arm64 "$root" "$boot" "$work" "$suite" <"$repository/provisioning/image/arm64-inside.sh"
    rm -rf --one-file-system "$work/root"
done

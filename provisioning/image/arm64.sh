#!/bin/bash
# Is the arm64 package's wheelhouse whole? arm64.sh [SUITE...], by default trixie and bookworm: Debians for arm64 that
# run under qemu-user. In each, without a network, the package is unpacked, its own install-venv makes /opt/diemcau,
# every module of every wheel is imported, and the agent tells its version and checks a kit's settings. dpkg's own
# run of it (services, users, udev) is tried on amd64 (make test-package), a Pi's kernel and devices nowhere here.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- trixie bookworm
# What install-venv and the wheels need. Unpacked and not configured: minutes less of emulation, and Python runs.
packages=base-files,bash,dash,coreutils,grep,sed,libc-bin,python3,python3-venv,python3-pip-whl,libportaudio2

fail() {
    echo "arm64: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "needs root, to mount and chroot"
for program in qemu-aarch64-static arch-test mmdebstrap unshare; do
    command -v "$program" >/dev/null || fail "$program is missing; provisioning/packages.sh dev installs it"
done

# The kernel opens the interpreter now (flag F), so the roots need none of their own. Whoever boots a systemd on this
# host may empty the table at any time: hence it is looked at for each suite.
emulate() {
    local register=/proc/sys/fs/binfmt_misc
    [ -e "$register/register" ] || mount -t binfmt_misc binfmt_misc "$register" || fail "the kernel has no binfmt_misc"
    [ -e "$register/diemcau-arm64" ] ||
        printf '%s' ':diemcau-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OF' >"$register/register"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "== the package"
ARCH=arm64 OUT=$work provisioning/package/build.sh diemcau >/dev/null
package=$(echo "$work"/diemcau_*_arm64.deb)
stat --printf='%n: %s bytes\n' "$package" | sed "s|$work/||"
dpkg-deb --extract "$package" "$work/files"
dpkg-deb --field "$package" Version >"$work/files/version"
# pip reads the authorities even where it asks nobody; what makes this file is not run in there.
install -D /etc/ssl/certs/ca-certificates.crt "$work/files/etc/ssl/certs/ca-certificates.crt"

for suite; do
    echo "== Debian $suite, arm64"
    emulate
    key=$(cat provisioning/bare-debian.sh <(echo "$packages") | sha256sum | cut -c1-12)
    root=$PWD/.cache/arm64-root/$suite-$key
    if [ ! -d "$root" ]; then
        mkdir -p "$(dirname "$root")"
        rm -rf --one-file-system "$root.part"
        ARCH=arm64 VARIANT=extract provisioning/bare-debian.sh "$suite" "$root.part" "$packages"
        mv "$root.part" "$root"
    fi
    mkdir "$work/kit"
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount --propagation private --net --pid --fork --kill-child bash -euc '
        mount -t tmpfs tmpfs "$2/kit" && mkdir "$2/kit/upper" "$2/kit/work" "$2/kit/root"
        cp -a "$2/files/." "$2/kit/upper"
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/kit/upper,workdir=$2/kit/work" "$2/kit/root"
        cd "$2/kit/root"
        mkdir -p proc dev tmp && mount -t proc proc proc && mount --rbind /dev dev
        exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root bash -eu
    ' arm64 "$root" "$work" <provisioning/image/arm64-inside.sh
    rmdir "$work/kit"
done

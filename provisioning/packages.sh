#!/bin/sh
# Debian packages for `make demo`, `make test`, `make test-arm64` or `make virtual-kit`: packages.sh demo|dev|arm64|kit
# [PYTHON]. Installs only what is missing, as root or with sudo; where it cannot, one line says what is missing and how to get it.
# When nothing is missing it needs neither network nor rights.
set -eu
set_name=${1:?demo, dev, arm64 or kit}
python=${2:-python3}

wanted="mosquitto pipewire wireplumber pipewire-pulse pulseaudio-utils dbus-daemon libasound2-plugins libportaudio2"
if [ "$set_name" = dev ]; then
    # PyAudio is compiled; v4l-utils has cec-ctl and v4l2-ctl, alsa-utils amixer.
    wanted="$wanted gcc libc6-dev portaudio19-dev v4l-utils alsa-utils fonts-dejavu-core shellcheck"
    # The line: namespaces and their impairments, and other people's measurements beside ours.
    wanted="$wanted iproute2 iputils-ping tshark irtt"
    # Clocks that jump, cards that fail.
    wanted="$wanted libfaketime e2fsprogs mount"
    # The units, looked at and started; what they call.
    wanted="$wanted systemd strace util-linux"
    # A card: its FAT, what cloud-init reads on it.
    wanted="$wanted mtools dosfstools fdisk cloud-init"
    # The package: built, looked at, tried on Debians of its own.
    wanted="$wanted dpkg-dev lintian mmdebstrap"
fi

if [ "$set_name" = arm64 ]; then
    # The emulator, with its rule for the kernel; dev has the rest.
    wanted="$wanted qemu-user-static debian-archive-keyring"
fi

if [ "$set_name" = kit ]; then
    # The machine, its disk, and the way into it.
    wanted="$wanted qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring e2fsprogs cpio xz-utils openssh-client mount"
fi

fail() {
    echo "diemcau: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "$python is missing; install it with: apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version 2>&1) is too old; Python 3.11 or newer is needed (make PYTHON=python3.11)"
command -v dpkg-query >/dev/null || fail "no dpkg here: please install by your own means: $wanted"

missing=""
for package in $wanted; do
    case $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
# A Python that is not Debian's brings these along.
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ "$set_name" = dev ]; then
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || missing="$missing python3-dev"
fi
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root="sudo"
else
    fail "missing system packages:$missing; as root: apt-get update && $install"
fi

echo "diemcau: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# Wanted for its `schema` alone: it must not take this machine for a new one at the next boot.
case "$missing " in
*" cloud-init "*) $as_root mkdir -p /etc/cloud && $as_root touch /etc/cloud/cloud-init.disabled ;;
esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # lists of words, on purpose
if ! { $as_root apt-get update --quiet && $as_root env DEBIAN_FRONTEND=noninteractive $install --quiet; } >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    fail "cannot install$missing; as root: apt-get update && $install"
fi

#!/bin/bash
# Debian trixie as Raspberry Pi OS is: with picamera2 and lgpio, which Debian does not have, and the kernel's modules
# that play a room (modules.sh). From nothing in five to eight minutes, as root, with mmdebstrap and the network; kept by the
# content of what makes it. Prints the folder it lies in. Mirror and certificates are this machine's
# own, read when it runs, and stay out of the result.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
suite=trixie
packages=(
    systemd systemd-sysv systemd-timesyncd udev dbus kmod linux-image-amd64 busybox-static openssh-server procps iproute2
    iputils-ping strace
    python3 python3-venv python3-numpy python3-pil python3-pytest python3-pytest-asyncio python3-pytest-timeout
    python3-libcamera libcamera-ipa libcamera-tools python3-prctl python3-piexif python3-av python3-jsonschema
    libportaudio2 python3-pyaudio alsa-utils v4l-utils gpiod fonts-dejavu-core mosquitto-clients
)
# Only to build with; not in the result.
tools=(linux-headers-amd64 linux-source-6.12 gcc make python3-dev swig xz-utils ca-certificates)

fail() {
    echo "virtual-kit: $*" >&2
    exit 1
}

key=$(cat "$here/system.sh" "$here/modules.sh" "$here/../bare-debian.sh" "$repository/requirements/picamera2.txt" | sha256sum | cut -c 1-16)
system=$repository/.cache/virtual-kit/system-$key
if [ -d "$system" ]; then
    echo "$system"
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "the system is not there yet; making it needs root, to mount and chroot"
work=$system.part
rm -rf --one-file-system "$work"
mkdir -p "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
exec 3>&1 >&2

echo "virtual-kit: Debian $suite ($SECONDS s)"
root=$work/root
"$here/../bare-debian.sh" "$suite" "$root" "$(IFS=, && echo "${packages[*]}")"
rm -rf "$root"/usr/share/{doc,man,locale}/*
kernel=$(basename "$root"/lib/modules/*)

echo "virtual-kit: modules of $kernel, lgpio, picamera2 ($SECONDS s)"
mkdir "$work/upper" "$work/overlay" "$work/building"
settings=()
while IFS= read -r line; do settings+=("$line"); done < <(env | grep -iE '^(PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|https?_proxy|no_proxy)=')
mkdir -p "$work/upper/build" "$work/upper/etc/ssl" "$work/upper/usr/local/share"
cp "$here/modules.sh" "$repository/requirements/picamera2.txt" "$work/upper/build/"
cp -a /etc/ssl/certs "$work/upper/etc/ssl/"
cp -a /usr/local/share/ca-certificates "$work/upper/usr/local/share/"
cp /etc/resolv.conf "$work/upper/etc/resolv.conf"
for file in /etc/pip.conf "$HOME/.config/pip/pip.conf"; do
    if [ -f "$file" ]; then install -D -m 644 "$file" "$work/upper${file/#$HOME//root}"; fi
done
log=$system.log
# What builds goes into a layer of its own, which is thrown away.
# shellcheck disable=SC2016  # expanded by the inner shell
unshare --mount --propagation private --pid --fork --kill-child bash -euc '
    work=$1; shift
    mount -t overlay overlay -o "lowerdir=$work/root,upperdir=$work/upper,workdir=$work/overlay" "$work/building"
    mount -t proc proc "$work/building/proc"
    mount --rbind /dev "$work/building/dev"
    exec chroot "$work/building" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
' build "$work" "${settings[@]}" sh -eu /build/modules.sh "$kernel" "${tools[*]}" </dev/null >"$log" 2>&1 ||
    {
        tail -n 30 "$log"
        fail "cannot build modules, lgpio or picamera2; all of it: $log"
    }
cp -a "$work/upper/build/out/." "$root/"
chroot "$root" depmod "$kernel"
rm -rf "$root/var/cache/apt"/* "$root/var/lib/apt/lists"/* "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"/*
rm -f "$root/etc/resolv.conf" "$log"
find "${system%/*}" -mindepth 1 -maxdepth 1 -name 'system-*' -not -path "$work" -exec rm -rf --one-file-system {} +
mv "$root" "$system"
echo "virtual-kit: a system of $(du -sh "$system" | cut -f 1) ($SECONDS s)"
echo "$system" >&3

#!/bin/bash
# The virtual kit's disk, kernel and first file system: system.sh's Debian with the files of root/ over it. Kept under
# .cache by the content of this folder; prints the folder they lie in. As root; the second time it needs nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
size=3G
enabled=(
    systemd-networkd.service kit-devices.service kit-air.service kit-television.service kit-ready.service
)
# A kit boots in some 20 s of emulation; these cost seconds and show nothing.
masked=(
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    getty@tty1.service ldconfig.service systemd-binfmt.service systemd-firstboot.service systemd-hwdb-update.service
    systemd-journal-catalog-update.service systemd-networkd-wait-online.service systemd-update-utmp.service
)

fail() {
    echo "virtual-kit: $*" >&2
    exit 1
}

key=$(cd "$here" && find . \( -type f -o -type l \) -not -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum |
    cat - "$here/../bare-debian.sh" "$repository/requirements/picamera2.txt" | sha256sum | cut -c 1-16)
image=$repository/.cache/virtual-kit/image-$key
if [ -d "$image" ]; then
    echo "$image"
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "the image is not there yet; making it needs root, to mount and chroot"
for program in unshare mke2fs cpio ssh-keygen xz; do
    command -v "$program" >/dev/null ||
        fail "$program is missing; as root: apt-get install util-linux e2fsprogs cpio openssh-client xz-utils"
done
system=$("$here/system.sh")
kernel=$(basename "$system"/lib/modules/*)
work=$image.part
rm -rf --one-file-system "$work"
mkdir -p "$work"/{upper,overlay,root}
trap 'rm -rf --one-file-system "$work"' EXIT

echo "virtual-kit: first file system" >&2
mkdir -p "$work/initrd"/{bin,proc,sys,dev,newroot,modules}
cp "$system/usr/bin/busybox" "$work/initrd/bin/"
ln -s busybox "$work/initrd/bin/sh"
install -m 755 "$here/init" "$work/initrd/init"
number=10
for module in lib/crc16 crypto/crc32c_generic lib/libcrc32c fs/mbcache fs/jbd2/jbd2 fs/ext4/ext4 drivers/block/virtio_blk; do
    for packed in "$system/lib/modules/$kernel/kernel/$module".ko*; do
        [ -e "$packed" ] || continue # built in
        case $packed in
        *.xz) xz -dc "$packed" ;;
        *) cat "$packed" ;;
        esac >"$work/initrd/modules/$number-${module##*/}.ko"
    done
    number=$((number + 1))
done
(cd "$work/initrd" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initrd.gz"
cp "$system/boot/vmlinuz-$kernel" "$work/vmlinuz"

echo "virtual-kit: disk" >&2
ssh-keygen -q -t ed25519 -N '' -C virtual-kit -f "$work/key"
truncate -s "$size" "$work/disk.raw"
# A layer over the system, never a copy of it. With a journal, as a card has: a power cut is survived or not by it.
# shellcheck disable=SC2016  # expanded by the inner shell
unshare --mount --propagation private bash -euc '
    here=$1 system=$2 work=$3 enabled=$4 masked=$5
    mount -t overlay overlay -o "lowerdir=$system,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
    root=$work/root
    cp -r --no-preserve=ownership "$here/root/." "$root/"
    chmod 755 "$root"/usr/local/sbin/*
    : >"$root/etc/machine-id"
    echo kit >"$root/etc/hostname"
    echo "127.0.0.1 localhost kit" >"$root/etc/hosts"
    install -d -m 700 "$root/root/.ssh"
    install -m 600 "$work/key.pub" "$root/root/.ssh/authorized_keys"
    for unit in $masked; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
    ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    SYSTEMD_LOG_LEVEL=err systemctl --root="$root" enable --quiet $enabled
    rm -rf "$root"/boot/*
    mke2fs -q -t ext4 -E lazy_itable_init=1,nodiscard -d "$root" "$work/disk.raw"
' image "$here" "$system" "$work" "${enabled[*]}" "${masked[*]}" >&2
rm -rf --one-file-system "$work"/{initrd,upper,overlay,root}
trap - EXIT
# Of those before nobody boots any more.
find "${image%/*}" -mindepth 1 -maxdepth 1 -name 'image-*' -not -path "$work" -exec rm -rf --one-file-system {} +
mv "$work" "$image"
echo "virtual-kit: $(du -sh "$image" | cut -f 1) in $SECONDS s" >&2
echo "$image"

#!/bin/sh
# The first boot of a kit: first-boot.sh DIGEST, the SHA-256 of the card's SHA256SUMS. user-data starts it at each
# boot until it is done, since a power cut may come anywhere: what was done before is done again, or seen to be done.
# Needs no network. Nothing that it prints or leaves on the card is secret.
set -eu
digest=${1:?the SHA-256 of SHA256SUMS}
boot=/boot/firmware
card=$boot/diemcau
root_tool=/usr/local/sbin/diemcau-root
export DEBIAN_FRONTEND=noninteractive

say() { printf 'diemcau: %s\n         %s\n' "$1" "$2"; } # VIETNAMESE ENGLISH
on_card() {                                              # FILE: stdin, whole or not at all
    cat >"$1.new"
    sync "$1.new"
    mv "$1.new" "$1"
    sync -f "$boot"
}
fail() { # VIETNAMESE ENGLISH
    say "$1" "$2"
    printf '%s\n%s\n' "$1" "$2" | on_card "$card/problem.txt"
    exit 1
}
place() { # MODE SOURCE DESTINATION: whole or not at all
    mkdir -p "$(dirname "$3")"
    install -m "$1" "$2" "$3.new"
    sync "$3.new"
    mv "$3.new" "$3"
}

# Left read-only by a run that was cut short.
if [ ! -w "$boot" ]; then mount -o remount,rw "$boot"; fi
if [ -x "$root_tool" ]; then "$root_tool" rw; fi

say "đang cài đặt lần đầu, vài phút; đừng rút điện" "first installation, some minutes; do not pull the plug"
cd "$card"
found=$(sha256sum <SHA256SUMS | cut -d ' ' -f 1)
if [ "$found" != "$digest" ] || ! sha256sum --check --quiet SHA256SUMS; then
    fail "nội dung thẻ bị hỏng: ghi lại thẻ từ đầu" "what is on the card is not what was put there: write it anew"
fi

(cd files && find . -type f) | while read -r name; do
    case $name in
    ./usr/local/sbin/*) place 755 "files/$name" "/$name" ;;
    *) place 644 "files/$name" "/$name" ;;
    esac
done

# Before the package, so that its services find them when they start. The token leaves the FAT partition, where
# anybody reads it, as soon as it is on the other one: copied a second time it would be a used one.
mkdir -p /etc/diemcau
place 644 kit/agent.toml /etc/diemcau/agent.toml
if [ -e kit/ca.pem ]; then place 644 kit/ca.pem /etc/diemcau/ca.pem; fi
if [ -s kit/token ]; then
    place 600 kit/token /etc/diemcau/token
    sync -f /etc/diemcau
fi
rm -f kit/token
sync -f "$boot"

say "đang cài đặt gói phần mềm" "installing the package"
log=/var/lib/diemcau-first-boot.log
dpkg --configure -a >"$log" 2>&1 || :
set --
for package in packages/*.deb; do # what the image has as new as this, or newer, stays
    name=$(dpkg-deb --field "$package" Package)
    has=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}' "$name" 2>/dev/null) || has=""
    case $has in
    "installed "*) dpkg --compare-versions "${has#* }" ge "$(dpkg-deb --field "$package" Version)" && continue ;;
    esac
    set -- "$@" "$package"
done
if [ $# -gt 0 ] && ! dpkg --force-confold --install "$@" >>"$log" 2>&1; then
    cat "$log"
    tail -n 15 "$log" | on_card "$card/dpkg.txt"
    fail "không cài được gói phần mềm, lý do trong diemcau/dpkg.txt trên thẻ" \
        "the package cannot be installed; diemcau/dpkg.txt on the card says why"
fi
chown root:diemcau /etc/diemcau/agent.toml
chmod 640 /etc/diemcau/agent.toml

# noatime, fewer commits (the spool asks for its own), no swap; fsck at boot stays as Raspberry Pi OS has it.
awk '
    $1 !~ /^#/ && $3 == "swap" { next }
    $2 == "/var/log" || $2 == "/var/tmp" || $2 == "/tmp" { next }
    $1 !~ /^#/ && $2 == "/" { $4 = "defaults,noatime,commit=60"; $6 = 1 }
    $1 !~ /^#/ && $2 == "/boot/firmware" { $4 = "defaults,noatime,ro"; $6 = 2 }
    { print }
    END {
        print "tmpfs /tmp tmpfs nosuid,nodev,size=128m,mode=1777 0 0"
        print "tmpfs /var/tmp tmpfs nosuid,nodev,size=64m,mode=1777 0 0"
        print "tmpfs /var/log tmpfs nosuid,nodev,noexec,size=16m,mode=0755 0 0"
    }' /etc/fstab >/etc/fstab.first-boot
place 644 /etc/fstab.first-boot /etc/fstab
rm /etc/fstab.first-boot
rm -f /var/swap
# NetworkManager writes there by itself; /etc will be read-only.
if [ -d /etc/NetworkManager ]; then ln -sfn ../run/NetworkManager/resolv.conf /etc/resolv.conf; fi

# What listens or waits for a person without need. Not every image has each of them.
for unit in avahi-daemon.socket avahi-daemon.service bluetooth.service ModemManager.service userconfig.service; do
    if systemctl cat "$unit" >/dev/null 2>&1; then systemctl mask "$unit"; fi
done
if [ -e /etc/ssh/sshd_config.d/50-diemcau.conf ]; then
    systemctl enable ssh.service
else
    systemctl disable ssh.service ssh.socket 2>/dev/null || :
fi
systemctl enable diemcau-root.service

# The Wi-Fi key is in /etc/netplan now (root's, 0600).
echo "# Taken over at the first boot." | on_card "$boot/network-config"
rm -f "$card/problem.txt" "$card/dpkg.txt"
printf 'Đã cài đặt xong: %s\nInstalled: %s\n' "$(hostname)" "$(dpkg-query --show diemcau)" | on_card "$card/result.txt"
sync
# The last step: until it is on the card, the next boot comes here again.
mkdir -p /etc/cloud
: >/etc/cloud/cloud-init.disabled
sync
say "đã cài đặt xong, khởi động lại" "installed; restarting"
if [ -d /run/systemd/system ]; then systemctl --no-block reboot; fi

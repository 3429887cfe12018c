#!/bin/bash
# Proof from nothing: try-fresh.sh bookworm|trixie. Makes a bare Debian (python3, make, git, and no
# more), clones this repository's last commit into it and runs the README's commands there. TEST=1
# runs the suite as well; KEEP=1 leaves the root for a look; COMMANDS="..." runs those instead.
#
# Mirror, certificates, proxies and pip's settings are this machine's own, read when it runs. All
# mounts live in a mount namespace, all processes in a PID namespace: both are gone when this ends.
set -euo pipefail
suite=${1:?bookworm or trixie}
repository=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "try-fresh: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "needs root, to mount and chroot"
for program in mmdebstrap unshare git; do
    command -v "$program" >/dev/null || fail "$program is missing; as root: apt-get install mmdebstrap util-linux git"
done

root=$(mktemp -d "${TMPDIR:-/tmp}/diemcau-fresh-$suite.XXXXXX")
trap '[ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"' EXIT

echo "== bare Debian $suite in $root"
"$repository/provisioning/bare-debian.sh" "$suite" "$root" ca-certificates,git,make,python3
git clone --quiet "file://$repository" "$root/root/diemcau"
git -C "$root/root/diemcau" log -1 --format='== %h %s'

# What this machine needs to be reached through; nothing of it is in the repository.
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
for file in /etc/pip.conf "$HOME/.config/pip/pip.conf"; do
    if [ -f "$file" ]; then install -D -m 644 "$file" "$root${file/#$HOME//root}"; fi
done
settings=()
while IFS= read -r line; do settings+=("$line"); done < <(env | grep -iE '^(PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|https?_proxy|no_proxy)=')

commands=${COMMANDS:-"make setup && make demo ONCE=1 ${TEST:+&& make test}"}
inside='cd /root/diemcau; set -x; time { '"$commands"'; }'
# shellcheck disable=SC2016  # expanded by the inner shell
unshare --mount --propagation private --pid --fork --kill-child bash -euc '
    root=$1; shift
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 TERM=dumb "$@"
' fresh "$root" "${settings[@]}" bash -ec "$inside" </dev/null

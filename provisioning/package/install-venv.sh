#!/bin/sh
# Run by the package, as root: install-venv VERSION PROGRAM MODULE... makes /opt/diemcau/VERSION, a venv of the
# wheels that stand beside this file, has PROGRAM tell its version and imports each MODULE, and only then
# points /opt/diemcau/bin at it. No network. Fails with one clear line, and the version before stays as it was.
# The version before is kept, as /opt/diemcau/previous; older ones go. What is there whole is not made again.
set -eu
umask 022
version=$1
program=$2
shift 2
share=$(cd "$(dirname "$0")" && pwd)
home=/opt/diemcau
venv=$home/$version
log=$(mktemp)
aside=""

fail() {
    echo "diemcau: $1:" >&2
    tail -n 5 "$log" | sed 's/^/diemcau:   /' >&2
    rm -rf "$venv"
    [ -z "$aside" ] || mv -T "$aside" "$venv"
    running=$(readlink "$home/bin" || true)
    echo "diemcau: $version is not installed; ${running:+the version in use is still ${running%/bin}}${running:-there is none in use}" |
        sed 's|\(still [^/]*\).*|\1|' >&2
    rm -f "$log"
    exit 1
}

clean() { # this user's and this machine's settings of pip and Python are none of ours
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/nonexistent PIP_CONFIG_FILE=/dev/null "$@" >"$log" 2>&1
}

mkdir -p "$home"
# Whole, of these very wheels, for this very Python (which an upgrade of Debian changes).
whole=$({ cat "$share/requirements.txt"; python3 --version; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.whole" 2>/dev/null)" != "$whole" ]; then
    if [ -e "$venv/.whole" ]; then # another one of the same version: it may be in use
        aside=$home/$version.before
        rm -rf "$aside"
        mv -T "$venv" "$aside"
    fi
    rm -rf "$venv"
    clean python3 -m venv --without-pip --system-site-packages "$venv" || fail "the venv cannot be made"
    # Debian's pip, from its wheel: none is left in the venv.
    clean "$venv/bin/python" "$(echo /usr/share/python-wheels/pip-*.whl)/pip" install --no-index \
        --find-links "$share/wheelhouse" --require-hashes --no-deps --ignore-installed --no-cache-dir \
        --disable-pip-version-check --requirement "$share/requirements.txt" || fail "the wheels cannot be installed"
    clean "$venv/bin/$program" --version || fail "$program does not run"
    for module in "$@"; do
        clean "$venv/bin/python" -P -c "import $module" || fail "the Python module $module cannot be used"
    done
    echo "$whole" >"$venv/.whole"
    sync -f "$venv" # on the card before anything points at it
    [ -z "$aside" ] || rm -rf "$aside"
fi
rm -f "$log"

point() { # TARGET NAME: at once the new or the old, never neither
    ln -sfn "$1" "$home/.new"
    mv -T "$home/.new" "$home/$2"
}
before=$(readlink "$home/bin" || true)
before=${before%/bin}
if [ "$before" != "$version" ] && [ -e "$home/$before/.whole" ]; then point "$before" previous; fi
point "$version/bin" bin
sync -f "$home"
kept=$(readlink "$home/previous" || true)
for old in "$home"/*/pyvenv.cfg; do
    old=${old%/pyvenv.cfg}
    case ${old##*/} in "$version" | "$kept" | bin | previous) ;; *) rm -rf "$old" ;; esac
done

#!/bin/bash
# dist/PACKAGE_VERSION_ARCH.deb, the same bytes each time: build.sh [diemcau|diemcau-fleet]. In it: our wheels and
# those of the lock, for every Python and the one architecture, from which the target makes its venv without a
# network (install-venv.sh). The lock's wheels come from pip's own mirror, once (.cache/wheels).
#   ARCH=amd64|arm64     default this machine's
#   VERSION=0.1.1        another version than agent/diemcau_agent/__init__.py says, for a trial of an upgrade
#   OUT=dist             where it goes
set -euo pipefail
package=${1:-diemcau}
repository=$(cd "$(dirname "$0")/../.." && pwd)
cd "$repository"
arch=${ARCH:-$(dpkg --print-architecture)}
out=${OUT:-dist}
python=$repository/.venv/bin/python
source_version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' agent/diemcau_agent/__init__.py)
version=${VERSION:-$source_version}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
umask 022

fail() {
    echo "build: $*" >&2
    exit 1
}

case $arch in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) fail "ARCH: got \"$arch\", expected amd64 or arm64" ;;
esac
expr "$version" : '[0-9][0-9A-Za-z.+~]*$' >/dev/null || fail "VERSION: got \"$version\", expected a version such as 0.1.0"
[ -x "$python" ] || fail ".venv is missing; first: make setup"
fleets="broker collector est reflector" # the centre's units; every other one is the kit's
# Debian's own, in both suites. numpy: picamera2's libraries there are compiled against that numpy, and no other can
# stand beside it; with Pillow 25 MB. setuptools: colorzero names it and never imports it.
case $package in
diemcau) lock=requirements/run.txt from_debian="numpy pillow setuptools" program=diemcau-agent ;;
diemcau-fleet) lock=requirements/fleet.txt from_debian="numpy pillow setuptools gpiozero colorzero linuxpy sounddevice" program=diemcau-fleet ;;
*) fail "package: got \"$package\", expected diemcau or diemcau-fleet" ;;
esac
recipe=provisioning/package/$package

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
house=$root/usr/share/$package/wheelhouse
mkdir -p "$house" "$root/DEBIAN" "$work/source"

# The wheels of the lock. Both Pythons' share a house: what differs has its own name.
awk -v not="$from_debian" 'BEGIN { split(not, names, " "); for (i in names) leave[names[i]] }
    /^[^ #]/ { split($0, name, "=="); keep = !(name[1] in leave) } keep' "$lock" >"$work/lock.txt"
platforms=(--platform "manylinux2014_$machine")
for minor in $(seq 17 36); do platforms+=(--platform "manylinux_2_${minor}_$machine"); done # bookworm's glibc is 2.36
fetched=.cache/wheels/$arch-$(cat "$work/lock.txt" "$0" | sha256sum | cut -c1-12)
mkdir -p "${fetched%/*}"
exec 9>"$fetched.lock"
flock 9
if [ ! -d "$fetched" ]; then
    rm -rf "$fetched.part"
    for of in 311 313; do
        "$python" -m pip download --quiet --quiet --disable-pip-version-check --require-hashes --no-deps \
            --only-binary :all: --implementation cp --python-version "$of" "${platforms[@]}" \
            --requirement "$work/lock.txt" --dest "$fetched.part" || fail "no wheels for Python $of on $machine"
    done
    mv "$fetched.part" "$fetched"
fi
exec 9>&-
cp "$fetched"/*.whl "$house"

# Our own, from a copy: a build leaves nothing in the checkout.
cp -r pyproject.toml hatch_build.py README.md LICENSE agent drivers provisioning "$work/source"
find "$work/source" -name __pycache__ -prune -exec rm -rf {} +
sed -i "s/^__version__ = .*/__version__ = \"$version\"/" "$work/source/agent/diemcau_agent/__init__.py"
sed -i "s/^version = .*/version = \"$version\"/" "$work/source/provisioning/pyproject.toml"
projects=("$work/source")
[ "$package" = diemcau ] || projects+=("$work/source/provisioning")
for project in "${projects[@]}"; do
    (cd "$project" && "$python" -m hatchling build --target wheel --directory "$house" >"$work/log" 2>&1) ||
        { tail -n 5 "$work/log" >&2 && fail "our own wheel cannot be built"; }
done
"$python" - "$house" >"$root/usr/share/$package/requirements.txt" <<'END'
"""Name, version and hash of every wheel in a folder, as pip wants them."""
import hashlib, itertools, pathlib, sys
wheels = sorted(pathlib.Path(sys.argv[1]).glob("*.whl"))
for name, group in itertools.groupby(wheels, lambda wheel: wheel.name.split("-")[:2]):
    hashes = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in group)
    print("==".join(name), *(f"--hash=sha256:{digest}" for digest in sorted(hashes)))
END

put() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$root/$3"
}
put 755 provisioning/package/install-venv.sh "usr/share/$package/install-venv"
units=""
for unit in systemd/diemcau-*.{service,socket,timer,path}; do
    [ -e "$unit" ] || continue
    stem=$(basename "$unit" | sed 's/^diemcau-\(.*\)\..*/\1/')
    whose=diemcau
    case " $fleets " in *" $stem "*) whose=diemcau-fleet ;; esac
    [ "$whose" = "$package" ] || continue
    put 644 "$unit" "usr/lib/systemd/system/$(basename "$unit")"
    case $unit in *@.*) ;; *) units="$units $(basename "$unit")" ;; esac # a template is started by others only
done
# shellcheck disable=SC2086  # a list of words
installable=$(cd systemd && grep --files-with-matches '^\[Install\]' $units | tr '\n' ' ')
if [ "$package" = diemcau ]; then
    put 644 systemd/diemcau.sysusers usr/lib/sysusers.d/diemcau.conf
    put 644 systemd/diemcau.tmpfiles usr/lib/tmpfiles.d/diemcau.conf
    put 644 systemd/60-diemcau.rules usr/lib/udev/rules.d/60-diemcau.rules
    put 640 "$recipe/agent.toml" etc/diemcau/agent.toml
    echo /etc/diemcau/agent.toml >"$root/DEBIAN/conffiles"
else
    put 644 systemd/diemcau-fleet.sysusers usr/lib/sysusers.d/diemcau-fleet.conf
    put 644 systemd/mosquitto-diemcau.conf usr/share/doc/diemcau-fleet/mosquitto-diemcau.conf
fi
mkdir -p "$root/usr/bin"
ln -s "/opt/diemcau/bin/$program" "$root/usr/bin/$program"

doc=usr/share/doc/$package
put 644 provisioning/package/copyright "$doc/copyright"
printf '%s (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md of the source.\n\n -- diemcau <diemcau@localhost>  %s\n' \
    "$package" "$version" "$(date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$work/changelog.gz"
put 644 "$work/changelog.gz" "$doc/changelog.gz"
put 644 "$recipe/lintian-overrides" "usr/share/lintian/overrides/$package"

for script in postinst prerm postrm; do
    sed "/^# shellcheck/d; s/@VERSION@/$version/g; s/@UNITS@/${units# }/g; s/@INSTALLABLE@/${installable% }/g" "$recipe/$script" >"$root/DEBIAN/$script"
    chmod 755 "$root/DEBIAN/$script"
done
cp provisioning/package/triggers "$root/DEBIAN/triggers"
size_kib=$(du --summarize --apparent-size --block-size=1024 --exclude=DEBIAN "$root" | cut -f1)
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size_kib/" "$recipe/control" |
    sed '/^#/d' | awk '/^ / && wanted { printf "%s", $0; next } NR > 1 { print "" } { printf "%s", $0; wanted = /^Depends:/ } END { print "" }' >"$root/DEBIAN/control"
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path ./etc/diemcau/agent.toml -printf '%P\0' | sort -z |
    xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
find "$root" -type d -exec chmod 755 {} +

mkdir -p "$out"
made=$out/${package}_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz -z1 --build "$root" "$work/made.deb" >/dev/null
mv "$work/made.deb" "$made"
echo "$made"

#!/bin/sh
# Which form of the virtual kit a change wants: prints "full" where drivers, units, provisioning or its tests are not as
# they were at the last full run that passed (tags virtual-kit/COMMIT), or where no such run is known; else "quick".
# form.sh --passed: tags what is checked out as a full run that passed, where that is what was run.
set -eu
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --passed ]; then
    if [ -n "$(git status --porcelain)" ]; then
        echo "virtual-kit: passed; not tagged, for the checkout has changes that are not committed"
    else
        tag=virtual-kit/$(git rev-parse --short HEAD)
        git tag --force "$tag" >/dev/null
        echo "virtual-kit: passed; tagged $tag"
    fi
    exit 0
fi
last=$(git describe --tags --match 'virtual-kit/*' --abbrev=0 2>/dev/null || true)
if [ -n "$last" ] && git diff --quiet "$last" -- drivers systemd provisioning tests/hil; then echo quick; else echo full; fi

#!/bin/sh
# How much of the system each of our units can reach, as systemd counts it (0: nothing, 10: all): a table, and
# what is over the limit fails. Syntax too. exposure.sh [UNIT...]; what each open point is for: docs/hardening.md.
set -eu
limit=15 # tenths
# One process has to set a clock of 1970, and it is the one that has just asked the network: known, told each time.
sets_the_clock=diemcau-enrol.service
sets_the_clock_limit=19
# One runs dpkg, which writes programs, users and units: without a network, on what was verified before.
installs=diemcau-update-dpkg@.service
installs_limit=32
cd "$(dirname "$0")/../systemd"
[ $# -gt 0 ] || set -- ./*.service ./*.socket ./*.timer ./*.path

# Programs are not installed where this is checked, nor are the units of others.
ignored="is not executable|Command .* not found|Unit .* not found|Failed to (create|connect|open)|man page|mosquitto"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
for unit in "$@"; do
    [ -e "$unit" ] || continue
    name=${unit##*/}
    if SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no "$unit" 2>&1 |
        grep "$name" | grep -Ev "$ignored" >"$work/found"; then
        sed 's/^/  /' "$work/found"
        failed=1
    fi
    case $unit in
    *.service)
        systemd-analyze security --offline=true --no-pager "$unit" >"$work/table" 2>&1 || true
        exposure=$(sed -n 's/.*Overall exposure level for .*: \([0-9]*\)\.\([0-9]\).*/\1.\2/p' "$work/table")
        if [ -z "$exposure" ]; then
            cat "$work/table"
            echo "$name: systemd-analyze did not say how exposed it is" >&2
            failed=1
            continue
        fi
        tenths=$(echo "$exposure" | tr -d . | sed 's/^0*//')
        verdict=ok
        if [ "$name" = "$sets_the_clock" ] && [ "${tenths:-0}" -le "$sets_the_clock_limit" ]; then
            verdict="over the limit, allowed: it sets the clock"
        elif [ "$name" = "$installs" ] && [ "${tenths:-0}" -le "$installs_limit" ]; then
            verdict="over the limit, allowed: it runs dpkg"
        elif [ "${tenths:-0}" -gt "$limit" ]; then
            verdict="over $((limit / 10)).$((limit % 10))"
            failed=1
            grep '✗' "$work/table" | sed 's/^/  /'
        fi
        printf '%-36s %4s  %s\n' "$name" "$exposure" "$verdict"
        ;;
    esac
done
exit $failed

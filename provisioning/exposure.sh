#!/bin/sh
# How much of the system each of our units can reach, as systemd counts it (0: nothing, 10: all): a table, and
# what is over the limit fails. Syntax too. exposure.sh [UNIT...]; what each open point is for: docs/hardening.md.
set -eu
limit=15 # tenths
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
        if [ "${tenths:-0}" -gt "$limit" ]; then
            verdict="over $((limit / 10)).$((limit % 10))"
            failed=1
            grep '✗' "$work/table" | sed 's/^/  /'
        fi
        printf '%-36s %4s  %s\n' "$name" "$exposure" "$verdict"
        ;;
    esac
done
exit $failed

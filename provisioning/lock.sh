#!/bin/sh
# Pins every requirement with its hashes: requirements/*.in -> *.txt. Names no index and no host, so
# that a lock made behind one mirror is good behind any other. A version that is locked stays, unless
# UPGRADE=1.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv

compile() { # name, then what it must agree with
    name=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" ${UPGRADE:+--upgrade} \
        --output-file "requirements/$name.txt" "$@" "requirements/$name.in"
    if grep -nE '://|^--|^-[fi]' "requirements/$name.txt"; then
        echo "lock: requirements/$name.txt names a place" >&2
        exit 1
    fi
}

compile dev
compile demo --constraint requirements/dev.txt
compile run --constraint requirements/dev.txt
compile fleet --constraint requirements/dev.txt
compile picamera2 --no-deps

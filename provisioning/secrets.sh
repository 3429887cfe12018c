#!/bin/sh
# No key, token or password in what git tracks: secrets.sh [FILE...]. Exit 1 and the place of each, else silent.
# A line that only looks like one says so itself: "pragma: allowlist secret".
# Not looked at: pictures, hashes of packages, and what fuzzing keeps, which is noise by nature.
set -eu
python=${PYTHON:-.venv/bin/python}
if [ $# -gt 0 ]; then
    printf '%s\0' "$@"
else
    git ls-files -z -- ':!*.svg' ':!requirements/*.txt' ':!docs/schema' ':!tests/fuzz/corpus' ':!tests/fuzz/crashes'
fi | xargs -0 -r -P "$(nproc)" -n 80 "$python" -m detect_secrets.pre_commit_hook --no-verify || {
    echo "secrets.sh: something above looks like a secret; nothing that is one belongs in the repo" >&2
    exit 1
}

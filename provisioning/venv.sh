#!/bin/sh
# .venv from the hashed lock, and our two projects in it as they stand: venv.sh demo|dev [PYTHON].
# Builds run without isolation: what builds is in the lock as well.
set -eu
set_name=${1:?demo or dev}
python=${2:-python3}
cd "$(dirname "$0")/.."

# A .venv whose Python has gone (upgraded, or the checkout was moved) is made anew.
if ! .venv/bin/python -c 'import pip' 2>/dev/null || [ "$(cat .venv/home 2>/dev/null)" != "$PWD" ]; then
    rm -rf .venv
    "$python" -m venv .venv
    echo "$PWD" >.venv/home
fi

pip() {
    .venv/bin/python -m pip --disable-pip-version-check --no-input --quiet --quiet "$@"
}

echo "diemcau: .venv for $set_name"
pip install --require-hashes --only-binary :all: -r requirements/demo.txt
if [ "$set_name" = dev ]; then
    pip install --require-hashes --no-build-isolation -r requirements/dev.txt
    pip install --require-hashes --no-deps --only-binary :all: -r requirements/picamera2.txt
fi
pip install --no-deps --no-build-isolation --editable . --editable hw-sim --editable provisioning

#!/bin/sh
# Where this machine's own apt gets Debian's archive from, or its security updates: mirror.sh Debian|Debian-Security. Read
# each time, and written nowhere. Nothing is printed where apt knows none.
set -eu
# shellcheck disable=SC2016  # the template is apt's
apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: ${1:?Debian or Debian-Security}" | sort -u | head -n 1

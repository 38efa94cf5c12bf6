#!/bin/sh
# Make .venv with exactly the package versions of constraints.txt.
# On a fresh Debian machine this first installs what Python needs for that.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

suits() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=${PYTHON:-python3}
# Unless another one is named: the distribution's own Python is compiled with optimizations.
# One that was compiled on the machine often is not, and a fifth slower.
if [ -z "${PYTHON:-}" ] && suits /usr/bin/python3; then
    python=/usr/bin/python3
fi
if ! command -v "$python" >/dev/null; then
    say "Installing Python (Debian packages python3, python3-venv)"
    as_root apt-get update -qq
    as_root apt-get install -y -qq python3 python3-venv >/dev/null
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or later is needed; $("$python" --version) is what" \
        "'$python' gives. Name another one: PYTHON=/path/to/python3.11 make" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "Installing Python's venv module (Debian package python3-venv)"
    as_root apt-get update -qq
    as_root apt-get install -y -qq python3-venv >/dev/null
fi

say "Making .venv and installing the Python packages (about 30 s)"
"$python" -m venv --clear .venv
# Python's own pip may be years old, and needs twice as long. Most modules of the packages
# are never loaded: the others are compiled when they are.
pip() {
    .venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@"
}
pip pip==26.3
pip --constraint constraints.txt --editable '.[test,lint,docs]'
say "Python packages are ready"
touch .venv/ready

#!/usr/bin/env bash
# Creates the virtual environment and installs Cellwarden with everything it needs, saying what it does.
set -euo pipefail
venv=${1:-.venv}

say() { printf '== %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

python=${PYTHON:-python3}
if ! command -v "$python" > /dev/null || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || ! "$python" -c 'import venv, ensurepip' 2> /dev/null; then
    say "installing Python 3 with venv (Debian packages python3, python3-venv)"
    as_root apt-get update -qq
    as_root apt-get install -y -qq python3 python3-venv
    python=python3
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo "Cellwarden needs Python 3.11 or newer; found $("$python" --version)" >&2; exit 1; }

if [ ! -x "$venv/bin/python" ]; then
    say "creating the virtual environment $venv"
    "$python" -m venv "$venv"
fi
say "installing Cellwarden and its dependencies into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[speed,test]' 2>&1 | grep -v '^WARNING: Location' || true
"$venv/bin/cellwarden" --version

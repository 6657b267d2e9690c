#!/usr/bin/env bash
# install.sh cpu|cuda VENV: a virtual environment from the pinned lock, nothing resolved, nothing compiled.
set -euo pipefail
kind=$1 venv=$2 here=$(dirname "$0")
lock=$here/$kind.lock
python=${PYTHON:-python3}
"$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 14))' ||
  { echo "apportion needs Python 3.11 to 3.13; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
echo "Setting up $venv for $kind from $lock (once, a few minutes) ..." >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
torch=$(grep -E '^torch==' "$lock")
if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit('torch==' + m.version('torch') != '$torch')" 2>/dev/null; then
  # The CPU wheel comes from wherever pip is set up to look; elsewhere from PyTorch's own index, asked once and briefly.
  "${pip[@]}" install -qq --no-deps "$torch" 2>/dev/null ||
    "${pip[@]}" install -qq --no-deps --retries 1 --timeout 20 --index-url https://download.pytorch.org/whl/cpu "$torch"
fi
grep -vE '^torch==' "$lock" > "$venv/.rest.txt"
"${pip[@]}" install -qq --no-deps -r "$venv/.rest.txt"

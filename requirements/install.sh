#!/usr/bin/env bash
# install.sh cpu|cuda VENV: a virtual environment from the pinned lock, nothing resolved, nothing compiled.
# Where it is there and whole, nothing is said. After an interruption it is made anew, after a move it is mended.
set -euo pipefail
kind=$1 venv=$2
cd "$(dirname "$0")/.."
lock=requirements/$kind.lock stamp=$venv/.installed unfinished=$venv/.unfinished

die() {
  echo "apportion: $*" >&2
  exit 2
}

# The one version that the lock was resolved for: for others it lacks packages.
fits() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

version() { "$1" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

makes_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

whole() { [ ! -e "$unfinished" ] && fits "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

ours() { [ -e "$unfinished" ] || [ -e "$stamp" ] || compgen -G "$venv/.locked-*" >/dev/null; }

# The Python that PYTHON names, else the first one that will do.
find_python() {
  local name candidates=(python3 python3.11 python) found cure="name one: make PYTHON=/path/to/python3.11"
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
  for name in "${candidates[@]}"; do
    if fits "$name" && makes_venvs "$name"; then
      echo "$name"
      return
    fi
  done
  for name in "${candidates[@]}"; do
    if fits "$name"; then
      die "$name has no venv module to set up with; install it (Debian, Ubuntu: apt install python3.11-venv), or $cure"
    fi
  done
  found=$(version "${candidates[0]}") || die "it needs Python 3.11, and ${candidates[0]} does not run; $cure"
  die "it needs Python 3.11, and ${candidates[0]} is $found; $cure"
}

# `pip install` without a word, in the environment.
pip_install() { "$venv/bin/python" -m pip --disable-pip-version-check install -qq --no-deps "$@"; }

install_packages() {
  local torch
  torch=$(grep -E '^torch==' "$lock" || true)
  if [ -n "$torch" ]; then
    # The CPU wheel comes from wherever pip is set up to look; else from PyTorch's own index, asked once and briefly.
    pip_install "$torch" 2>/dev/null ||
      pip_install --retries 1 --timeout 20 --index-url https://download.pytorch.org/whl/cpu "$torch"
  fi
  grep -vE '^torch==' "$lock" >"$venv/.rest.txt" || true
  pip_install -r "$venv/.rest.txt"
}

# This folder's code and commands. What an earlier place left is taken away, not uninstalled: it may be half there.
link_here() {
  rm -rf "$venv"/lib/python3.11/site-packages/{apportion-*.dist-info,__editable__*apportion*}
  pip_install --no-build-isolation --no-index --editable .
  "$venv/bin/python" -m venv --without-pip "$venv" # its own place, for `activate`
  "$venv/bin/python" requirements/relocatable.py "$venv/bin"
}

exec 9<requirements/install.sh
if command -v flock >/dev/null; then flock 9; fi # a second `make` waits for the first
packages="$kind $(cksum <"$lock")"
wanted=$packages$'\n'$(cksum <pyproject.toml)$'\n'$PWD
have=$(cat "$stamp" 2>/dev/null || true)
if [ "$have" = "$wanted" ] && [ -x "$venv/bin/python" ] && [ ! -e "$unfinished" ]; then exit 0; fi

if [ -e "$venv" ] && ! whole; then
  ours || die "$venv is not an environment of Python 3.11 with pip; remove it, or choose a place: make VENV=FOLDER"
  have=
fi
if [ "${have%%$'\n'*}" = "$packages" ]; then
  echo "Linking $venv to $PWD ..." >&2
else
  whole || python=$(find_python)
  echo "Setting up $venv for $kind from $lock (once, a few minutes) ..." >&2
  if ! whole; then
    mkdir -p "$venv"
    touch "$unfinished" # first, and the last to go
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .unfinished -exec rm -rf {} +
    "$python" -m venv "$venv"
  fi
  touch "$unfinished"
  install_packages
fi
link_here
rm -f "$unfinished" "$venv"/.locked-*
printf '%s\n' "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"

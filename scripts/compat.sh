#!/usr/bin/env bash
# Try the package with the lowest and with the newest versions that pyproject.toml allows, each in an environment of its
# own below .compat/: contract tests and a short way through scoring, training and merging (tests/compat).
# torch keeps its pinned version. vLLM is not there: its CPU build ends at the version that `make test` runs with.
# Usage: scripts/compat.sh [lowest] [newest]        (both by default; `make compat` runs it)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n[compat %4ds] %s\n' "$SECONDS" "$*"; }
uv=.venv/bin/uv
torch_index=(--index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match)
. scripts/find-links.sh
export UV_LINK_MODE=${UV_LINK_MODE:-hardlink} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# The environment's own start-up file is to be in force, and no other copy of the package to be seen.
unset PYTHONPATH FIN_PLUGINS_AUTOLOAD PYTHONDONTWRITEBYTECODE

resolve() { # resolve lowest-direct|highest FILE [uv's options]: the exact versions of an environment
  "$uv" pip compile --quiet --python .venv/bin/python --resolution "$1" --constraint .compat/torch.txt \
    --extra hf --extra train --extra merge --extra run pyproject.toml -o "$2" "${@:3}"
}

make_environment() { # make_environment NAME: of .compat/NAME.txt, the test tools and this package
  local python=.compat/$1/bin/python base
  base=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
  rm -rf ".compat/$1"
  "$uv" venv --quiet --python "$base" ".compat/$1"
  install() { "$uv" pip install --quiet --python "$python" --no-deps "$@"; }
  install -r ".compat/$1.txt" 2>/dev/null || install "${torch_index[@]}" -r ".compat/$1.txt"
  grep -E '^(pytest|hypothesis|iniconfig|pluggy|sortedcontainers)==' requirements/dev.txt >.compat/tools.txt
  install -r .compat/tools.txt
  install -e .
  cp ".compat/$1.txt" ".compat/$1/installed.txt"
}

try() { # try NAME lowest-direct|highest
  say "$1: resolving"
  resolve "$2" ".compat/$1.txt" 2>/dev/null || resolve "$2" ".compat/$1.txt" "${torch_index[@]}"
  if ! cmp -s ".compat/$1.txt" ".compat/$1/installed.txt"; then
    say "$1: installing $(grep -c == ".compat/$1.txt") packages"
    make_environment "$1"
  fi
  say "$1: $(grep -E '^(lm-eval|torch|transformers|peft|trl|accelerate|datasets|mergekit|snakemake|numpy|pandas|pydantic)==' \
    ".compat/$1.txt" | tr '\n' ' ')"
  ".compat/$1/bin/python" -m pytest -p no:cacheprovider tests/compat
}

mkdir -p .compat
grep '^torch==' requirements/stack-cpu.txt >.compat/torch.txt
[ $# -gt 0 ] || set -- lowest newest
for name in "$@"; do
  case $name in
    lowest) try lowest lowest-direct ;;
    newest) try newest highest ;;
    *) echo "compat: $name: neither lowest nor newest" >&2; exit 2 ;;
  esac
done
say "all passed"

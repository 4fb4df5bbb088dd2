#!/usr/bin/env bash
# Test the package with the lowest and the newest versions that pyproject.toml allows, each in its own environment below
# .compat/: contract tests and short runs of scoring, training and merging (tests/compat). torch keeps its pinned
# version. vLLM is not installed: its CPU build has no newer version than the one that `make test` uses.
# Usage: scripts/compat.sh [lowest] [newest]        (both by default; `make compat` runs it)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n[compat %4ds] %s\n' "$SECONDS" "$*"; }
uv=.venv/bin/uv
torch_index=(--index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match)
. scripts/find-links.sh
export UV_LINK_MODE=${UV_LINK_MODE:-hardlink} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Use the environment's own start-up file and its own copy of the package.
unset PYTHONPATH FIN_PLUGINS_AUTOLOAD PYTHONDONTWRITEBYTECODE

resolve() { # resolve lowest-direct|highest FILE [uv's options]: write an environment's exact versions to FILE
  "$uv" pip compile --quiet --python .venv/bin/python --resolution "$1" --constraint .compat/torch.txt \
    --extra hf --extra train --extra merge --extra run pyproject.toml -o "$2" "${@:3}"
}

make_environment() { # make_environment NAME: install .compat/NAME.txt, the test tools and this package
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

test_environment() { # test_environment NAME lowest-direct|highest
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
    lowest) test_environment lowest lowest-direct ;;
    newest) test_environment newest highest ;;
    *) echo "compat: unknown environment '$name': use lowest or newest" >&2; exit 2 ;;
  esac
done
say "all passed"

#!/usr/bin/env bash
# Try the package with the lowest and with the newest versions that pyproject.toml allows, each in an environment of its
# own below .compat/: the contract tests (tests/compat) and a short way through scoring, training and merging.
# torch keeps its pinned version. vLLM is not among them: its CPU build exists in one version only, which `make test` uses.
# Usage: scripts/compat.sh [lowest] [newest]        (both by default; `make compat` runs it)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n[compat %4ds] %s\n' "$SECONDS" "$*"; }
UV=.venv/bin/uv
torch=$(grep '^torch==' requirements/stack-cpu.txt)
test_tools=$(grep -E '^(pytest|hypothesis|iniconfig|pluggy|sortedcontainers)==' requirements/dev.txt)
# uv does not read pip's find-links setting; where there is one, a build of torch may lie in it.
links=$(.venv/bin/python -m pip config list 2>/dev/null | sed -n "s/^.*find-links='\(.*\)'$/\1/p" | head -1)
[ -z "$links" ] || export UV_FIND_LINKS="${links// /,}"
export UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
# The environment's own start-up file is to be in force, and no other copy of the package to be seen.
unset PYTHONPATH FIN_PLUGINS_AUTOLOAD PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

resolve() { # resolve lowest-direct|highest FILE: the exact versions of an environment
  local more=()
  "$UV" pip compile --quiet --python .venv/bin/python --resolution "$1" --constraint .compat/torch.txt "${more[@]}" \
    --extra hf --extra train --extra merge --extra run pyproject.toml -o "$2" 2>.compat/resolve.log ||
    "$UV" pip compile --quiet --python .venv/bin/python --resolution "$1" --constraint .compat/torch.txt \
      --index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match \
      --extra hf --extra train --extra merge --extra run pyproject.toml -o "$2"
}

try() { # try NAME RESOLUTION
  local folder=.compat/$1 python=.compat/$1/bin/python
  say "$1: resolving"
  mkdir -p .compat
  echo "$torch" >.compat/torch.txt
  resolve "$2" ".compat/$1.txt"
  if ! cmp -s ".compat/$1.txt" "$folder/installed.txt"; then
    say "$1: installing $(grep -c == ".compat/$1.txt") packages"
    rm -rf "$folder"
    "$UV" venv --quiet --python "$(.venv/bin/python -c 'import sys; print(sys._base_executable)')" "$folder"
    "$UV" pip install --quiet --python "$python" --no-deps -r ".compat/$1.txt" ||
      "$UV" pip install --quiet --python "$python" --no-deps --index https://download.pytorch.org/whl/cpu \
        --index-strategy unsafe-best-match -r ".compat/$1.txt"
    # shellcheck disable=SC2086
    "$UV" pip install --quiet --python "$python" $test_tools
    "$UV" pip install --quiet --python "$python" --no-deps -e .
    cp ".compat/$1.txt" "$folder/installed.txt"
  fi
  say "$1: $(versions "$1")"
  "$python" -m pytest -q -p no:cacheprovider tests/compat -m "compat or not compat"
}

versions() { # versions NAME: those that matter, on one line
  grep -E '^(lm-eval|torch|transformers|peft|trl|accelerate|datasets|mergekit|snakemake|numpy|pandas|pydantic)==' \
    ".compat/$1.txt" | tr '\n' ' '
}

[ $# -gt 0 ] || set -- lowest newest
for name in "$@"; do
  case $name in
    lowest) try lowest lowest-direct ;;
    newest) try newest highest ;;
    *) echo "compat: $name: neither lowest nor newest" >&2; exit 2 ;;
  esac
done
say "all passed"

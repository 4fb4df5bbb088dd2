"""What a candidate of a merge search costs: `fin merge search` against mergekit-evolve's way of trying one.

    python benchmarks/search.py --mirror FOLDER                # the demo model, two cores: about 15 minutes
    python benchmarks/search.py --engines fin_hf fin_vllm hf vllm --rows 100

mergekit-evolve merges every candidate to disk, starts an engine on it and has lm-eval score it: here by `mergekit-yaml`
and `lm_eval`, two commands a candidate. `fin merge search` keeps one engine; what a candidate costs is the time between
two of its lines. The experts are random adapters of all projections: what they answer does not matter for speed. Both
sides score the same number of validation rows of the same tasks with the whole merge; ours scores each row a second
time, with its expert left out, and prompts for the divergence, which the other way does not.
"""

import argparse
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from measure import BIN, QUIET, row, row_source, run
from merge_models import make_adapter

from fin_plugins.demo import demo_model

VALIDATION = Path(__file__).resolve().parents[1] / "scripts" / "validation"
TASKS = {"fomc": "fin_fomc", "fpb": "fin_fpb"}
VLLM = {"enforce_eager": True, "max_model_len": 2048}
OURS = ("fin_hf", "fin_vllm")
LINE = re.compile(r"\d+ of \d+: seen")


@dataclass(frozen=True)
class Tried:
    """One candidate: wall seconds in all, those of merging to disk, and the largest process's memory in MiB."""

    seconds: float
    merging: float
    mib: float


def main() -> None:
    """Measure every engine and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fin-bench-", dir=options.folder) as folder:
        scratch = Path(folder)
        os.environ |= QUIET | row_source(options.mirror, scratch)
        base = demo_model()
        experts = {name: make_adapter(scratch / name, base, options.rank, number) for number, name in enumerate(TASKS)}
        found = {}
        for engine in options.engines:
            way = _search if engine in OURS else _evolve
            found[engine] = way(scratch, base, experts, engine, options)
            print(f"{engine}: {found[engine].seconds:.1f} s a candidate", file=sys.stderr, flush=True)
    _print(options, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    engines = [*OURS, "hf", "vllm"]
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines, help="default: all four")
    parser.add_argument("--rows", type=int, default=50, help="validation rows of each of two tasks (default 50)")
    parser.add_argument("--candidates", type=int, default=3, help="tried on each side; medians (default 3)")
    parser.add_argument("--rank", type=int, default=16, help="of the two experts (default 16)")
    parser.add_argument("--mirror", type=Path, default=os.environ.get("FIN_TEST_MIRROR"), help="raw data of real rows")
    parser.add_argument("--folder", type=Path, help="for models and results (default: the temporary folder)")
    return parser.parse_args()


def _search(scratch: Path, base: Path, experts: dict[str, Path], engine: str, options: argparse.Namespace) -> Tried:
    """The time between the lines that `fin merge search` prints, which are one a candidate."""
    entries = {name: {"path": str(path), "tasks": [TASKS[name]]} for name, path in experts.items()}
    file = scratch / f"{engine}.yaml"
    # The first candidate is left out below: what an engine compiles once in its life is not a candidate's.
    settings = {"candidates": options.candidates + 1, "rows": options.rows, "model": engine, "batch_size": 8}
    settings["model_args"] = {"dtype": "bfloat16", **(VLLM if engine == "fin_vllm" else {})}
    file.write_text(json.dumps({"base": str(base), "experts": entries, **settings}))
    command = [BIN / "fin", "merge", "search", file, "--out", scratch / f"study-{engine}"]
    child = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    at = list(_moments(child))
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{engine}: the search failed")
    return Tried(statistics.median(b - a for a, b in itertools.pairwise(at)), 0.0, usage.ru_maxrss / 1024)


def _moments(child: "subprocess.Popen[str]") -> Iterator[float]:
    assert child.stderr is not None
    for line in child.stderr:
        if LINE.search(line):
            yield time.perf_counter()


def _evolve(scratch: Path, base: Path, experts: dict[str, Path], engine: str, options: argparse.Namespace) -> Tried:
    """`mergekit-yaml`, then `lm_eval` on what it wrote; the adapters are written out as checkpoints once, before."""
    tried = []
    for number in range(options.candidates + 1):
        weights = [0.2 + 0.1 * number, 0.7 - 0.1 * number]
        merged = scratch / "merged" / f"{engine}-{number}"
        costs = [run(command) for command in _commands(scratch, base, experts, weights, merged, engine, options)]
        tried.append(Tried(sum(cost.wall for cost in costs), costs[0].wall, max(cost.mib for cost in costs)))
    return _median(tried[1:])  # the first one also writes the experts out as checkpoints, which is done once


def _commands(
    scratch: Path,
    base: Path,
    experts: dict[str, Path],
    weights: list[float],
    merged: Path,
    engine: str,
    options: argparse.Namespace,
) -> list[list[str | Path]]:
    models = [
        {"model": f"{base}+{path}", "parameters": {"weight": weight}}
        for path, weight in zip(experts.values(), weights, strict=True)
    ]
    recipe = {"merge_method": "task_arithmetic", "base_model": str(base), "models": models, "dtype": "bfloat16"}
    file = scratch / "evolve.yaml"
    file.write_text(json.dumps(recipe))  # JSON is YAML
    given = {"pretrained": str(merged), "dtype": "bfloat16", **(VLLM if engine == "vllm" else {})}
    arguments = ",".join(f"{name}={value}" for name, value in given.items())
    tasks = ",".join(f"{task}_validation" for task in TASKS.values())
    batch = "auto" if engine == "vllm" else "8"
    merging: list[str | Path] = [
        BIN / "mergekit-yaml",
        file,
        merged,
        "--quiet",
        "--lora-merge-cache",
        scratch / "cache",
    ]
    scoring: list[str | Path] = [BIN / "lm_eval", "--model", engine, "--model_args", arguments, "--apply_chat_template"]
    scoring += ["--batch_size", batch, "--tasks", tasks, "--limit", str(options.rows), "--include_path", VALIDATION]
    return [merging, scoring]


def _median(tried: list[Tried]) -> Tried:
    return Tried(*(statistics.median(getattr(one, name) for one in tried) for name in ("seconds", "merging", "mib")))


def _print(options: argparse.Namespace, found: dict[str, Tried]) -> None:
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"135m, two adapters of rank {options.rank}, {options.rows * len(TASKS)} rows, ", end="")
    print(f"medians of {options.candidates} candidates\n")
    print("| way | a candidate | ÷ | of it merging to disk | largest process |")
    print("|---|---:|---:|---:|---:|")
    least = min(one.seconds for one in found.values())
    for engine, one in found.items():
        way = f"`fin merge search`, {engine}" if engine in OURS else f"`mergekit-yaml`, then `lm_eval --model {engine}`"
        merging = f"{one.merging:.1f} s" if one.merging else "–"
        row(way, f"{one.seconds:.1f} s", f"{one.seconds / least:.2f}", merging, f"{one.mib:,.0f} MiB")


if __name__ == "__main__":
    main()

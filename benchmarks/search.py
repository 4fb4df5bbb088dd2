"""Cost per candidate of a merge search: `fin merge search` against the method of mergekit-evolve.

    python benchmarks/search.py --mirror FOLDER                # the demo model, two cores: about 15 minutes
    python benchmarks/search.py --engines fin_hf fin_vllm hf vllm --rows 100

mergekit-evolve merges each candidate to disk, starts an engine on it and scores it with lm-eval: here two commands per
candidate, `mergekit-yaml` and `lm_eval`. `fin merge search` keeps one engine running; the cost of a candidate is the
time between two of its progress lines. The experts are random adapters of all projections; their answers do not affect
speed. Both score the same number of validation rows of the same tasks with the merged model. `fin merge search` also
scores each row without its expert, and prompts for the divergence.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from measure import (
    BIN,
    MODEL_ENVIRONMENT,
    add_mirror_option,
    argument_parser,
    machine_summary,
    print_progress,
    print_row,
    row_source,
    run,
)
from merge_models import make_adapter

from fin_plugins.demo import demo_model

VALIDATION = Path(__file__).resolve().parents[1] / "scripts" / "validation"
TASKS = {"fomc": "fin_fomc", "fpb": "fin_fpb"}
VLLM = {"enforce_eager": True, "max_model_len": 2048}
FIN_ENGINES = ("fin_hf", "fin_vllm")
CANDIDATE_LINE = re.compile(r"\d+ of \d+: seen")


@dataclass(frozen=True)
class CandidateCost:
    """Cost of one candidate.

    Attributes:
        seconds: wall time.
        merging: wall time of merging to disk.
        mib: peak memory of the largest process in MiB.
    """

    seconds: float
    merging: float
    mib: float


def main() -> None:
    """Measure every engine and print the table."""
    options = _parse_options()
    with tempfile.TemporaryDirectory(prefix="fin-bench-", dir=options.folder) as folder:
        scratch = Path(folder).resolve()
        os.environ |= MODEL_ENVIRONMENT | row_source(options.mirror, scratch)
        base = demo_model()
        experts = {name: make_adapter(scratch / name, base, options.rank, number) for number, name in enumerate(TASKS)}
        costs = {}
        for engine in options.engines:
            measure = _measure_search if engine in FIN_ENGINES else _measure_evolve
            costs[engine] = measure(scratch, base, experts, engine, options)
            print_progress(f"{engine}: {costs[engine].seconds:.1f} s per candidate")
    _print_table(options, costs)


def _parse_options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    engines = [*FIN_ENGINES, "hf", "vllm"]
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines, help="default: all four")
    parser.add_argument("--rows", type=int, default=50, help="validation rows of each of two tasks (default 50)")
    parser.add_argument("--candidates", type=int, default=3, help="candidates per engine; medians (default 3)")
    parser.add_argument("--rank", type=int, default=16, help="rank of the two experts (default 16)")
    add_mirror_option(parser)
    parser.add_argument("--folder", type=Path, help="for models and results (default: the temporary folder)")
    return parser.parse_args()


def _measure_search(
    scratch: Path, base: Path, experts: dict[str, Path], engine: str, options: argparse.Namespace
) -> CandidateCost:
    """Time between the lines that `fin merge search` prints, one per candidate."""
    entries = {name: {"path": str(path), "tasks": [TASKS[name]]} for name, path in experts.items()}
    file = scratch / f"{engine}.yaml"
    # One extra: the time before the first line is not counted, because it includes one-time compilation.
    settings = {"candidates": options.candidates + 1, "rows": options.rows, "model": engine, "batch_size": 8}
    settings["model_args"] = {"dtype": "bfloat16", **(VLLM if engine == "fin_vllm" else {})}
    file.write_text(json.dumps({"base": str(base), "experts": entries, **settings}))
    command = [BIN / "fin", "merge", "search", file, "--out", scratch / f"study-{engine}"]
    child = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    times = list(_line_times(child))
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{engine}: the search failed")
    seconds = statistics.median(end - start for start, end in itertools.pairwise(times))
    return CandidateCost(seconds, 0.0, usage.ru_maxrss / 1024)


def _line_times(child: "subprocess.Popen[str]") -> Iterator[float]:
    """The time at which each candidate's line arrives."""
    assert child.stderr is not None
    for line in child.stderr:
        if CANDIDATE_LINE.search(line):
            yield time.perf_counter()


def _measure_evolve(
    scratch: Path, base: Path, experts: dict[str, Path], engine: str, options: argparse.Namespace
) -> CandidateCost:
    """`mergekit-yaml`, then `lm_eval` on the merged checkpoint."""
    candidates = []
    for number in range(options.candidates + 1):
        weights = [0.2 + 0.1 * number, 0.7 - 0.1 * number]
        merged = scratch / "merged" / f"{engine}-{number}"
        merge, score = map(run, _commands(scratch, base, experts, weights, merged, engine, options))
        candidates.append(CandidateCost(merge.wall + score.wall, merge.wall, max(merge.mib, score.mib)))
    timed = candidates[1:]  # the first also writes the experts as checkpoints, which happens once
    return CandidateCost(*(statistics.median(figures) for figures in zip(*map(astuple, timed), strict=True)))


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
    settings = {"pretrained": str(merged), "dtype": "bfloat16", **(VLLM if engine == "vllm" else {})}
    model_args = ",".join(f"{name}={value}" for name, value in settings.items())
    tasks = ",".join(f"{task}_validation" for task in TASKS.values())
    batch = "auto" if engine == "vllm" else "8"
    merge: list[str | Path] = [BIN / "mergekit-yaml", file, merged, "--quiet", "--lora-merge-cache", scratch / "cache"]
    score: list[str | Path] = [BIN / "lm_eval", "--model", engine, "--model_args", model_args, "--apply_chat_template"]
    score += ["--batch_size", batch, "--tasks", tasks, "--limit", str(options.rows), "--include_path", VALIDATION]
    return [merge, score]


def _print_table(options: argparse.Namespace, costs: dict[str, CandidateCost]) -> None:
    print(machine_summary())
    print(f"135m, two adapters of rank {options.rank}, {options.rows * len(TASKS)} rows, ", end="")
    print(f"medians of {options.candidates} candidates\n")
    print("| method | per candidate | ÷ | of it merging to disk | largest process |")
    print("|---|---:|---:|---:|---:|")
    fastest = min(cost.seconds for cost in costs.values())
    for engine, cost in costs.items():
        evolve = f"`mergekit-yaml`, then `lm_eval --model {engine}`"
        method = f"`fin merge search`, {engine}" if engine in FIN_ENGINES else evolve
        merging = f"{cost.merging:.1f} s" if cost.merging else "–"
        print_row(method, f"{cost.seconds:.1f} s", f"{cost.seconds / fastest:.2f}", merging, f"{cost.mib:,.0f} MiB")


if __name__ == "__main__":
    main()

"""Task arithmetic of adapters: `fin merge --as-adapter` against `fin merge` and mergekit, which merge checkpoints.

    python benchmarks/merge.py                                  # the demo model, 135M; four adapters of rank 32
    python benchmarks/merge.py --shapes 135m 1b 3b              # random weights; 3b: 60 GB of disk, 20 GB of memory
    python benchmarks/merge.py --shapes tiny --times 1          # seconds

The experts are random adapters of all projections. The three commands run in turns, each in its own process; wall time
includes start-up, 'of it merging' excludes it. Peak memory is the resident size, including memory-mapped files. The
bytes written are those of the result and, for mergekit, of the experts, which it first writes out as checkpoints.
`error` is the distance of the written change from the exact one, as `fin merge` reports it; mergekit reports none.
"""

import argparse
import json
import math
import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import (
    BIN,
    Cost,
    argument_parser,
    machine_summary,
    median,
    print_progress,
    print_row,
    report_result,
    run,
    run_worker,
)

ADAPTER, CHECKPOINT, MERGEKIT = "fin merge --as-adapter", "fin merge", "mergekit-yaml"


@dataclass(frozen=True)
class MergeCost:
    """Cost of one way of merging.

    Attributes:
        process: cost of the command.
        bytes: bytes written.
        merging: seconds of merging alone; NaN if unknown.
        error: relative error of the merged change; NaN if unknown.
    """

    process: Cost
    bytes: int
    merging: float
    error: float


def main() -> None:
    """Measure each shape and print its table."""
    options = _parse_options()
    if options.worker:
        report_result(_write_models(**json.loads(options.worker)))
        return
    print(f"{machine_summary()}\n")
    for shape in options.shapes:
        with tempfile.TemporaryDirectory(prefix="fin-bench-", dir=options.folder) as scratch:
            _print_table(shape, options, _measure(Path(scratch).resolve(), shape, options))


def _parse_options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    shapes = ["tiny", "135m", "1b", "3b", "8b"]
    parser.add_argument("--shapes", nargs="+", choices=shapes, default=["135m"], help="default: 135m")
    parser.add_argument("--experts", type=int, default=4, help="adapters (default 4)")
    parser.add_argument("--rank", type=int, default=32, help="rank of each adapter (default 32)")
    parser.add_argument("--times", type=int, default=3, help="runs of each command; medians (default 3)")
    parser.add_argument("--folder", type=Path, help="for models and results (default: the temporary folder)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _write_models(folder: str, shape: str, experts: int, rank: int) -> dict[str, str]:
    """Write the base and the experts; returns the base's path.

    Runs in a worker, because the measuring process must stay small.
    """
    from merge_models import make_adapter, make_base

    base = make_base(Path(folder) / "base", shape)
    for number in range(experts):
        make_adapter(Path(folder) / f"expert{number}", base, rank, number)
    return {"base": str(base)}


def _measure(folder: Path, shape: str, options: argparse.Namespace) -> dict[str, MergeCost]:
    job = {"folder": str(folder), "shape": shape, "experts": options.experts, "rank": options.rank}
    base = run_worker(__file__, job)["base"]
    experts = {f"e{number}": folder / f"expert{number}" for number in range(options.experts)}
    commands = _commands(folder, base, experts)
    costs: dict[str, list[MergeCost]] = {name: [] for name in commands}
    for _ in range(options.times):
        for name, command in commands.items():
            costs[name].append(_run_merge(folder, command))
            print_progress(f"{shape}: {name}, {costs[name][-1].process.wall:.1f} s")
    return {name: _median_cost(runs) for name, runs in costs.items()}


def _commands(folder: Path, base: str, experts: dict[str, Path]) -> dict[str, list[str | Path]]:
    share = 1 / len(experts)
    models = [{"model": f"{base}+{path}", "parameters": {"weight": share}} for path in experts.values()]
    recipe = {"merge_method": "task_arithmetic", "base_model": base, "models": models, "dtype": "bfloat16"}
    (folder / "mergekit.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    expert_options = [word for name, path in experts.items() for word in ("--expert", f"{name}={path}")]
    fin_merge = [BIN / "fin", "merge", "task_arithmetic", "--base", base, *expert_options, "--dtype", "bfloat16"]
    fin_merge += ["--out", folder / "out" / "merged"]
    cache = ["--lora-merge-cache", folder / "out" / "cache"]
    return {
        ADAPTER: [*fin_merge, "--as-adapter"],
        CHECKPOINT: fin_merge,
        MERGEKIT: [BIN / "mergekit-yaml", folder / "mergekit.yaml", folder / "out" / "merged", "--quiet", *cache],
    }


def _run_merge(folder: Path, command: list[str | Path]) -> MergeCost:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    cost = run(command, {"HF_HUB_OFFLINE": "1"})
    written = sum(file.stat().st_size for file in (folder / "out").rglob("*") if file.is_file())
    return MergeCost(cost, written, *_read_record(folder / "out" / "merged"))


def _read_record(merged: Path) -> tuple[float, float]:
    """Seconds of merging alone and error of the change from `merge.json`; NaN without that file."""
    file = merged / "merge.json"
    if not file.is_file():
        return math.nan, math.nan
    record = json.loads(file.read_text())
    error = record["rounding"] if "rounding" in record else record["error_of_change"]["overall"]
    return float(record["seconds"]), float(error)


def _median_cost(runs: list[MergeCost]) -> MergeCost:
    merging = statistics.median(run.merging for run in runs)
    return MergeCost(median([run.process for run in runs]), runs[0].bytes, merging, runs[0].error)


def _print_table(shape: str, options: argparse.Namespace, costs: dict[str, MergeCost]) -> None:
    print(f"{shape}: {options.experts} adapters of rank {options.rank}, bfloat16, medians of {options.times}\n")
    print_row("command", "wall", "÷", "of it merging", "CPU", "peak memory", "÷", "written", "÷", "error")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    first = costs[ADAPTER]
    for name, cost in costs.items():
        process, known = cost.process, not math.isnan(cost.merging)
        print_row(
            f"`{name}`",
            *(f"{process.wall:.1f} s", f"{process.wall / first.process.wall:.2f}"),
            *(f"{cost.merging:.1f} s" if known else "–", f"{process.cpu:.1f} s"),
            *(f"{process.mib:,.0f} MiB", f"{process.mib / first.process.mib:.2f}"),
            *(f"{cost.bytes / 1e6:,.1f} MB", f"{cost.bytes / first.bytes:.1f}"),
            f"{cost.error:.2%}" if known else "–",
        )
    print(flush=True)


if __name__ == "__main__":
    main()

"""Task arithmetic of adapters: `fin merge --as-adapter` against checkpoint merges, ours and plain mergekit's, one run.

    python benchmarks/merge.py                                  # the demo model, 135M; four adapters of rank 32
    python benchmarks/merge.py --shapes 135m 1b 3b              # random weights; 3b: 60 GB of disk, 20 GB of memory
    python benchmarks/merge.py --shapes tiny --times 1          # seconds

The experts are random adapters of all projections. The sides take turns, each in a process of its own, start-up
included ('of it merging' leaves it out). Peak memory is the resident size, files mapped into memory included. Bytes
written are the result's, and for plain mergekit those of the experts, which it writes out as checkpoints first, too.
`error` is how far the merged change is from the exact one in what was written, as `fin merge` says it; mergekit does
not.
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from measure import BIN, Cost, median, run

OURS, CHECKPOINT, PLAIN = "fin merge --as-adapter", "fin merge", "mergekit-yaml"


@dataclass(frozen=True)
class Side:
    """What one way of merging took: its cost, the bytes it wrote; by its own record seconds of merging and error."""

    cost: Cost
    bytes: int
    merging: float
    error: float


def main() -> None:
    """Measure each shape and print its table."""
    options = _options()
    if options.make:
        _make(options.make, options.shapes[0], options)
        return
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    for shape in options.shapes:
        with tempfile.TemporaryDirectory(prefix="fin-bench-", dir=options.folder) as scratch:
            _print(shape, options, _measure(Path(scratch), shape, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shapes = ["tiny", "135m", "1b", "3b", "8b"]
    parser.add_argument("--shapes", nargs="+", choices=shapes, default=["135m"], help="default: 135m")
    parser.add_argument("--experts", type=int, default=4, help="adapters (default 4)")
    parser.add_argument("--rank", type=int, default=32, help="of each (default 32)")
    parser.add_argument("--times", type=int, default=3, help="runs of each side, in turns; medians (default 3)")
    parser.add_argument("--folder", type=Path, help="for models and results (default: the temporary folder)")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _make(folder: Path, shape: str, options: argparse.Namespace) -> None:
    """Write the base and the experts, in a process of its own: the measuring one must stay small."""
    from merge_models import make_adapter, make_base

    base = make_base(folder / "base", shape)
    for number in range(options.experts):
        make_adapter(folder / f"expert{number}", base, options.rank, number)
    (folder / "base.txt").write_text(str(base))


def _measure(folder: Path, shape: str, options: argparse.Namespace) -> dict[str, Side]:
    made = ["--make", folder, "--shapes", shape, "--experts", str(options.experts), "--rank", str(options.rank)]
    run([sys.executable, Path(__file__).resolve(), *made])
    base = (folder / "base.txt").read_text()
    experts = {f"e{number}": folder / f"expert{number}" for number in range(options.experts)}
    commands = _commands(folder, base, experts)
    found: dict[str, list[Side]] = {name: [] for name in commands}
    for _ in range(options.times):
        for name, command in commands.items():
            found[name].append(_once(folder, command))
            print(f"{shape}: {name}, {found[name][-1].cost.wall:.1f} s", file=sys.stderr, flush=True)
    return {name: _typical(runs) for name, runs in found.items()}


def _commands(folder: Path, base: str, experts: dict[str, Path]) -> dict[str, list[str | Path]]:
    share = 1 / len(experts)
    models = [{"model": f"{base}+{path}", "parameters": {"weight": share}} for path in experts.values()]
    plain = {"merge_method": "task_arithmetic", "base_model": base, "models": models, "dtype": "bfloat16"}
    (folder / "plain.yaml").write_text(json.dumps(plain))  # JSON is YAML
    named = [word for name, path in experts.items() for word in ("--expert", f"{name}={path}")]
    ours = [BIN / "fin", "merge", "task_arithmetic", "--base", base, *named, "--dtype", "bfloat16"]
    ours += ["--out", folder / "out" / "merged"]
    cache = ["--lora-merge-cache", folder / "out" / "cache"]
    return {
        OURS: [*ours, "--as-adapter"],
        CHECKPOINT: ours,
        PLAIN: [BIN / "mergekit-yaml", folder / "plain.yaml", folder / "out" / "merged", "--quiet", *cache],
    }


def _once(folder: Path, command: list[str | Path]) -> Side:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    cost = run(command, {"HF_HUB_OFFLINE": "1"})
    written = sum(file.stat().st_size for file in (folder / "out").rglob("*") if file.is_file())
    return Side(cost, written, *_recorded(folder / "out" / "merged"))


def _recorded(merged: Path) -> tuple[float, float]:
    """Seconds of merging alone, and the error, as `merge.json` has them; NaN where there is none."""
    file = merged / "merge.json"
    if not file.is_file():
        return math.nan, math.nan
    record = json.loads(file.read_text())
    error = record["rounding"] if "rounding" in record else record["error_of_change"]["overall"]
    return float(record["seconds"]), float(error)


def _typical(runs: list[Side]) -> Side:
    merging = statistics.median(one.merging for one in runs)
    return Side(median([one.cost for one in runs]), runs[0].bytes, merging, runs[0].error)


def _print(shape: str, options: argparse.Namespace, found: dict[str, Side]) -> None:
    print(f"{shape}: {options.experts} adapters of rank {options.rank}, bfloat16, medians of {options.times}\n")
    print("| way | wall | ÷ | of it merging | CPU | peak memory | ÷ | written | ÷ | error |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    first = found[OURS]
    for name, side in found.items():
        cost = side.cost
        known = not math.isnan(side.merging)
        merging, error = (f"{side.merging:.1f} s", f"{side.error:.2%}") if known else ("–", "–")
        print(
            f"| `{name}` | {cost.wall:.1f} s | {cost.wall / first.cost.wall:.2f} | {merging} | {cost.cpu:.1f} s | "
            f"{cost.mib:,.0f} MiB | {cost.mib / first.cost.mib:.2f} | "
            f"{side.bytes / 1e6:,.1f} MB | {side.bytes / first.bytes:.1f} | {error} |"
        )
    print(flush=True)


if __name__ == "__main__":
    main()

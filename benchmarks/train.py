"""Our trainer against a plain loop with loss on all tokens: useful tokens per second, padding and peak memory.

    python benchmarks/train.py --mirror FOLDER                         # the demo model, two cores: 40 minutes or more
    python benchmarks/train.py --model OWNER/NAME --peak-tflops 989    # on a GPU; the peak for dense bfloat16
    python benchmarks/train.py --ways plain auto --batches 10          # the two that matter most, faster

Measures one task and a mixture of five. Uses a GPU if available and then reports its memory, too. Each run is its own
process; the ways of training run in turns, on the same rows in the same order (a seeded shuffle; `packed` fills its
sequences from them). Only training steps are timed: no loading, preparing, validation or saving. Useful tokens are
those of the rows before batching: padding does not count, tokens of shared prefixes count once per row. Rows are real,
from `fin data fetch` or `--mirror`; with FIN_DATA=sample the embedded ones.
"""

import argparse
import json
import os
import tempfile
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from measure import add_mirror_option, argument_parser, print_progress, print_row, row_source, run_worker

WORKER = Path(__file__).with_name("train_worker.py")
MIXES = {"one task (fin_fomc)": "fin_fomc", "five tasks (fin_seen)": "fin_seen"}
WAYS = {
    "plain": ("padded", "all"),
    "auto": ("auto", "completion"),
    "padded": ("padded", "completion"),
    "padding_free": ("padding_free", "completion"),
    "padded/all": ("padded", "all"),
    "packed/all": ("packed", "all"),
}
"""Name to batching and loss. `plain` is the hand-written loop; the others use our trainer."""
Result = dict[str, Any]


def main() -> None:
    """Measure and print the tables."""
    options = _parse_options()
    os.environ.setdefault("FIN_DATA", "real")
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        scratch = Path(folder)
        os.environ |= row_source(options.mirror, scratch)
        rows = {mix: _prepare_rows(options, task, scratch / f"{task}.json") for mix, task in MIXES.items()}
        runs = {mix: _train_in_turns(options, mix, scratch / f"{task}.json") for mix, task in MIXES.items()}
    _print_tables(options, rows, runs)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "rows": rows, "runs": runs}, default=str))


def _parse_options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="demo", help="folder or hub name (default: the demo model)")
    parser.add_argument("--batches", type=int, default=30, help="timed batches (default 30)")
    parser.add_argument("--warm-up", type=int, default=3, help="untimed batches before (default 3, at least 1)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows per batch (default 8)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way; medians (default 2)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--peak-tflops", type=float, help="the device's peak TFLOP/s; adds the share reached")
    add_mirror_option(parser)
    parser.add_argument("--json", type=Path, help="write all runs to this file")
    options = parser.parse_args()
    if min(options.warm_up, options.batches, options.rounds) < 1:
        parser.error("--warm-up, --batches and --rounds must be at least 1")
    options.ways = ["plain", *(way for way in options.ways if way != "plain")]
    return options


def _prepare_rows(options: argparse.Namespace, task: str, file: Path) -> Result:
    """Write the tokenised rows of one mix; returns their number and lengths."""
    print_progress(f"rows of {task}")
    count = (options.warm_up + options.batches) * options.batch_size
    return _run_worker(options, file, {"way": "prepare", "tasks": [task], "count": count})


def _train_in_turns(options: argparse.Namespace, mix: str, file: Path) -> dict[str, list[Result]]:
    runs: dict[str, list[Result]] = {way: [] for way in options.ways}
    for turn in range(options.rounds):
        for way, results in runs.items():
            if results and "failed" in results[0]:
                continue
            print_progress(f"round {turn + 1} of {options.rounds}, {mix}: {way}")
            batching, loss = WAYS[way]
            results.append(_run_worker(options, file, {"way": way, "batching": batching, "loss": loss}))
            outcome = results[-1].get("failed") or f"{_tokens_per_second(results[-1]):,.0f} useful tokens/s"
            print_progress(f"  {outcome}")
    return runs


def _run_worker(options: argparse.Namespace, file: Path, job: Result) -> Result:
    settings = {name: getattr(options, name) for name in ("model", "dtype", "batch_size", "warm_up")}
    env = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    env |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return run_worker(WORKER, {**settings, "rows": str(file), **job}, env)


def _tokens_per_second(run: Result) -> float:
    return run["tokens"] / run["seconds"]


def _print_tables(
    options: argparse.Namespace, rows: dict[str, Result], runs: dict[str, dict[str, list[Result]]]
) -> None:
    first = runs[next(iter(runs))]["plain"][0]
    print(
        f"{date.today()}, {options.model}, {first['dtype']}, {os.environ['FIN_DATA']} rows, {options.batches} batches "
        f"of {options.batch_size} after {options.warm_up}, medians of {options.rounds}; {first['machine']}\n"
    )
    for mix, lengths in rows.items():
        print(
            f"- {mix}: {lengths['rows']:,} rows, {lengths['mean']:.0f} tokens on average, {lengths['longest']} at most"
        )
    print()
    columns = ["rows", "training", "loss on", "useful tokens/s", "÷ plain", "positions per useful token", "padding"]
    columns += [f"{title}, {memory}" for memory in _memory_kinds(first) for title in ("peak MiB", "÷ plain")]
    columns += ["share of peak FLOP/s"] if options.peak_tflops else []
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for mix, ways in runs.items():
        for way, results in ways.items():
            _print_way(options, mix, way, results, ways["plain"])


def _print_way(options: argparse.Namespace, mix: str, way: str, runs: list[Result], plain: list[Result]) -> None:
    if "failed" in runs[0]:
        print_row(mix, way, runs[0]["failed"])
        return
    speed, positions = median(map(_tokens_per_second, runs)), runs[0]["computed"] / runs[0]["tokens"]
    padding = f"{1 - 1 / positions:.1%}" if positions >= 1 else "none"
    title = "plain loop" if way == "plain" else f"`{runs[0]['batching']}`" + " (auto)" * (way == "auto")
    cells = [f"{speed:,.0f}", f"{speed / median(map(_tokens_per_second, plain)):.2f}", f"{positions:.2f}", padding]
    for kind in _memory_kinds(runs[0]):
        peak, plain_peak = (median(run["peak"][kind] for run in results) for results in (runs, plain))
        cells += [f"{peak / 2**20:,.0f}", f"{peak / plain_peak:.2f}"]
    if options.peak_tflops:
        cells.append(f"{_flops_per_second(runs) / (options.peak_tflops * 1e12):.1%}")
    print_row(mix, title, "label" if runs[0]["loss"] == "completion" else "all", *cells)


def _memory_kinds(run: Result) -> list[str]:
    return sorted(run["peak"], reverse=True)  # the process before its GPU


def _flops_per_second(runs: list[Result]) -> float:
    """A lower bound of the FLOP/s reached.

    A frozen weight matrix of n entries takes 2n FLOP per position forward and 2n backward, for the gradient of its
    input (6n if it were trained). The adapter, attention, the vocabulary and element-wise operations are not counted.
    """
    return median(4 * run["weights"] * run["computed"] / run["seconds"] for run in runs)


if __name__ == "__main__":
    main()

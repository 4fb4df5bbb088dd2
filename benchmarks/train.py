"""Our trainer against a plain full-loss loop: useful tokens a second, padding, peak memory; one task and five apart.

    python benchmarks/train.py --mirror FOLDER                         # the demo model, two cores: 40 minutes or more
    python benchmarks/train.py --model OWNER/NAME --peak-tflops 989    # on a GPU: the figure is of its dense bfloat16
    python benchmarks/train.py --ways plain auto --batches 10          # the two that count, in less time

A GPU is used where there is one; its own memory then stands beside the process's. Each run of a side is a process of
its own, the sides take turns, and each gets the same rows in the same order (a seeded shuffle; `packed` fills its
sequences from them). Timed are training steps alone: no loading, preparing, validation or saving. Useful tokens are
those of the rows as they stand, each row for itself; padding is not, and what sharing saves is. Rows are real: fetched
before (`fin data fetch`) or from `--mirror`; with FIN_DATA=sample the embedded ones.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from measure import aside, row, row_source

SIDE = Path(__file__).with_name("train_side.py")
MIXES = {"one task (fin_fomc)": "fin_fomc", "five tasks (fin_seen)": "fin_seen"}
WAYS = {
    "plain": ("padded", "all"),
    "auto": ("auto", "completion"),
    "padded": ("padded", "completion"),
    "padding_free": ("padding_free", "completion"),
    "padded/all": ("padded", "all"),
    "packed/all": ("packed", "all"),
}
"""Name: batching and loss. `plain` is the hand-written loop; the others are our trainer's."""
Result = dict[str, Any]


def main() -> None:
    """Measure and print the tables."""
    options = _options()
    os.environ.setdefault("FIN_DATA", "real")
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        scratch = Path(folder)
        os.environ |= row_source(options.mirror, scratch)
        rows = {mix: _prepare(options, task, scratch / f"{task}.json") for mix, task in MIXES.items()}
        found = {mix: _in_turns(options, mix, scratch / f"{task}.json") for mix, task in MIXES.items()}
    _print(options, rows, found)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "rows": rows, "runs": found}, default=str))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="folder or hub name (default: the demo model)")
    parser.add_argument("--batches", type=int, default=30, help="timed batches (default 30)")
    parser.add_argument("--warm-up", type=int, default=3, help="batches before them, not timed (default 3, at least 1)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows a batch (default 8)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side, in turns; medians (default 2)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--peak-tflops", type=float, help="what the device can do at most, for the share of it")
    parser.add_argument("--mirror", type=Path, default=os.environ.get("FIN_TEST_MIRROR"), help="raw data")
    parser.add_argument("--json", type=Path, help="write all runs to this file")
    options = parser.parse_args()
    if min(options.warm_up, options.batches, options.rounds) < 1:
        parser.error("--warm-up, --batches and --rounds are 1 at least")
    options.ways = ["plain", *(way for way in options.ways if way != "plain")]
    return options


def _prepare(options: argparse.Namespace, task: str, file: Path) -> Result:
    """Write the rows of one mix, in tokens, and tell of them."""
    _say(f"rows of {task}")
    count = (options.warm_up + options.batches) * options.batch_size
    return _side(_job(options, file) | {"way": "prepare", "tasks": [task], "count": count})


def _in_turns(options: argparse.Namespace, mix: str, file: Path) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {way: [] for way in options.ways}
    for turn in range(options.rounds):
        for way, runs in found.items():
            if runs and "failed" in runs[0]:
                continue
            _say(f"round {turn + 1} of {options.rounds}, {mix}: {way}")
            batching, loss = WAYS[way]
            runs.append(_side(_job(options, file) | {"way": way, "batching": batching, "loss": loss}))
            _say(f"  {runs[-1].get('failed') or format(_speed(runs[-1]), ',.0f') + ' useful tokens/s'}")
    return found


def _job(options: argparse.Namespace, file: Path) -> Result:
    given = {name: getattr(options, name) for name in ("model", "dtype", "batch_size", "warm_up")}
    return given | {"rows": str(file)}


def _side(job: Result) -> Result:
    """One run in a process of its own."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    env = {"TOKENIZERS_PARALLELISM": "false", **quiet}
    return aside(str(SIDE), job, env)


def _speed(run: Result) -> float:
    return run["tokens"] / run["seconds"]


def _print(options: argparse.Namespace, rows: dict[str, Result], found: dict[str, dict[str, list[Result]]]) -> None:
    about = found[next(iter(found))]["plain"][0]
    print(
        f"{date.today()}, {options.model}, {about['dtype']}, {os.environ['FIN_DATA']} rows, {options.batches} batches "
        f"of {options.batch_size} after {options.warm_up}, medians of {options.rounds}; {about['machine']}\n"
    )
    for mix, one in rows.items():
        print(f"- {mix}: {one['rows']:,} rows of {one['mean']:.0f} tokens in the mean, {one['longest']} at most")
    print()
    head = ["rows", "side", "loss on", "useful tokens/s", "÷ plain", "positions computed a useful token", "padding"]
    row(
        *head,
        *(f"{text}{unit}" for unit in _memories(about) for text in ("peak MiB, ", "÷ plain, ")),
        *_floor_head(options),
    )
    row(*["---"] * (len(head) + 2 * len(_memories(about)) + len(_floor_head(options))))
    for mix, ways in found.items():
        for way, runs in ways.items():
            _print_way(options, mix, way, runs, ways["plain"])


def _print_way(options: argparse.Namespace, mix: str, way: str, runs: list[Result], plain: list[Result]) -> None:
    if "failed" in runs[0]:
        row(mix, way, runs[0]["failed"])
        return
    speed, positions = median(map(_speed, runs)), runs[0]["computed"] / runs[0]["tokens"]
    padding = f"{1 - 1 / positions:.1%}" if positions >= 1 else "none"
    side = "plain loop" if way == "plain" else f"`{runs[0]['batching']}`" + " (auto)" * (way == "auto")
    cells = [f"{speed:,.0f}", f"{speed / median(map(_speed, plain)):.2f}", f"{positions:.2f}", padding]
    for kind in _memories(runs[0]):
        ours, theirs = (median(run["peak"][kind] for run in side) for side in (runs, plain))
        cells += [f"{ours / 2**20:,.0f}", f"{ours / theirs:.2f}"]
    row(mix, side, "label" if runs[0]["loss"] == "completion" else "all", *cells, *_floor(options, runs))


def _memories(run: Result) -> list[str]:
    return sorted(run["peak"], reverse=True)  # the process's first


def _floor_head(options: argparse.Namespace) -> list[str]:
    return ["share of peak FLOP/s"] if options.peak_tflops else []


def _floor(options: argparse.Namespace, runs: list[Result]) -> list[str]:
    """Share of the device's peak that the least possible arithmetic came to.

    A weight matrix of n entries costs 2n FLOP a position forward and 2n backward, for the gradient of its input; its
    own gradient, another 2n, is not computed, since it is frozen (with all weights trained: 6n). The adapter,
    attention, vocabulary and everything element by element are left out, so the true share is larger.
    """
    if not options.peak_tflops:
        return []
    done = median(4 * run["weights"] * run["computed"] / run["seconds"] for run in runs)
    return [f"{done / (options.peak_tflops * 1e12):.1%}"]


def _say(line: str) -> None:
    print(f"… {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
